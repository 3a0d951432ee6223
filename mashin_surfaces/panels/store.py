"""Panels made, found, listed and taken away. Synchronous, on a thread that may query."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import orjson
from django.db import IntegrityError, transaction

from ..conf import settings
from ..exceptions import Code, Refusal, wrong
from ..machines.registry import Snapshot, registry
from ..rooms import doorbell, presence
from ..rooms.events import Bell
from ..rooms.log import database
from ..rooms.models import Room, RoomEvent
from ..rooms.storable import has_nul
from ..timers.moments import exclusive
from .definition import PanelTool, ToolDefinition, judged, of_machine
from .due import CLOCKS, clockwork
from .models import Due, Panel, PanelRequest, Suspension

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:-]{0,127}")
#: Seconds during which a ``requestId`` is not carried out twice.
REMEMBERED = 600.0
#: Requests of one panel that are loaded with it at most; others are looked up.
MOST_REMEMBERED = 10_000


@dataclass(slots=True)
class LoadedPanel:
    """A panel as its runner holds it: nobody else changes it meanwhile."""

    room: int
    key: str
    machine: str
    epoch: str
    head: int
    state: dict[str, Any]
    tools: dict[str, PanelTool]
    capabilities: tuple[str, ...] | None
    requests: set[tuple[str, str]]
    open_suspensions: int

    @property
    def has_all_requests(self) -> bool:
        """Whether ``requests`` are all that are remembered."""
        return len(self.requests) < MOST_REMEMBERED

    def capabilities_of(self, tool: PanelTool) -> tuple[str, ...] | None:
        """The tool's own, else the panel's; None when nothing is said."""
        own = tool.definition.capabilities
        return self.capabilities if own is None else own


@dataclass(frozen=True, slots=True)
class NewPanel:
    """What a panel is made from. ``key``: its id, None for one of ours."""

    kind: str
    key: str | None = None
    title: str = ""
    machine: str = ""
    tools: Sequence[Any] = ()
    state: dict[str, Any] = field(default_factory=dict)
    capabilities: Sequence[str] | None = None
    metadata: dict[str, Any] = field(default_factory=dict)


def create(new: NewPanel, created_by: str = "") -> Panel:
    """A new panel; raises ``Refusal``: conflict (the id is taken), invalid_input, too_large."""
    key = f"panel_{uuid4().hex[:12]}" if new.key is None else new.key
    machine, capabilities = new.machine, new.capabilities
    if _ID.fullmatch(key) is None:
        raise wrong("/id", "An id is up to 128 letters, digits and . _ : - characters.")
    if machine and machine not in registry.refresh().machines:
        raise wrong("/machine", f'There is no machine "{machine}".')
    for name, given in (
        ("kind", new.kind),
        ("title", new.title),
        ("tools", list(new.tools)),
        ("initialState", new.state),
        ("capabilities", list(capabilities or ())),
        ("metadata", new.metadata),
    ):
        if has_nul(given):
            raise wrong(f"/{name}", "Text with NUL characters can't be kept.")
    definitions = judged(new.tools, capabilities)
    if machine:
        judged(of_machine(registry.snapshot.machines[machine].definition.tools), capabilities)
    if len(orjson.dumps(new.state)) > settings.PANELS.MAX_STATE:
        raise Refusal(Code.TOO_LARGE, f"A state has at most {settings.PANELS.MAX_STATE} bytes.")
    try:
        with transaction.atomic(using=database()):
            room = Room.objects.using(database()).create(
                kind=Room.Kind.PANEL, key=key, machine=machine, state=new.state, epoch=uuid4().hex
            )
            panel = Panel.objects.using(database()).create(
                room=room,
                kind=new.kind[:64],
                title=new.title[:200],
                machine=machine,
                tools=[each.model_dump(mode="json", exclude_defaults=True) for each in definitions],
                capabilities=None if capabilities is None else list(capabilities),
                metadata=new.metadata,
                created_by=created_by[:200],
            )
            _keep_time(panel, tools_of(panel))
    except IntegrityError:
        raise Refusal(Code.CONFLICT, f'There is a panel "{key}" already.') from None
    return panel


def panel_of(machine: str, title: str = "") -> Panel:
    """The panel of a machine's own websocket, whose id is the machine's name; made if need be.

    Raises ``Refusal`` (conflict) when another panel has that id.
    """
    try:
        panel = find(machine)
    except Refusal:
        try:
            return create(NewPanel(kind="machine", key=machine, title=title, machine=machine))
        except Refusal as refusal:
            if refusal.code is not Code.CONFLICT:
                raise
        panel = find(machine)  # somebody else has made it this very moment
    if panel.machine != machine:
        raise Refusal(
            Code.CONFLICT,
            f'There is a panel "{machine}" that is not of the machine "{machine}": delete it, and '
            "connect again.",
        )
    return panel


def _keep_time(panel: Panel, tools: dict[str, PanelTool]) -> None:
    """Make the rows say when each tool fires by the clock; for who is alone with the panel."""
    rows = Due.objects.using(database()).filter(panel=panel, kind__in=CLOCKS)
    change = clockwork(panel.pk, tools.values(), rows, datetime.now(UTC))
    if not change:
        return
    with transaction.atomic(using=database()):
        rows.filter(pk__in=[row.pk for row in change.gone]).delete()
        Due.objects.using(database()).bulk_update(change.moved, ["due_at"])
        Due.objects.using(database()).bulk_create(change.made)


def out_of_step(snapshot: Snapshot) -> list[tuple[int, str]]:
    """The panels whose rows are not what their machines' tools say now; ``load`` mends them.

    Those of machines without tools that fire by the clock are not among them: what is left of such
    tools goes when it is due.
    """
    machines = [
        compiled.name
        for compiled in snapshot.machines.values()
        if compiled.enabled
        and any(tool.trigger in ("every", "cron") for tool in compiled.definition.tools)
    ]
    if not machines:
        return []
    rows: dict[int, list[Due]] = {}
    for row in Due.objects.using(database()).filter(panel__machine__in=machines, kind__in=CLOCKS):
        rows.setdefault(row.panel_id, []).append(row)
    panels = Panel.objects.using(database()).filter(machine__in=machines)
    now = datetime.now(UTC)
    return [
        (panel.pk, panel.room.key)
        for panel in panels.select_related("room").defer("room__state").iterator(chunk_size=500)
        if clockwork(panel.pk, tools_of(panel).values(), rows.get(panel.pk, ()), now)
    ]


def tools_of(panel: Panel) -> dict[str, PanelTool]:
    """The panel's own tools and, while it is enabled, those of its machine, by name."""
    given = list(panel.tools)
    compiled = registry.snapshot.machines.get(panel.machine) if panel.machine else None
    if compiled is not None and compiled.enabled:
        given += of_machine(compiled.definition.tools)
    found = (ToolDefinition.model_validate(each) for each in given)
    return {each.name: PanelTool(each) for each in found}


