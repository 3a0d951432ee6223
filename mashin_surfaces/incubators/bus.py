"""What is done on a bus: events, state, claims, control. Each is one transaction with its entries
in the log, and its access row.

``Writer`` puts a change together under the room's lock; tools (``dances.py``) use it, too.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from time import perf_counter_ns
from typing import Any, Final

import orjson
from django.db.models import Max

from ..commit import CommitFailed
from ..conf import settings
from ..dialects.incubator import MOST_NAME, Control
from ..exceptions import Code, Refusal
from ..governance.door import Door
from ..governance.govern import Caller, access_row
from ..ledger.access import Access
from ..ledger.chain import new_id
from ..ledger.record import companions
from ..machines.json_values import dumps
from ..rooms.appending import Append, RoomIsGone
from ..rooms.events import Appended, NewEvent
from ..rooms.log import aput, database, room_threads
from ..rooms.models import Room, RoomEvent
from ..rooms.storable import has_nul
from .models import Claim, DanceCall, Incubator, StateEntry

#: Statuses in which those who may control a bus still act on it.
STOPPED: Final = frozenset({Room.Status.PAUSED.value, Room.Status.HALTED.value})
#: Seconds for which an answer is remembered.
REMEMBERED: Final = 600.0
_AFTER: Final = {
    "halt": Room.Status.HALTED,
    "pause": Room.Status.PAUSED,
    "resume": Room.Status.OPEN,
}


@dataclass(frozen=True, slots=True)
class Actor:
    """Who acts: the caller, and the agent in whose name."""

    caller: Caller
    agent: str
    role: str = ""


@dataclass(slots=True)
class Writer:
    """One change of a namespace, under the lock of its room. Every method raises ``Refusal``."""

    room: int
    agent: str
    now: datetime = field(default_factory=lambda: datetime.now(UTC))
    events: list[NewEvent] = field(default_factory=list)
    #: By which its entries are found again; "" when nobody will look.
    call_id: str = ""
    #: What the room's status became; None when it stayed.
    status: str | None = None

    def tell(self, type: str, **payload: Any) -> None:
        text = dumps(payload).decode()
        self.events.append(NewEvent(type, text, self.agent[:200], self.call_id))

    def publish(self, event: str, data: Any) -> None:
        _check_name("event", event)
        self.tell("event", event_type=event, data=data, agent_id=self.agent)

    def set_state(self, key: str, value: Any, if_version: int | None = None) -> int:
        """Write a key; its new version."""
        _check_name("key", key)
        if len(dumps(value)) > settings.INCUBATORS.MAX_VALUE:
            most = settings.INCUBATORS.MAX_VALUE
            raise Refusal(Code.TOO_LARGE, f"A value has at most {most} bytes.")
        entry = self._entry(key)
        before = 0 if entry is None or entry.is_deleted else entry.version
        self._check_version(key, before, if_version)
        if before == 0:
            kept = self._entries().filter(is_deleted=False)
            if kept.count() >= settings.INCUBATORS.MAX_KEYS:
                raise Refusal(Code.TOO_LARGE, "This namespace has too many keys.")
        if entry is None:
            entry = StateEntry(room_id=self.room, key=key, version=0)
        entry.value, entry.version, entry.is_deleted = value, entry.version + 1, False
        self._save(entry)
        self.tell("state_changed", key=key, value=value, agent_id=self.agent, version=entry.version)
        return entry.version

    def delete_state(self, key: str, if_version: int | None = None) -> None:
        entry = self._entry(key)
        if entry is None or entry.is_deleted:
            raise Refusal(Code.NOT_FOUND, f'There is no key "{key}".', subject="key")
        self._check_version(key, entry.version, if_version)
        entry.value, entry.version, entry.is_deleted = None, entry.version + 1, True
        self._save(entry)
        told = {"agent_id": self.agent, "version": entry.version, "deleted": True}
        self.tell("state_changed", key=key, value=None, **told)

    @staticmethod
    def _check_version(key: str, version: int, wanted: int | None) -> None:
        if wanted is not None and wanted != version:
            raise Refusal(
                Code.CONFLICT, f'"{key}" has version {version}, not {wanted}: look again.'
            )

    def claim(self, resource: str, ttl_ms: int | None = None) -> int:
        """Have a resource, or keep it longer; the fence. Raises ``Refusal`` (conflict) with the
        holder in ``details``. The fence of a resource that nobody had is above all others, so that
        rows of free ones can be forgotten."""
        _check_name("resource", resource)
        alias = database()
        rows = Claim.objects.using(alias).filter(room=self.room)
        claim = rows.filter(resource=resource).first()
        is_new = claim is None or not claim.owner
        if is_new and rows.exclude(owner="").count() >= settings.INCUBATORS.MAX_CLAIMS:
            raise Refusal(Code.TOO_LARGE, "This namespace has too many claims.")
        if claim is None:
            highest = rows.aggregate(highest=Max("fence"))["highest"] or 0
            claim = Claim(room_id=self.room, resource=resource, fence=highest)
        is_held = bool(claim.owner) and not self._is_over(claim)
        if is_held and claim.owner != self.agent:
            raise Refusal(
                Code.CONFLICT,
                f'"{resource}" is claimed by {claim.owner}.',
                details=[{"resource": resource, "owner": claim.owner, "fence": claim.fence}],
                subject="claimed",
            )
        if claim.owner and not is_held:
            self._freed(claim, "expired")
        if not is_held:
            claim.owner, claim.fence, claim.claimed_at = self.agent, claim.fence + 1, self.now
        claim.expires_at = None if ttl_ms is None else self.now + timedelta(milliseconds=ttl_ms)
        claim.save(using=alias)
        self.tell(
            "claim_changed",
            resource=resource,
            owner=self.agent,
            status="renewed" if is_held else "claimed",
            fence=claim.fence,
        )
        return claim.fence

    def release(self, resource: str) -> None:
        """Give it back; only its owner can."""
        claim = self._held(resource)
        if claim.owner != self.agent:
            raise Refusal(Code.FORBIDDEN, f'"{resource}" is claimed by {claim.owner}.')
        self._freed(claim, "released")

    def free(self, resource: str, fence: int) -> None:
        """Take it from whoever has it by this fence: for those who may control the bus."""
        claim = self._held(resource)
        if claim.fence != fence:
            raise Refusal(
                Code.CONFLICT, f'"{resource}" has been claimed again since, by {claim.owner}.'
            )
        self._freed(claim, "released")

    def _held(self, resource: str) -> Claim:
        claim = Claim.objects.using(database()).filter(room=self.room, resource=resource).first()
        if claim is None or not claim.owner or self._is_over(claim):
            raise Refusal(Code.NOT_FOUND, f'Nobody has claimed "{resource}".', subject="claim")
        return claim

    def expire(self) -> None:
        """Free what has been claimed for long enough."""
        over = Claim.objects.using(database()).filter(room=self.room, expires_at__lte=self.now)
        for claim in over.exclude(owner=""):
            self._freed(claim, "expired")

    def _freed(self, claim: Claim, status: str) -> None:
        self.tell(
            "claim_changed",
            resource=claim.resource,
            owner=claim.owner,
            status=status,
            fence=claim.fence,
        )
        claim.owner, claim.expires_at = "", None
        claim.save(using=database())

    def _is_over(self, claim: Claim) -> bool:
        return claim.expires_at is not None and claim.expires_at <= self.now

    def control(self, command: Control, *, by: str) -> None:
        """Stop everybody, or let them go on; for one agent it is only told."""
        alias = database()
        if command.target is None:
            status = _AFTER[command.command]
            Room.objects.using(alias).filter(pk=self.room).update(status=status)
            self.status = status.value
            Incubator.objects.using(alias).filter(pk=self.room).update(
                reason="" if status == Room.Status.OPEN else command.reason,
                stopped_by="" if status == Room.Status.OPEN else by[:200],
            )
        target = {} if command.target is None else {"target": command.target}
        self.tell("control", command=command.command, reason=command.reason, by=by, **target)

    def _entries(self) -> Any:
        return StateEntry.objects.using(database()).filter(room=self.room)

    def _entry(self, key: str) -> StateEntry | None:
        found: StateEntry | None = self._entries().filter(key=key).first()
        return found

    def _save(self, entry: StateEntry) -> None:
        entry.set_by, entry.updated_at = self.agent[:200], self.now
        entry.save(using=database())


def _check_name(what: str, name: Any) -> None:
    """Tools may give anything; columns have their ends."""
    if not isinstance(name, str) or not 0 < len(name) <= MOST_NAME or not name.isprintable():
        message = f"{what}: It is a printable text of 1 to {MOST_NAME} characters."
        raise Refusal(Code.INVALID_INPUT, message, subject=what)


async def act(
    room: int,
    door: Door,
    actor: Actor,
    given: Any,
    do: Callable[[Writer], Any] | None,
    *,
    events: list[NewEvent] | None = None,
    call_id: str | None = None,
) -> tuple[Appended, Any]:
    """Do something on the bus in one transaction with its access row: where it stands, and what
    ``do`` returned. ``events`` alone need no look at the database.

    With ``call_id`` it is done once: said again by the same principal, it is answered by what came
    of it the first time.

    Raises ``Refusal``; the caller records it. Conflict with the subject ``halted`` or ``paused``
    when the bus is stopped for those without ``bus:control``.
    """
    if has_nul(given):
        raise Refusal(Code.INVALID_INPUT, "Text with NUL characters can't be kept.")
    writer = Writer(room, actor.agent, events=events if events is not None else [])
    writer.call_id = call_id or ""
    result: list[Any] = []
    principal = actor.caller.principal
    may_control = principal.holds(f"bus:control:{door.path.rpartition('/')[2]}")

    def also() -> None:
        if call_id is not None:
            _check_is_new(room, principal.name, call_id)
        if do is not None:
            result[:] = [do(writer)]
            item.status = writer.status
        if call_id is not None:
            text = dumps(result[0] if result else None).decode()
            remember(room, principal.name, call_id, "", text)

    despite = STOPPED if may_control else ()
    needs_a_look = do is not None or call_id is not None
    item = Append(room, writer.events, also=also if needs_a_look else None, despite=despite)
    began = perf_counter_ns()

    def row() -> Access | None:
        if item.problem is not None:
            return None
        return access_row(door, actor.caller, "message", new_id(), began, given, {}, None)

    try:
        appended = await aput(item, *companions(database(), row))
    except _IsKnown as known:
        return await room_threads.run(_place_of, room, known.call_id), orjson.loads(known.text)
    except RoomIsGone:
        raise Refusal(Code.NOT_FOUND, "This namespace is gone.", subject="namespace") from None
    except CommitFailed:
        raise Refusal(
            Code.LEDGER_UNAVAILABLE, "It can't be committed now; try again.", retry_after=1
        ) from None
    return appended, result[0] if result else None


class _IsKnown(Exception):
    """It was done before; ``text``: what came of it, as JSON."""

    def __init__(self, call_id: str, text: str) -> None:
        super().__init__(call_id)
        self.call_id = call_id
        self.text = text


def _check_is_new(room: int, principal: str, call_id: str) -> None:
    text = remembered(room, principal, call_id)
    if text is not None:
        raise _IsKnown(call_id, text)


def remembered(room: int, principal: str, call_id: str) -> str | None:
    """What a principal's call was answered, as JSON text, in the last ``REMEMBERED`` seconds."""
    since = datetime.now(UTC) - timedelta(seconds=REMEMBERED)
    same = DanceCall.objects.using(database()).filter(
        room=room, principal=principal[:200], call_id=call_id, created_at__gt=since
    )
    return same.values_list("result", flat=True).first()


def remember(room: int, principal: str, call_id: str, tool: str, text: str) -> None:
    """Keep a call's answer, in the transaction that does what it says. ``tool``: "" for none."""
    DanceCall.objects.using(database()).update_or_create(
        room_id=room,
        principal=principal[:200],
        call_id=call_id,
        defaults={"tool": tool[:64], "result": text, "created_at": datetime.now(UTC)},
    )


def _place_of(room: int, call_id: str) -> Appended:
    """Where a call's last entry stands; the offset 0 when it is trimmed."""
    entries = RoomEvent.objects.using(database()).filter(room=room, request_id=call_id)
    # It was said a moment ago: read from the end.
    found = entries.order_by("-offset").values_list("room__epoch", "offset").first()
    epoch, offset = found or ("", 0)
    return Appended(room, epoch, offset, offset)
