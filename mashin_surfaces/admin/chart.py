"""A bar for each minute, drawn on the server: it needs no script, and can be read as a table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from django.utils import timezone
from django.utils.translation import gettext as _

from .markup import grouped

#: Units of the drawing, which is stretched to the width of the page.
WIDTH: Final = 600
HEIGHT: Final = 96
#: Minutes between two words on the axis.
TICK: Final = 15


@dataclass(frozen=True, slots=True)
class Bar:
    """One minute. ``x``, ``y``, ``width``, ``height``: units of the drawing, as SVG has them."""

    begins: str
    count: str
    x: str
    y: str
    width: str
    height: str
    is_capped: bool


@dataclass(frozen=True, slots=True)
class Chart:
    """``ticks``: words of the axis, the oldest first; ``top``: what the highest bar stands for."""

    bars: list[Bar]
    ticks: list[str]
    top: str
    says: str
    view: str = f"0 0 {WIDTH} {HEIGHT}"


def chart_of(counted: Sequence[int], end: datetime, most: int) -> Chart:
    """``counted``: by minute before ``end``, the oldest first, each up to ``most``."""
    highest = max(counted, default=0)
    step = WIDTH / max(1, len(counted))
    bars = []
    for number, count in enumerate(counted):
        begins = timezone.localtime(end - timedelta(minutes=len(counted) - number))
        height = HEIGHT * count / highest if highest else 0
        bars.append(
            Bar(
                f"{begins:%H:%M}",
                _said(count, most),
                f"{number * step + step * 0.1:.1f}",
                f"{HEIGHT - height:.1f}",
                f"{step * 0.8:.1f}",
                f"{height:.1f}",
                count >= most,
            )
        )
    ticks = [bar.begins for bar in bars[::TICK]]
    says = _(
        "Accesses a minute in the last %(minutes)d minutes: at most %(most)s, now %(now)s."
    ) % {
        "minutes": len(counted),
        "most": _said(highest, most),
        "now": _said(counted[-1] if counted else 0, most),
    }
    return Chart(bars, [*ticks, _("now")], _said(highest, most), says)


def _said(count: int, most: int) -> str:
    return f"{grouped(most)}+" if count >= most else grouped(count)