def find(key: str) -> Panel:
    """The panel with its room; raises ``Refusal`` (not_found)."""
    panel = (
        Panel.objects.using(database())
        .select_related("room")
        .filter(room__kind=Room.Kind.PANEL, room__key=key)
        .first()
    )
    if panel is None:
        raise no_panel(key)
    return panel


def no_panel(key: str) -> Refusal:
    return Refusal(Code.NOT_FOUND, f'There is no panel "{key}".', subject="panel")


def load(room: int) -> LoadedPanel | None:
    """The panel as it is now, for who holds its lease; None when it is gone."""
    panel = Panel.objects.using(database()).select_related("room").filter(pk=room).first()
    if panel is None or panel.room.status != Room.Status.OPEN:
        return None
    remembered = PanelRequest.objects.using(database()).filter(
        panel=panel, created_at__gt=remembered_since()
    )
    capabilities = panel.capabilities
    tools = tools_of(panel)
    if panel.machine:  # its tools may be others than the last time
        _keep_time(panel, tools)
    return LoadedPanel(
        room=room,
        key=panel.room.key,
        machine=panel.machine,
        epoch=panel.room.epoch,
        head=panel.room.head,
        state=panel.room.state,
        tools=tools,
        capabilities=None if capabilities is None else tuple(capabilities),
        requests=set(
            remembered.order_by("-pk").values_list("principal", "request_id")[:MOST_REMEMBERED]
        ),
        open_suspensions=open_suspensions(room),
    )


def open_suspensions(room: int) -> int:
    """How many of its tools wait."""
    waiting = Suspension.objects.using(database()).filter(panel=room)
    return waiting.filter(status=Suspension.Status.OPEN).count()


def status_of(waiting: int) -> str:
    """``suspended`` while a tool waits, else ``running``."""
    return "suspended" if waiting else "running"


def describe(panel: Panel) -> dict[str, Any]:
    """The PanelInfo of the wire."""
    last = (
        RoomEvent.objects.using(database())
        .filter(room=panel.room, offset=panel.room.head)
        .values_list("created_at", flat=True)
        .first()
    )
    return {
        "id": panel.room.key,
        "kind": panel.kind,
        "title": panel.title,
        "status": status_of(open_suspensions(panel.pk)),
        "state": panel.room.state,
        "tools": list(tools_of(panel)),
        "createdAt": _time(panel.created_at),
        "lastActivity": _time(last or panel.created_at),
        "clientCount": presence.count(panel.pk),
        "offset": panel.room.head,
        "epoch": panel.room.epoch,
    }


def page(after: str | None, limit: int, may_read: Any) -> tuple[list[dict[str, Any]], int]:
    """Panels whose id comes after ``after`` and that ``may_read(id)``; and how many there are."""
    panels = Panel.objects.using(database()).select_related("room").order_by("room__key")
    total = panels.count()
    if after:
        panels = panels.filter(room__key__gt=after)
    found = []
    for panel in panels.iterator(chunk_size=200):
        if may_read(panel.room.key):
            found.append(describe(panel))
        if len(found) == limit:
            break
    return found, total


def delete(key: str) -> None:
    """Take a panel away with all that is its; its members are told. ``Refusal`` (not_found)."""
    panel = find(key)
    with exclusive(database()):
        # Locked before its log goes: what somebody is just appending would be left behind.
        rooms = Room.objects.using(database()).select_for_update()
        room = rooms.filter(pk=panel.pk).first()
        if room is None:  # somebody was quicker
            return
        room.delete()
        bell = Bell(panel.pk, "", room.head + 1, room.head)
        transaction.on_commit(lambda: doorbell.ring([bell]), using=database())


def remembered_since() -> datetime:
    """When the oldest request was made that is still remembered."""
    return datetime.now(UTC) - timedelta(seconds=REMEMBERED)


def forget_requests() -> int:
    """Take away the requests that are not remembered any more; how many."""
    old = PanelRequest.objects.using(database()).filter(created_at__lt=remembered_since())
    return old.delete()[0]


def _time(at: datetime) -> str:
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
