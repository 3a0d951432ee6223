"""Reviews the doors of a definition: paths, credentials, rates, and the limits behind them."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from typing import Final

from .definition import MachineDefinition, OtherSurface, SurfacePart, WebsocketSurface
from .problems import Path, Problem
from .quantities import parse_rate
from .run_graph import is_run
from .wording import similar

MAX_PATH: Final = 500
#: Seconds between two runs of a feed at least: each is an access, with its row.
SHORTEST_EVERY: Final = 0.05
#: Dialects that show what happens: what follows there, the part that makes it happen, and what is
#: so without it.
_FOLLOWED: Final[Mapping[str, tuple[str, str, str]]] = {
    "panel": ("panel follows its state and events", "tools", "nothing happens on its panel"),
    "dag": ("run follows its steps", "implements", "there is nothing to run"),
    "incubator": ("bus follows its events", "tools", "its agents have only the bus itself"),
}
_SCOPE: Final = re.compile(r"[A-Za-z0-9_*][A-Za-z0-9_.:*/-]*")


def protocol_of(kind: str) -> str:
    """What kind of connection opens a surface: ``websocket`` or ``http``."""
    return "websocket" if kind == "websocket" else "http"


def review_limits(definition: MachineDefinition) -> Iterator[Problem]:
    limits = definition.ensures.limits
    place: Path = ("ensures", "limits")
    if limits.rate is not None:
        yield from _rate(limits.rate, (*place, "rate"))
    if limits.max_cost is not None and (limits.warn_at or 0) > max(1.0, limits.max_cost):
        yield Problem(
            '"warn_at" is more than "max_cost": nobody is ever warned. Up to 1 it is a share of '
            "the budget, above it US dollars.",
            (*place, "warn_at"),
        )
    is_answered_at_once = not is_run(definition) and any(
        isinstance(surface, SurfacePart) and getattr(surface, "dialect", "") not in _FOLLOWED
        for surface in definition.expresses
    )
    if limits.max_cost is not None and is_answered_at_once:
        yield Problem(
            '"max_cost" is the budget of a run. Over its surfaces this machine is answered at '
            "once, and nobody watches what it costs.",
            (*place, "max_cost"),
            severity="warning",
        )


def review_surfaces(definition: MachineDefinition, unread: Collection[str]) -> Iterator[Problem]:
    seen: set[tuple[str, str]] = set()
    for index, surface in enumerate(definition.expresses):
        if isinstance(surface, OtherSurface):
            continue
        here: Path = ("expresses", index)
        if surface.path or "expresses" not in unread:
            yield from _path(surface.path, (*here, "path"))
        address = (protocol_of(surface.kind), surface.path)
        if address in seen and surface.path:
            yield Problem(
                f"Two surfaces of this machine are at {surface.path} over {address[0]}; "
                "give one another path.",
                (*here, "path"),
            )
        seen.add(address)
        yield from _common(surface, here)
        if isinstance(surface, WebsocketSurface):
            yield from _websocket(surface, here, definition, unread)


def _path(path: str, place: Path) -> Iterator[Problem]:
    problem = ""
    if not path:
        problem = 'The surface needs a path; write below it: path: "/…"'
    elif not path.startswith("/"):
        problem = f'A path begins with "/", this is "{path}".'
    elif len(path) > MAX_PATH:
        problem = f"A path has at most {MAX_PATH} characters, this has {len(path)}."
    elif match := re.search(r"[?#%\\]|\s|//|[\x00-\x1f\x7f]", path):
        problem = f'A path has no "{match.group()}": it is the address alone, without query.'
    elif {".", ".."} & set(path.split("/")):
        problem = 'A path has no "." or ".." between its slashes: browsers never send them.'
    if problem:
        yield Problem(problem, place)


def _common(surface: SurfacePart, here: Path) -> Iterator[Problem]:
    if surface.auth is not None and not surface.auth:
        yield Problem("auth names at least one of session, jwt, api_key, none.", (*here, "auth"))
    if surface.auth is not None and len(set(surface.auth)) < len(surface.auth):
        yield Problem("auth names a kind twice.", (*here, "auth"))
    for key, scopes in (("scopes", surface.scopes), ("grant", surface.grant or ())):
        for scope in scopes:
            if not _SCOPE.fullmatch(scope):
                yield Problem(
                    f'"{scope}" is no scope; a scope is like machines:run or reports:*.',
                    (*here, key),
                )
    if surface.rate is not None:
        yield from _rate(surface.rate, (*here, "rate"))


def _rate(rate: str, place: Path) -> Iterator[Problem]:
    try:
        parse_rate(rate)
    except ValueError as error:
        yield Problem(str(error), place)


def _websocket(
    surface: WebsocketSurface, here: Path, definition: MachineDefinition, unread: Collection[str]
) -> Iterator[Problem]:
    if surface.dialect in _FOLLOWED:
        yield from _followed(surface, here, definition, unread)
        return
    names = [field.name for field in definition.accepts]
    if surface.subscribe is not None and surface.subscribe not in names and "accepts" not in unread:
        yield Problem(
            f'"subscribe" names a field of accepts; there is no "{surface.subscribe}".'
            f"{similar(surface.subscribe, names)}",
            (*here, "subscribe"),
        )
    if surface.every is not None and surface.subscribe is None:
        yield Problem(
            '"every" runs the machine for each topic; say with "subscribe:" which field of '
            "accepts the topic is.",
            (*here, "every"),
            severity="warning",
        )
    if surface.every is not None and surface.subscribe in names:
        for field in definition.accepts:
            if field.required and field.name != surface.subscribe:
                yield Problem(
                    f'"every" runs the machine with "{surface.subscribe}" alone, and '
                    f'"{field.name}" is required: give it a default.',
                    (*here, "every"),
                )
    if surface.every is not None and surface.every < SHORTEST_EVERY:
        yield Problem(
            f'"every" is at least {SHORTEST_EVERY * 1000:g}ms; publish from code what is faster.',
            (*here, "every"),
        )


def _followed(
    surface: WebsocketSurface, here: Path, definition: MachineDefinition, unread: Collection[str]
) -> Iterator[Problem]:
    what, part, nothing = _FOLLOWED[surface.dialect]
    for key in ("subscribe", "every"):
        if getattr(surface, key) is not None:
            yield Problem(
                f'"{key}" is for the dialect machine: who connects to a {what}.', (*here, key)
            )
    present = definition.tools if part == "tools" else definition.implements.steps
    if not present and part not in unread:
        yield Problem(
            f'The machine "{definition.name}" has no {part}: {nothing}.',
            (*here, "dialect"),
            severity="warning",
        )
