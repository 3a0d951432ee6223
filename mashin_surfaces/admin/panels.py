"""Panels in the admin: looked at, what their tools wait for answered, tools triggered, taken away.

A page decides nothing: an answer and a trigger become rows, which a server process carries out.
"""

from __future__ import annotations

import re
from contextlib import suppress
from time import monotonic, sleep
from typing import Any, Final, cast
from urllib.parse import urlencode

from django.contrib import admin, messages
from django.contrib.admin.views.main import ChangeList
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.db.models import Count, F, QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import path, reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views.decorators.http import require_POST

from ..exceptions import Refusal
from ..machines.registry import registry
from ..machines.schemas import parse
from ..panels import store, suspensions
from ..panels.definition import PanelTool
from ..panels.due import by_hand, is_queued
from ..panels.models import Panel, PanelRequest, Suspension
from ..panels.words import fires
from ..rooms import presence
from ..rooms.log import database
from ..rooms.models import Room, RoomEvent
from .access_filters import FormFilter, MachineFilter
from .accesses import COMPACT
from .markup import badge, json_block, json_tree, machine_link
from .records import WrittenByCode
from .searching import found_by, rooms_of
from .tables import events_of, members_of, moment, table

#: Open suspensions that a page shows.
MOST_SUSPENSIONS: Final = 20
#: Seconds that a page waits for the result of what it triggered, and between two looks.
PATIENCE: Final = 3.0
LOOK: Final = 0.05
#: What ``by_hand`` calls a request.
_REQUEST_ID: Final = re.compile("[0-9a-f]{32}")
_LOOKS: Final = {"success": "good", "suspended": "warn", "error": "bad"}


class KindFilter(FormFilter):
    """By a kind that is typed: whoever makes a panel names its kind."""

    title = gettext_lazy("kind")
    parameter_name = "kind"
    column = "kind"
    input_type = "text"


class PanelList(ChangeList):
    """The list without states; what is known of a page's panels by a query for each column."""

    def get_queryset(self, *args: Any, **kwargs: Any) -> QuerySet[Panel]:
        rows: QuerySet[Panel] = super().get_queryset(*args, **kwargs)
        return rows.select_related("room").defer("room__state", "tools", "metadata")

    def get_results(self, request: HttpRequest) -> None:
        super().get_results(request)
        panels = list(self.result_list)
        ids = [panel.pk for panel in panels]
        members = presence.counts(ids)
        last = RoomEvent.objects.filter(room__in=ids, offset=F("room__head"))
        activity = dict(last.order_by().values_list("room", "created_at"))
        waiting = Suspension.objects.filter(panel__in=ids, status=Suspension.Status.OPEN)
        counted = waiting.order_by().values("panel").annotate(waiting=Count("pk"))
        suspended = dict(counted.values_list("panel", "waiting"))
        for panel in panels:
            panel.members_now = members.get(panel.pk, 0)
            panel.last_activity = activity.get(panel.pk, panel.created_at)
            panel.waiting = suspended.get(panel.pk, 0)
        self.result_list = cast(Any, panels)


