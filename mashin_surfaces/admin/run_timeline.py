"""The timeline of a run: for each attempt of each node a bar, placed in percent of the whole."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from django.utils.translation import gettext as _

from ..runs.models import Node, Run
from ..runs.words import NODE_LOOKS, duration

#: Percent that a bar is wide at least, to be seen.
NARROWEST: Final = 0.6
#: A node that is to run again has begun once, and that counts no more.
_BEFORE: Final = frozenset({Node.Status.PENDING, Node.Status.SCHEDULED})


@dataclass(frozen=True, slots=True)
class Bar:
    """``x`` and ``width``: in percent, as an SVG attribute has them."""

    x: str
    width: str
    look: str
    title: str


@dataclass(frozen=True, slots=True)
class Line:
    """A node that has begun."""

    name: str
    bars: list[Bar]
    length: str
    says: str


@dataclass(frozen=True, slots=True)
class Timeline:
    lines: list[Line]
    began: datetime
    ended: datetime
    length: str


@dataclass(frozen=True, slots=True)
class _Attempt:
    began: datetime
    ended: datetime
    look: str
    title: str


def timeline_of(run: Run, nodes: Iterable[Node], now: datetime) -> Timeline | None:
    """The nodes in the order in which they began; None when none has."""
    until = run.ended_at or now
    found = [(node, list(_attempts(node, until))) for node in nodes]
    begun = sorted(
        ((node, attempts) for node, attempts in found if attempts),
        key=lambda each: (each[1][0].began, each[0].position),
    )
    if not begun:
        return None
    first = min(run.started_at, begun[0][1][0].began)
    last = max(until, *(each.ended for _node, attempts in begun for each in attempts))
    whole = max((last - first) / timedelta(seconds=1), 0.001)
    lines = []
    for node, attempts in begun:
        length = attempts[-1].ended - attempts[0].began
        lines.append(
            Line(
                node.name,
                [_bar(each, first, whole) for each in attempts],
                duration(length),
                "; ".join(each.title for each in attempts),
            )
        )
    return Timeline(lines, first, last, duration(last - first))


def _attempts(node: Node, until: datetime) -> Iterator[_Attempt]:
    """Those that failed, and the one that has not."""
    for each in node.attempts:
        if not each["started_at"]:
            continue
        began, ended = (datetime.fromisoformat(each[key]) for key in ("started_at", "ended_at"))
        title = _("attempt %(number)d failed after %(length)s") % {
            "number": each["attempt"],
            "length": duration(ended - began),
        }
        yield _Attempt(began, ended, "bad", title)
    is_told = any(each["attempt"] == node.attempt for each in node.attempts)
    if node.started_at is None or is_told or node.status in _BEFORE:
        return
    ended = node.ended_at or until
    title = _("%(status)s, %(length)s") % {
        "status": node.get_status_display(),
        "length": duration(ended - node.started_at),
    }
    yield _Attempt(node.started_at, ended, NODE_LOOKS[Node.Status(node.status)][0], title)


def _bar(attempt: _Attempt, first: datetime, whole: float) -> Bar:
    width = max(NARROWEST, (attempt.ended - attempt.began).total_seconds() / whole * 100)
    x = min((attempt.began - first).total_seconds() / whole * 100, 100 - width)
    return Bar(f"{max(0.0, x):.2f}", f"{width:.2f}", attempt.look, attempt.title)
