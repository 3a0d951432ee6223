"""What the page says of itself, and what ``page.js`` says, in the language of the request."""

from __future__ import annotations

from django.utils.translation import gettext as _


def marked_fields() -> str:
    """Where details stand beside their fields, this stands over them."""
    return _("Please correct the marked fields.")


def script_words() -> dict[str, str]:
    """By the names that the script uses; ``{n}``, ``{min}`` … stand for numbers."""
    return {
        "connected": _("Connected"),
        "asleep": _("Connects when you send"),
        "reconnecting": _("Reconnecting"),
        "in": _("in {n} s"),
        "offline": _("Offline"),
        "waiting": _("This is sent as soon as the connection is back."),
        "lost": _("The connection was lost before the answer came; it may have been carried out."),
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


def live_words() -> dict[str, str]:
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
        "position": _("The log stands at {head} and is kept from {from}."),
        "missed": _("Some entries were missed: they are not kept any more."),
        "reset": _("The bus was reset by {by}."),
    }
