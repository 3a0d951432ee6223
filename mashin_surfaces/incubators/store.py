"""Namespaces found, made, read and reset. Synchronous, on a thread that may query."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from django.db import IntegrityError, transaction

from ..conf import settings
from ..exceptions import Code, Refusal
from ..rooms import log, presence
from ..rooms.log import database
from ..rooms.models import Room
from ..timers.moments import exclusive
from .models import Agent, Claim, DanceCall, Incubator, RunningCall, StateEntry

NAMESPACE = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")
#: Seconds for which an agent counts after it was last seen.
SEEN = 60.0


def check_namespace(name: str) -> str:
    """The name; raises ``Refusal`` when no namespace can be called so."""
    if NAMESPACE.fullmatch(name) is None:
        raise Refusal(
            Code.INVALID_INPUT,
            "A namespace is 1 to 64 small letters, digits, - and _, beginning with a letter or a "
            "digit.",
        )
    return name


def find(namespace: str, machine: str = "") -> Incubator:
    """The namespace, made when it is not there yet; ``machine``: whose tools a new one has.

    Raises ``Refusal`` as ``look_up`` does.
    """
    found = look_up(namespace, machine)
    if found is not None:
        if machine and not found.machine:
            nobodys = Incubator.objects.using(database()).filter(pk=found.pk, machine="")
            if not nobodys.update(machine=machine):  # somebody was quicker, or it is gone
                return find(namespace, machine)
            found.machine = machine
        return found
    head = log.room_of(Room.Kind.INCUBATOR, namespace, machine)
    try:
        with transaction.atomic(using=database()):
            Incubator.objects.using(database()).create(room_id=head.id, machine=machine)
    except IntegrityError:  # somebody was quicker
        pass
    return find(namespace, machine)


def look_up(namespace: str, machine: str = "") -> Incubator | None:
    """The namespace as it is, None when it could be made for the machine.

    Raises ``Refusal``: invalid_input for its name, conflict when it belongs to another machine,
    too_large when there are too many.
    """
    found = _find(check_namespace(namespace))
    if found is None:
        if Incubator.objects.using(database()).count() >= settings.INCUBATORS.MAX_NAMESPACES:
            raise Refusal(Code.TOO_LARGE, "There are too many namespaces.")
    elif machine and found.machine and found.machine != machine:
        raise Refusal(
            Code.CONFLICT,
            f'The namespace "{namespace}" belongs to the machine "{found.machine}".',
            subject="namespace",
        )
    return found


def known(namespace: str) -> Incubator:
    """The namespace; raises ``Refusal`` (not_found) when there is none."""
    found = _find(check_namespace(namespace))
    if found is None:
        raise Refusal(Code.NOT_FOUND, f'There is no namespace "{namespace}".', subject="namespace")
    return found


def _find(namespace: str) -> Incubator | None:
    rows = Incubator.objects.using(database()).select_related("room")
    return rows.filter(room__kind=Room.Kind.INCUBATOR, room__key=namespace).first()


def state(room: int) -> dict[str, Any]:
    """Every key with its value."""
    entries = StateEntry.objects.using(database()).filter(room=room, is_deleted=False)
    return dict(entries.order_by("key").values_list("key", "value"))


def reset(room: int, by: str) -> str:
    """Clear log, state, claims and what was used, in one transaction; the new epoch.

    A stop stays: it is resumed by whoever may.
    """
    alias = database()
    with exclusive(alias):
        epoch = log.reset(room)
        StateEntry.objects.using(alias).filter(room=room).delete()
        Claim.objects.using(alias).filter(room=room).update(owner="", expires_at=None)
        DanceCall.objects.using(alias).filter(room=room).delete()
        RunningCall.objects.using(alias).filter(room=room).delete()
        head = Room.objects.using(alias).values_list("head", flat=True).get(pk=room)
        Incubator.objects.using(alias).filter(pk=room).update(
            reset_by=by[:200],
            tokens=0,
            cost=0,
            published_tokens=0,
            published_cost=0,
            tool_calls=0,
            llm_calls=0,
            is_warned=False,
            event_counts={},
            counted_to=head,
        )
    return epoch


@dataclass(frozen=True, slots=True)
class Facts:
    """What a newcomer is told, all of the same moment. ``status``: of the room; ``versions``: of
    the keys of the state."""

    head: int
    floor: int
    epoch: str
    status: str
    reset_by: str
    state: dict[str, Any]
    versions: dict[str, int]

    def recovered(self, since: int | None, epoch: str | None) -> bool:
        """Whether everything after ``since`` is there; what is kept, when nothing is asked for."""
        if not since:
            return epoch in {None, self.epoch} or since is None
        return epoch in {None, self.epoch} and self.floor <= since <= self.head


def facts(room: int) -> Facts:
    """How the namespace stands; raises ``Refusal`` (not_found)."""
    alias = database()
    with exclusive(alias):  # one moment: nobody writes meanwhile
        row = (
            Incubator.objects.using(alias)
            .select_related("room")
            .select_for_update(of=("room",), no_key=True)
            .filter(pk=room)
            .first()
        )
        if row is None:
            raise Refusal(Code.NOT_FOUND, "This namespace is gone.", subject="namespace")
        kept = StateEntry.objects.using(alias).filter(room=room, is_deleted=False)
        entries = list(kept.order_by("key"))
        return Facts(
            row.room.head,
            row.room.floor,
            row.room.epoch,
            row.room.status,
            row.reset_by,
            {entry.key: entry.value for entry in entries},
            {entry.key: entry.version for entry in entries},
        )


def reset_by(room: int) -> str:
    """Who has reset it the last time."""
    rows = Incubator.objects.using(database()).filter(pk=room)
    return rows.values_list("reset_by", flat=True).first() or ""


def seen(room: int, name: str, role: str, principal: str) -> None:
    """An agent has done something."""
    Agent.objects.using(database()).update_or_create(
        room_id=room,
        name=name[:200],
        defaults={"role": role[:64], "principal": principal[:200], "seen_at": datetime.now(UTC)},
    )


def agents(room: int) -> list[dict[str, Any]]:
    """The agents that are connected, or were seen a moment ago."""
    connected = {member.principal for member in presence.members(room, limit=10_000)}
    since = datetime.now(UTC) - timedelta(seconds=SEEN)
    return [
        {
            "agentId": agent.name,
            "role": agent.role,
            "connected": agent.name in connected,
            "seenAt": agent.seen_at,
        }
        for agent in Agent.objects.using(database()).filter(room=room)
        if agent.name in connected or agent.seen_at >= since
    ]


def claims(room: int) -> list[dict[str, Any]]:
    """What is claimed now, and by whom."""
    now = datetime.now(UTC)
    rows = Claim.objects.using(database()).filter(room=room).exclude(owner="")
    return [
        {
            "resource": claim.resource,
            "agent_id": claim.owner,
            "claimed_at": claim.claimed_at,
            "fence": claim.fence,
            "expires_at": claim.expires_at,
        }
        for claim in rows
        if claim.expires_at is None or claim.expires_at > now
    ]
