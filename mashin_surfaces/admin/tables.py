"""Tables on admin pages, the moments in them, and those that every page of a room has."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from django.utils import timezone
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.text import Truncator
from django.utils.translation import gettext as _

from ..rooms import log, presence

#: Events and members of a room that are shown.
MOST_EVENTS: Final = 50
MOST_MEMBERS: Final = 100
#: Characters of a payload that are shown.
MOST_SHOWN: Final = 300


def moment(at: Any) -> SafeString:
    """Day and time where the reader is."""
    local = timezone.localtime(at)
    return format_html(
        '<time class="mashin-moment" datetime="{}">{}</time>',
        local.isoformat(),
        f"{local:%Y-%m-%d %H:%M:%S}",
    )


def table(heads: Iterable[str], rows: Iterable[Iterable[object]]) -> SafeString:
    """A table that scrolls when it is too wide or too long."""
    head = format_html_join("", '<th scope="col">{}</th>', ((each,) for each in heads))
    body = format_html_join(
        "", "<tr>{}</tr>", ((format_html_join("", "<td>{}</td>", ((c,) for c in r)),) for r in rows)
    )
    return format_html(
        '<div class="mashin-scroll" tabindex="0"><table class="mashin-table">'
        "<thead><tr>{}</tr></thead><tbody>{}</tbody></table></div>",
        head,
        body,
    )


def members_of(room: int) -> SafeString:
    """Who is in a room, the longest first."""
    found = presence.members(room, limit=MOST_MEMBERS)
    if not found:
        return SafeString(_("Nobody is there."))
    rows = ((moment(each.since), each.principal, each.connection) for each in found)
    shown = table((_("Since"), _("Principal"), _("Connection")), rows)
    if len(found) < MOST_MEMBERS:
        return shown
    note = _("The first %(shown)d of %(total)d.") % {
        "shown": len(found),
        "total": presence.count(room),
    }
    return format_html("{}<p>{}</p>", shown, note)


def events_of(room: int, head: int) -> SafeString:
    """The end of a room's log, the newest first."""
    events = log.read(room, head - MOST_EVENTS, MOST_EVENTS)
    if not events:
        return SafeString(_("There are no events."))
    rows = (
        (
            event.offset,
            moment(event.at),
            event.type,
            event.actor or "–",
            format_html("<code>{}</code>", Truncator(event.payload).chars(MOST_SHOWN)),
        )
        for event in reversed(events)
    )
    return table((_("Offset"), _("At"), _("Type"), _("Actor"), _("Payload")), rows)
