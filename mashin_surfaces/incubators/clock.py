"""What becomes due in incubators: claims that run out, answers that are not remembered any more,
counts that have to be kept before the log is trimmed."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from django.db.models import Exists, OuterRef

from ..exceptions import Refusal
from ..rooms.appending import Append, RoomIsGone
from ..rooms.log import database, put
from ..timers.clock import clock
from .bus import REMEMBERED, STOPPED, Writer
from .metrics import count_all
from .models import Agent, Claim, DanceCall, StateEntry

#: Seconds between two looks at claims, and at everything else.
CLAIMS_EVERY = 1.0
KEEP_EVERY = 60.0
#: Seconds for which an agent that was not seen any more stays known.
FORGOTTEN = 86_400.0


def expire_claims() -> None:
    """Free what has been claimed for long enough, and tell it."""
    over = Claim.objects.using(database()).filter(expires_at__lte=datetime.now(UTC))
    for room in list(over.exclude(owner="").values_list("room", flat=True).distinct()):
        if not clock.go_on():
            return
        writer = Writer(room, "")
        try:
            put(Append(room, writer.events, also=writer.expire, despite=STOPPED))
        except (RoomIsGone, Refusal):  # gone or closed: others' claims run out all the same
            continue


def keep() -> None:
    """Count what is not counted yet, and forget what is old."""
    count_all()
    now = datetime.now(UTC)
    since = now - timedelta(seconds=REMEMBERED)
    DanceCall.objects.using(database()).filter(created_at__lt=since).delete()
    old = now - timedelta(seconds=FORGOTTEN)
    Agent.objects.using(database()).filter(seen_at__lt=old).delete()
    StateEntry.objects.using(database()).filter(is_deleted=True, updated_at__lt=old).delete()
    free = Claim.objects.using(database()).filter(owner="", claimed_at__lt=old)
    higher = Claim.objects.filter(room=OuterRef("room"), fence__gt=OuterRef("fence"))
    free.filter(Exists(higher)).delete()  # the highest fence stays: new ones rise above it
