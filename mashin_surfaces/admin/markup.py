"""Small pieces of HTML that several admin pages show: badges, JSON, links to machines, surfaces."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from django.forms import Script
from django.urls import NoReverseMatch, reverse
from django.utils.formats import number_format
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.text import Truncator
from django.utils.translation import gettext as _
from django.utils.translation import ngettext, pgettext

from ..machines.models import Machine, Surface
from ..machines.store import SURFACE_VIEW

#: What the pages of this package look like, and what they do beyond HTML.
STYLESHEET = "mashin_surfaces/admin.css"
#: Of a tree: how many values are shown, and how many characters of a value and of a key.
MOST_VALUES: Final = 2_000
MOST_CHARACTERS: Final = 1_000
MOST_OF_A_KEY: Final = 100
#: Containers with so many values or fewer are open when the page comes.
MOST_OPEN: Final = 20
SCRIPT = Script("mashin_surfaces/admin.js", type="module")


def badge(look: str, text: object) -> SafeString:
    """``look``: good, bad, warn or quiet."""
    return format_html('<span class="mashin-badge mashin-{}">{}</span>', look, text)


def grouped(number: int) -> str:
    """A whole number, its digits in groups as the reader's language has them."""
    return number_format(number, force_grouping=True)


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


def json_tree(value: dict[str, Any], notes: Mapping[str, str] | None = None) -> SafeString:
    """An object to be opened and closed, without a script; what is too much is counted.

    ``notes``: what is said of its own keys, behind their names.
    """
    return _Tree(notes or {}).node(value, depth=0)


class _Tree:
    """One tree, and how many values it may show yet."""

    def __init__(self, notes: Mapping[str, str]) -> None:
        self.left = MOST_VALUES
        self._notes = notes

    def node(self, value: dict[str, Any] | list[Any], depth: int) -> SafeString:
        pairs = list(value.items() if isinstance(value, dict) else enumerate(value))
        shown = pairs[: self.left]
        self.left -= len(shown)
        rows = [self.row(key, each, depth) for key, each in shown]
        if len(pairs) > len(shown):
            rest = len(pairs) - len(shown)
            text = ngettext("… and %d more", "… and %d more", rest) % rest
            rows.append(format_html('<li class="mashin-more">{}</li>', text))
        return format_html(
            '<ul class="mashin-tree">{}</ul>', format_html_join("", "{}", ((row,) for row in rows))
        )

    def row(self, key: object, value: Any, depth: int) -> SafeString:
        name = format_html(
            '<span class="mashin-name">{}</span>', Truncator(str(key)).chars(MOST_OF_A_KEY)
        )
        if depth == 0 and (note := self._notes.get(str(key))):
            name = format_html('{} <span class="mashin-size">{}</span>', name, note)
        if not isinstance(value, dict | list) or not value:
            kind = "text" if isinstance(value, str) else "plain-value"
            return format_html(
                '<li>{} <span class="mashin-{}">{}</span></li>',
                name,
                kind,
                Truncator(json.dumps(value, ensure_ascii=False)).chars(MOST_CHARACTERS),
            )
        is_open = depth < 2 and len(value) <= MOST_OPEN
        size = f"{{{len(value)}}}" if isinstance(value, dict) else f"[{len(value)}]"
        return format_html(
            "<li><details{}><summary>"
            '{} <span class="mashin-size">{}</span>'
            "</summary>{}</details></li>",
            SafeString(" open") if is_open else "",
            name,
            size,
            self.node(value, depth + 1),
        )


def machine_link(name: str, site: str) -> str:
    """A link to the page of a machine in the admin ``site``; the name of one that is gone."""
    pk = Machine.objects.filter(name=name).values_list("pk", flat=True).first()
    if pk is None:
        return name or "–"
    url = reverse("admin:mashin_surfaces_machine_change", args=(pk,), current_app=site)
    return format_html('<a href="{}">{}</a>', url, name)


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
        pgettext("link", "Open"),
        surface.path,
        label,
    )
