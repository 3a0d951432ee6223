"""Rooms in the admin: looked at, trimmed; topics reset; what is in them is nobody's to write here.

A panel, a run and an incubator are more than their rooms: what becomes of them is decided on pages
of their own.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final, cast

from django.contrib import admin, messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.contrib.admin.views.main import ChangeList
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from ..rooms import log, presence
from ..rooms.appending import RoomIsGone
from ..rooms.models import Room
from ..rooms.retention import trim
from .access_filters import MachineFilter
from .accesses import COMPACT
from .markup import badge, json_block, machine_link
from .records import WrittenByCode
from .searching import begins_with, found_by
from .tables import events_of, members_of

#: Rooms that the page which asks once more names.
MOST_NAMED: Final = 50
#: What a room belongs to that is no topic, and why it is not reset here.
_OWNERS: Final = {
    Room.Kind.PANEL: gettext_lazy(
        "Only its tools change a panel's state; the panel can be deleted on its own page."
    ),
    Room.Kind.RUN: gettext_lazy("A run's log is its history, and stays."),
    Room.Kind.INCUBATOR: gettext_lazy(
        "An incubator is reset on its own page: with its claims and its account, and in the ledger."
    ),
}


class RoomList(ChangeList):
    """The list without states; the members of all rooms of a page by one query."""

    def get_queryset(self, *args: Any, **kwargs: Any) -> QuerySet[Room]:
        rows: QuerySet[Room] = super().get_queryset(*args, **kwargs)
        return rows.defer("state")

    def get_results(self, request: HttpRequest) -> None:
        super().get_results(request)
        rooms = list(self.result_list)
        found = presence.counts([room.pk for room in rooms])
        for room in rooms:
            room.members_now = found.get(room.pk, 0)
        self.result_list = cast(Any, rooms)


class RoomAdmin(WrittenByCode[Room]):
    change_form_template = "admin/mashin_surfaces/room/change_form.html"
    list_display = (
        "key", "kind", "condition", "machine", "head", "kept", "member_count",
    )  # fmt: skip
    list_filter = ("kind", "status", MachineFilter)
    search_fields = ("key", "machine")
    search_help_text = gettext_lazy("The beginning of a key, or the whole name of a machine.")
    actions = ("trim_rooms", "reset_rooms")
    fieldsets = (
        (
            None,
            {
                "fields": (("kind", "key", "machine_link", "condition", "created_at"),),
                "classes": COMPACT,
            },
        ),
        (
            gettext_lazy("Log"),
            {"fields": (("floor", "head", "kept", "epoch"),), "classes": COMPACT},
        ),
        (
            gettext_lazy("Members now"),
            {"fields": ("member_table",), "classes": ("mashin-wide", "mashin-plain")},
        ),
        (
            gettext_lazy("State"),
            {"fields": ("state_text",), "classes": ("mashin-wide", "mashin-plain")},
        ),
        (
            gettext_lazy("Last events"),
            {"fields": ("event_table",), "classes": ("mashin-wide", "mashin-plain")},
        ),
    )

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        user = request.user
        return user.has_perm("mashin_surfaces.view_room") or self.has_operate_permission(request)

    def has_operate_permission(self, request: HttpRequest) -> bool:
        """Who may trim and reset: nothing else of a room can be changed."""
        return request.user.has_perm("mashin_surfaces.change_room")

    # -- the list -------------------------------------------------------------------------------

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[RoomList]:
        return RoomList

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Room], search_term: str
    ) -> tuple[QuerySet[Room], bool]:
        term = search_term.strip()
        if not term:
            return queryset, False
        rooms = Room.objects
        found = found_by(rooms.filter(begins_with("key", term)), rooms.filter(machine=term))
        return queryset.filter(found), False

    @admin.display(description=gettext_lazy("kept"))
    def kept(self, room: Room) -> int:
        return room.head - room.floor

    @admin.display(description=gettext_lazy("members"))
    def member_count(self, room: Room) -> int:
        found: int = cast(Any, room).members_now
        return found

    @admin.display(description=gettext_lazy("status"))
    def condition(self, room: Room) -> SafeString:
        look = "good" if room.status == Room.Status.OPEN else "quiet"
        return badge(look, room.get_status_display())

    @admin.action(
        description=gettext_lazy("Trim selected rooms to what the settings keep"),
        permissions=["operate"],
    )
    def trim_rooms(self, request: HttpRequest, rooms: QuerySet[Room]) -> None:
        gone = trim(rooms=list(rooms.values_list("pk", flat=True)))
        text = ngettext("%d event is gone.", "%d events are gone.", gone.events)
        self.message_user(request, text % gone.events, messages.SUCCESS)

    @admin.action(
        description=gettext_lazy("Reset selected topics: clear log and state"),
        permissions=["operate"],
    )
    def reset_rooms(self, request: HttpRequest, rooms: QuerySet[Room]) -> HttpResponse | None:
        """Asks once more; the answer comes here again. What is no topic stays as it is."""
        kinds = rooms.order_by().exclude(kind=Room.Kind.TOPIC).values_list("kind", flat=True)
        stay = [str(_OWNERS[Room.Kind(kind)]) for kind in sorted(kinds.distinct())]
        topics = rooms.filter(kind=Room.Kind.TOPIC).defer("state")
        named = list(topics[: MOST_NAMED + 1])
        if request.POST.get("post") == "yes" or not named:
            for why in stay:
                self.message_user(request, why, messages.WARNING)
            self._reset(request, topics)
            return None
        context = {
            "rooms": named[:MOST_NAMED],
            "stay": stay,
            "are_more": len(named) > MOST_NAMED,
            "chosen": request.POST.getlist(ACTION_CHECKBOX_NAME),
            "across": request.POST.get("select_across", "0"),
            "checkbox": ACTION_CHECKBOX_NAME,
        }
        return self.page_below(request, "room/reset.html", _("Reset topics?"), **context)

    def _reset(self, request: HttpRequest, rooms: Iterable[Room]) -> None:
        done = 0
        for room in list(rooms):
            try:
                log.reset(room.pk)
            except RoomIsGone:
                continue
            self.log_change(request, room, _("Reset: its log and state are cleared."))
            done += 1
        text = ngettext("%d topic was reset.", "%d topics were reset.", done) % done
        self.message_user(request, text, messages.SUCCESS if done else messages.WARNING)

    # -- the page -------------------------------------------------------------------------------

    def render_change_form(
        self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any
    ) -> HttpResponse:
        context["may_operate"] = self.has_operate_permission(request)
        context["checkbox"] = ACTION_CHECKBOX_NAME
        room: Room | None = context.get("original")
        if room is not None and room.kind != Room.Kind.TOPIC:
            context["owner"] = self._owner(room)
        return super().render_change_form(request, context, *args, **kwargs)

    def _owner(self, room: Room) -> SafeString:
        """Why a room is not reset here, as a link to the page of what it belongs to."""
        pk = room.key if room.kind == Room.Kind.RUN else room.pk
        name = f"admin:mashin_surfaces_{room.kind}_change"
        url = reverse(name, args=(pk,), current_app=self.admin_site.name)
        return format_html('<a href="{}">{}</a>', url, _OWNERS[Room.Kind(room.kind)])

    @admin.display(description=gettext_lazy("machine"))
    def machine_link(self, room: Room) -> str:
        return machine_link(room.machine, self.admin_site.name)

    @admin.display(description=gettext_lazy("state"))
    def state_text(self, room: Room) -> SafeString:
        return json_block(room.state)

    @admin.display(description=gettext_lazy("members"))
    def member_table(self, room: Room) -> SafeString:
        return members_of(room.pk)

    @admin.display(description=gettext_lazy("events"))
    def event_table(self, room: Room) -> SafeString:
        return events_of(room.pk, room.head)
