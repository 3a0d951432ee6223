"""What the page says of itself, and what ``page.js`` says, in the language of the request."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final

from django.utils.translation import gettext as _
from django.utils.translation import gettext_noop

#: Headings of error pages: HTTP's own phrases, as RFC 9110 has them.
_REASONS: Final[Mapping[int, str]] = {
    400: gettext_noop("Bad Request"),
    401: gettext_noop("Unauthorized"),
    402: gettext_noop("Payment Required"),
    403: gettext_noop("Forbidden"),
    404: gettext_noop("Not Found"),
    405: gettext_noop("Method Not Allowed"),
    409: gettext_noop("Conflict"),
    413: gettext_noop("Content Too Large"),
    422: gettext_noop("Unprocessable Content"),
    429: gettext_noop("Too Many Requests"),
    500: gettext_noop("Internal Server Error"),
    502: gettext_noop("Bad Gateway"),
    503: gettext_noop("Service Unavailable"),
    504: gettext_noop("Gateway Timeout"),
}


def reason(status: int) -> str:
    """The heading of an error page with an HTTP status."""
    return _(_REASONS[status]) if status in _REASONS else HTTPStatus(status).phrase


def marked_fields() -> str:
    """Where details stand beside their fields, this stands over them."""
    return _("Please correct the marked fields.")


def script_words() -> dict[str, Any]:
    """By the names that the script uses; ``{n}``, ``{min}`` … stand for numbers. ``refusals``: what
    the client refuses by itself, by code."""
    return {
        "connected": _("Connected"),
        "asleep": _("Connects when you send"),
        "reconnecting": _("Reconnecting"),
        "in": _("in {n} s"),
        "offline": _("Offline"),
        "waiting": _("This is sent as soon as the connection is back."),
        "refusals": {
            "lost": _(
                "The connection was lost before the answer came; it may have been carried out."
            ),
            "busy": _("Too many messages wait: send fewer."),
            "closed": _("The connection was closed."),
        },
        "cut": _("The connection was lost before the last answer came."),
        "marked": marked_fields(),
        "json": _("This is not JSON."),
        "yes": _("Yes"),
        "no": _("No"),
        "part": _("{n} part"),
        "parts": _("{n} parts"),
        "live": _("Live"),
        "joining": _("Connecting"),
        "paused": _("Paused"),
        "ended": _("Ended"),
        "pause": _("Pause"),
        "resume": _("Resume"),
        "line": _("The last {n} values: lowest {min}, highest {max}, last {last}"),
        "range": _("lowest {min}, highest {max}"),
    }


def live_words() -> dict[str, Any]:
    """What the scripts of a panel's and a bus's page say, besides those of every script."""
    return {
        **script_words(),
        "state": _("state"),
        "claim": _("claim"),
        "deleted": _("{key} deleted"),
        "done": _("done"),
        "failed": _("failed"),
        "suspended": _("waits for an answer"),
        "works": _("runs …"),
        "entries": _("{n} since the page was opened; the newest {shown} are shown."),
        "held": _("{n} since the page was opened; the newest {held} are held here."),
        "matching": _("{n} of the {held} that are held here match."),
        "newer": _("↑ {n} new"),
        "position": _("Replayed up to entry {at} of {head}; kept from {from}."),
        "missed": _("Some entries were missed: they are not kept any more."),
        "reset": _("The bus was reset by {by}."),
    }