class PanelAdmin(WrittenByCode[Panel]):
    change_form_template = "admin/mashin_surfaces/panel/change_form.html"
    list_display = (
        "name", "machine", "condition", "member_count", "head", "activity",
    )  # fmt: skip
    list_filter = (KindFilter, MachineFilter)
    by_hand = frozenset({"delete"})
    search_fields = ("room__key", "machine")
    search_help_text = gettext_lazy("The beginning of an id, or the whole name of a machine.")
    fieldsets = (
        (
            None,
            {
                "fields": (
                    ("key", "kind", "title", "machine_link", "status"),
                    ("head", "epoch", "created_by", "created_at"),
                ),
                "classes": COMPACT,
            },
        ),
        (
            gettext_lazy("State"),
            {"fields": ("state_tree",), "classes": ("mashin-wide", "mashin-plain")},
        ),
        (
            gettext_lazy("Tools"),
            {"fields": ("tool_table",), "classes": ("mashin-wide", "mashin-plain")},
        ),
        (
            gettext_lazy("Members now"),
            {"fields": ("member_table",), "classes": ("mashin-wide", "mashin-plain")},
        ),
        (
            gettext_lazy("Last of the log"),
            {"fields": ("event_table",), "classes": ("mashin-wide", "mashin-plain")},
        ),
    )

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        user = request.user
        return user.has_perm("mashin_surfaces.view_panel") or self.has_operate_permission(request)

    def has_operate_permission(self, request: HttpRequest) -> bool:
        """Who may trigger tools and answer them: nothing else of a panel can be changed."""
        return request.user.has_perm("mashin_surfaces.change_panel")

    # -- the list -------------------------------------------------------------------------------

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[PanelList]:
        return PanelList

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Panel], search_term: str
    ) -> tuple[QuerySet[Panel], bool]:
        term = search_term.strip()
        if not term:
            return queryset, False
        rooms = rooms_of(Room.Kind.PANEL, term)
        return queryset.filter(found_by(rooms, Panel.objects.filter(machine=term))), False

    @admin.display(description=gettext_lazy("id, kind and title"))
    def name(self, panel: Panel) -> SafeString:
        below = " · ".join(filter(None, (panel.kind, panel.title)))
        return format_html('{} <span class="mashin-below">{}</span>', panel.room.key, below)

    @admin.display(description=gettext_lazy("status"))
    def condition(self, panel: Panel) -> SafeString:
        return _status(cast(Any, panel).waiting)

    @admin.display(description=gettext_lazy("members"))
    def member_count(self, panel: Panel) -> int:
        found: int = cast(Any, panel).members_now
        return found

    @admin.display(description=gettext_lazy("head"))
    def head(self, panel: Panel) -> int:
        return panel.room.head

    @admin.display(description=gettext_lazy("last activity"))
    def activity(self, panel: Panel) -> SafeString:
        return moment(cast(Any, panel).last_activity)

    # -- the page -------------------------------------------------------------------------------

    def get_queryset(self, request: HttpRequest) -> QuerySet[Panel]:
        return super().get_queryset(request).select_related("room")

    def render_change_form(
        self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any
    ) -> HttpResponse:
        panel: Panel | None = context.get("original")
        if panel is not None:
            typed = context.get("typed", {})
            context |= self._waiting(panel, typed) | self._trigger(request, panel, typed)
            context["may_operate"] = self.has_operate_permission(request)
        return super().render_change_form(request, context, *args, **kwargs)

    def _waiting(self, panel: Panel, typed: dict[str, str]) -> dict[str, Any]:
        """The open suspensions. ``typed``: an answer that was sent and is wrong."""
        found = suspensions.open_ones(panel.pk, MOST_SUSPENSIONS + 1)

        def shown(row: Suspension) -> dict[str, Any]:
            return {
                "row": row,
                "call": json_block(row.call),
                "deadline": moment(row.deadline),
                "given": typed.get("given", "") if typed.get("id") == row.pk else "",
            }

        return {
            "waiting": [shown(row) for row in found[:MOST_SUSPENSIONS]],
            "are_more_waiting": len(found) > MOST_SUSPENSIONS,
        }

    def _trigger(self, request: HttpRequest, panel: Panel, typed: dict[str, str]) -> dict[str, Any]:
        """What can be triggered, and what became of the trigger that the address names."""
        asked = request.GET.get("request", "")
        asked = asked if _REQUEST_ID.fullmatch(asked) else ""
        result = _result(panel.pk, request.user.get_username(), asked) if asked else None
        return {
            "tools": sorted(_tools_of(panel)),
            "chosen_tool": typed.get("tool", request.GET.get("tool", "")),
            "args": typed.get("args", "{}"),
            "request_id": asked,
            "outcome": None if result is None else _outcome(parse(result)),
            "is_queued": bool(asked) and result is None and is_queued(panel.pk, asked),
            "may_see_accesses": request.user.has_perm("mashin_surfaces.view_surfaceaccess"),
        }

    @admin.display(description=gettext_lazy("id"))
    def key(self, panel: Panel) -> str:
        return panel.room.key

    @admin.display(description=gettext_lazy("status"))
    def status(self, panel: Panel) -> SafeString:
        return _status(store.open_suspensions(panel.pk))

    @admin.display(description=gettext_lazy("epoch"))
    def epoch(self, panel: Panel) -> str:
        return panel.room.epoch

    @admin.display(description=gettext_lazy("machine"))
    def machine_link(self, panel: Panel) -> str:
        return machine_link(panel.machine, self.admin_site.name)

    @admin.display(description=gettext_lazy("state"))
    def state_tree(self, panel: Panel) -> SafeString:
        if not panel.room.state:
            return SafeString(_("The state is empty."))
        return json_tree(panel.room.state)

    @admin.display(description=gettext_lazy("tools"))
    def tool_table(self, panel: Panel) -> SafeString:
        tools = _tools_of(panel)
        if not tools:
            return SafeString(_("It has no tools."))
        rows = (
            (
                tool.name,
                tool.definition.handler or tool.definition.machine,
                fires(tool),
                ", ".join(tool.definition.capabilities or panel.capabilities or ("*",)),
            )
            for tool in tools.values()
        )
        return table((_("Name"), _("From"), _("Fires"), _("Capabilities")), rows)

    @admin.display(description=gettext_lazy("members"))
    def member_table(self, panel: Panel) -> SafeString:
        return members_of(panel.pk)

    @admin.display(description=gettext_lazy("log"))
    def event_table(self, panel: Panel) -> SafeString:
        return events_of(panel.pk, panel.room.head)

    # -- what can be done -----------------------------------------------------------------------

    def get_urls(self) -> list[Any]:
        view = self.admin_site.admin_view
        name = "mashin_surfaces_panel_{}".format
        # It waits for what another process does with a row: that has to be committed at once.
        trigger = transaction.non_atomic_requests(using=database())(require_POST(self.trigger_view))
        return [
            path(
                "<int:panel_id>/answer/<str:suspension_id>/",
                view(require_POST(self.answer_view)),
                name=name("answer"),
            ),
            path("<int:panel_id>/trigger/", view(trigger), name=name("trigger")),
            *super().get_urls(),
        ]

    def answer_view(self, request: HttpRequest, panel_id: int, suspension_id: str) -> HttpResponse:
        """Give a tool what it waits for."""
        panel = self._panel(request, panel_id)
        given, kind = request.POST.get("given", ""), request.POST.get("as", "value")
        try:
            if kind == "error":
                if not given.strip():
                    raise ValueError(_("Say what is wrong: the tool gets it as its error."))
                answer: dict[str, Any] = {"error": given.strip()}
            else:
                answer = {"value": parse(given)}
            name = request.user.get_username()
            suspensions.answer(panel.pk, suspension_id, name, **answer)
        except (Refusal, ValueError) as error:
            typed = {"id": suspension_id, "given": given}
            return self._again(request, panel, str(error), typed)
        self.log_change(request, panel, _("Answered %s.") % suspension_id)
        self.message_user(
            request, _("It is answered: the tool goes on within a second."), messages.SUCCESS
        )
        return HttpResponseRedirect(self._address(panel))

    def trigger_view(self, request: HttpRequest, panel_id: int) -> HttpResponse:
        """Have a tool run, in the name of who is signed in."""
        panel = self._panel(request, panel_id)
        name, text = request.POST.get("tool", ""), request.POST.get("args", "").strip()
        tool = _tools_of(panel).get(name)
        try:
            if tool is None:
                raise ValueError(_('This panel has no tool "%s".') % name)
            args = parse(text or "{}")
            tool.check(args)
            principal = request.user.get_username()
            id = by_hand(panel.pk, name, args, principal)
        except (Refusal, ValueError) as error:
            details = getattr(error, "details", None) or ()
            told = " ".join(
                [str(error), *(f"{each['path']}: {each['message']}." for each in details)]
            )
            return self._again(request, panel, told, {"tool": name, "args": text})
        self.log_change(request, panel, _("Triggered %s.") % name)
        end = monotonic() + PATIENCE
        while _result(panel.pk, principal, id) is None and monotonic() < end:
            sleep(LOOK)
        query = urlencode({"tool": name, "request": id})
        return HttpResponseRedirect(f"{self._address(panel)}?{query}#trigger-heading")

    def _panel(self, request: HttpRequest, panel_id: int) -> Panel:
        panel = self.get_object(request, str(panel_id))
        if panel is None:
            raise Http404(_("There is no such panel."))
        if not self.has_operate_permission(request):
            raise PermissionDenied
        return panel

    def _address(self, panel: Panel) -> str:
        return reverse(
            "admin:mashin_surfaces_panel_change",
            args=(panel.pk,),
            current_app=self.admin_site.name,
        )

    def _again(
        self, request: HttpRequest, panel: Panel, problem: str, typed: dict[str, str]
    ) -> HttpResponse:
        """The page once more, with what was typed and what is wrong with it."""
        self.message_user(request, problem, messages.ERROR)
        request.method = "GET"  # the page is shown, nothing is saved
        return self.changeform_view(request, str(panel.pk), extra_context={"typed": typed})

    # -- taken away -----------------------------------------------------------------------------

    def get_deleted_objects(
        self, objs: Any, request: HttpRequest
    ) -> tuple[list[Any], dict[str, int], set[str], list[str]]:
        """The panels alone: what goes with them can be a hundred thousand rows."""
        panels = list(objs)
        told = [
            format_html(
                _("{}, with its state, its log up to offset {}, and what its tools wait for"),
                str(panel),
                panel.room.head,
            )
            for panel in panels
        ]
        return told, {str(self.opts.verbose_name_plural): len(panels)}, set(), []

    def delete_model(self, request: HttpRequest, obj: Panel) -> None:
        _delete(obj.room.key)

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Panel]) -> None:
        for key in list(queryset.values_list("room__key", flat=True)):
            _delete(key)


def _delete(key: str) -> None:
    with suppress(Refusal):  # somebody else was quicker
        store.delete(key)


def _status(waiting: int) -> SafeString:
    return badge("warn", _("suspended")) if waiting else badge("good", _("running"))


def _tools_of(panel: Panel) -> dict[str, PanelTool]:
    registry.current()  # the tools are looked up in it
    return store.tools_of(panel)


def _outcome(result: dict[str, Any]) -> SafeString:
    status = result["status"]
    return format_html("{} {}", badge(_LOOKS.get(status, "quiet"), status), json_block(result))


def _result(room: int, principal: str, request_id: str) -> str | None:
    """The remembered result of a request, as JSON text."""
    same = PanelRequest.objects.filter(panel=room, principal=principal, request_id=request_id)
    return same.values_list("result", flat=True).first()
