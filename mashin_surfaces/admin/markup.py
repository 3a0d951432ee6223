"""Small pieces of HTML that several admin pages show: badges, JSON, links to live surfaces."""

from __future__ import annotations

import json
from typing import Any

from django.forms import Script
from django.urls import NoReverseMatch, reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _

from ..machines.models import Surface
from ..machines.store import SURFACE_VIEW

#: What the pages of this package look like, and what they do beyond HTML.
STYLESHEET = "mashin_surfaces/admin.css"
SCRIPT = Script("mashin_surfaces/admin.js", type="module")


def badge(look: str, text: object) -> SafeString:
    """``look``: good, bad, warn or quiet."""
    return format_html('<span class="mashin-badge mashin-{}">{}</span>', look, text)


def code_block(text: str) -> SafeString:
    """Preformatted text that can be scrolled by keyboard; a dash for none."""
    if not text:
        return SafeString("–")
    return format_html('<pre class="mashin-code" tabindex="0">{}</pre>', text)


def pretty(value: Any) -> str:
    """A JSON value on indented lines."""
    return json.dumps(value, indent=2, ensure_ascii=False)


def json_block(value: Any) -> SafeString:
    """A JSON value as a block."""
    return code_block(pretty(value))


def surface_url(path: str) -> str | None:
    """Where a surface is under this project's URLs; None when they don't include ours."""
    try:
        return reverse(SURFACE_VIEW, kwargs={"route": path})
    except NoReverseMatch:
        return None


def open_link(surface: Surface, *, is_live: bool, label: object = "") -> SafeString:
    """A link that opens a live surface in a tab of its own; only the label of a closed one.

    A websocket has no page: its address answers plain HTTP with its description.
    """
    label = label or surface.path
    url = surface_url(surface.path) if is_live else None
    if url is None:
        return format_html(
            '<span class="mashin-closed" title="{} – {}">{}</span>',
            surface.path,
            _("not open now"),
            label,
        )
    return format_html(
        '<a class="mashin-open" href="{}" target="_blank" rel="noopener" title="{} {}">{}</a>',
        url,
        _("Open"),
        surface.path,
        label,
    )
