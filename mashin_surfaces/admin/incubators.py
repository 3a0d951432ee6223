"""Incubators in the admin: looked at, halted, paused, resumed, reset; a claim taken from its owner.

What somebody does here goes through the doors of incubators (``incubators/commands.py``) in their
name, and is in the ledger like what comes over a socket.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, cast

from asgiref.sync import async_to_sync
from django.contrib import admin, messages
from django.contrib.admin.views.main import ChangeList
from django.core.exceptions import PermissionDenied
from django.db.models import Count, F, QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import path, reverse
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views.decorators.http import require_POST

from ..dialects.incubator import control_of
from ..exceptions import Refusal
from ..governance.govern import Caller
from ..incubators import commands
from ..incubators.budget import Reserved
from ..incubators.models import Agent, Incubator
from ..rooms import presence
from ..rooms.models import Room, RoomEvent
from .access_filters import MachineFilter
from .callers import caller_with
from .incubator_looks import accounts_of, budget_cell, bus_badge
from .incubator_page import page_of
from .records import WrittenByCode
from .run_page import RUN_STYLESHEETS
from .searching import found_by, rooms_of
from .tables import moment

VIEW: Final = "mashin_surfaces.view_incubator"
CONTROL: Final = "mashin_surfaces.change_incubator"
RESET: Final = "mashin_surfaces.delete_incubator"
#: What a permission opens at the doors of incubators, for as long as somebody acts on these pages.
_SCOPES: Final[Mapping[str, str]] = {CONTROL: "bus:control", RESET: "bus:reset"}
_DONE: Final = {
    "halt": gettext_lazy("It is halted: only who may control it acts on it now."),
    "pause": gettext_lazy("It is paused: only who may control it acts on it now."),
    "resume": gettext_lazy("It goes on."),
}


class StatusFilter(admin.SimpleListFilter):
    """By the status of the room."""

    title = gettext_lazy("status")
    parameter_name = "status"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        return [(each.value, each.label) for each in Room.Status if each != Room.Status.CLOSED]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return queryset.filter(room__status=self.value()) if self.value() else queryset


class IncubatorList(ChangeList):
    """What is known of a page's namespaces by a query for each column."""

    def get_queryset(self, *args: Any, **kwargs: Any) -> QuerySet[Incubator]:
        rows: QuerySet[Incubator] = super().get_queryset(*args, **kwargs)
        return rows.defer("room__state", "event_counts", "reason")

    def get_results(self, request: HttpRequest) -> None:
        super().get_results(request)
        incubators = list(self.result_list)
        ids = [incubator.pk for incubator in incubators]
        members = presence.counts(ids)
        last = RoomEvent.objects.filter(room__in=ids, offset=F("room__head"))
        events = dict(last.order_by().values_list("room", "created_at"))
        seen = Agent.objects.filter(room__in=ids).order_by().values("room").annotate(n=Count("pk"))
        agents = dict(seen.values_list("room", "n"))
        for incubator in incubators:
            incubator.members_now = members.get(incubator.pk, 0)
            incubator.last_event = events.get(incubator.pk)
            incubator.agents_seen = agents.get(incubator.pk, 0)
        self.result_list = cast(Any, incubators)


class IncubatorAdmin(WrittenByCode[Incubator]):
    change_form_template = "admin/mashin_surfaces/incubator/change_form.html"
    list_display = (
        "namespace", "machine_name", "condition", "member_count", "agent_count", "last_event",
        "spend",
    )  # fmt: skip
    list_filter = (StatusFilter, MachineFilter)
    list_select_related = ("room",)
    search_fields = ("room__key", "machine")
    search_help_text = gettext_lazy("The beginning of a namespace, or the whole name of a machine.")
    actions = None
    fields = ("machine",)

    class Media:
        css = {"all": RUN_STYLESHEETS}  # noqa: RUF012  Django reads it once

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return any(map(request.user.has_perm, (VIEW, CONTROL, RESET)))

    def has_control_permission(self, request: HttpRequest) -> bool:
        """Who may halt, pause and resume, and take claims from their owners."""
        return request.user.has_perm(CONTROL)

    def has_reset_permission(self, request: HttpRequest) -> bool:
        """Who may clear a namespace."""
        return request.user.has_perm(RESET)

    # -- the list -------------------------------------------------------------------------------

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[IncubatorList]:
        return IncubatorList

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Incubator], search_term: str
    ) -> tuple[QuerySet[Incubator], bool]:
        term = search_term.strip()
        if not term:
            return queryset, False
        rooms = rooms_of(Room.Kind.INCUBATOR, term)
        return queryset.filter(found_by(rooms, Incubator.objects.filter(machine=term))), False

    @admin.display(description=gettext_lazy("namespace"))
    def namespace(self, incubator: Incubator) -> str:
        return incubator.room.key

    @admin.display(description=gettext_lazy("machine"))
    def machine_name(self, incubator: Incubator) -> str:
        return incubator.machine or "–"

    @admin.display(description=gettext_lazy("status"))
    def condition(self, incubator: Incubator) -> SafeString:
        return bus_badge(incubator.room)

    @admin.display(description=gettext_lazy("connected"))
    def member_count(self, incubator: Any) -> int:
        found: int = incubator.members_now
        return found

    @admin.display(description=gettext_lazy("agents seen"))
    def agent_count(self, incubator: Any) -> int:
        found: int = incubator.agents_seen
        return found

    @admin.display(description=gettext_lazy("last event"))
    def last_event(self, incubator: Any) -> SafeString | str:
        return "–" if incubator.last_event is None else moment(incubator.last_event)

    @admin.display(description=gettext_lazy("spent"))
    def spend(self, incubator: Incubator) -> SafeString | str:
        """Without what is reserved at the moment: the page of a namespace shows that."""
        used = Reserved(incubator.cost, incubator.tokens)
        return budget_cell(accounts_of(incubator.machine, used, Reserved())) or "–"

    # -- the page -------------------------------------------------------------------------------

    def get_queryset(self, request: HttpRequest) -> QuerySet[Incubator]:
        # The kind, so that only its own rooms are gone through in their order.
        rows = super().get_queryset(request).select_related("room")
        return rows.filter(room__kind=Room.Kind.INCUBATOR)

    def render_change_form(
        self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any
    ) -> HttpResponse:
        incubator: Incubator | None = context.get("original")
        if incubator is not None:
            context |= page_of(incubator, request, self.admin_site.name)
            context["may_control"] = self.has_control_permission(request)
            context["may_reset"] = self.has_reset_permission(request)
        return super().render_change_form(request, context, *args, **kwargs)

    # -- what can be done -----------------------------------------------------------------------

    def get_urls(self) -> list[Any]:
        view = self.admin_site.admin_view
        name = "mashin_surfaces_incubator_{}".format
        return [
            path(
                f"<int:room>/{verb}/",
                view(require_POST(getattr(self, f"{verb}_view"))),
                name=name(verb),
            )
            for verb in ("control", "free", "reset")
        ] + super().get_urls()

    def control_view(self, request: HttpRequest, room: int) -> HttpResponse:
        """Halt, pause or resume."""
        incubator = self._incubator(request, room, self.has_control_permission)
        reason = request.POST.get("reason", "").strip()
        given = {"command": request.POST.get("command"), "reason": reason}
        try:
            command = control_of(given)
        except Refusal as refusal:
            return self._told(request, incubator, refusal.message, messages.ERROR)
        told = str(_DONE[command.command])
        if reason:
            told = _("%(done)s Reason: %(reason)s") % {"done": told, "reason": reason}
        return self._do(
            request, incubator, told, lambda by: commands.control(incubator, command, by)
        )

    def free_view(self, request: HttpRequest, room: int) -> HttpResponse:
        """Take a claim from its owner, if it is still the claim that was shown."""
        incubator = self._incubator(request, room, self.has_control_permission)
        resource, fence = request.POST.get("resource", ""), request.POST.get("fence", "")
        if not resource or not (fence.isdecimal() and len(fence) < 19):
            problem = _("Say which claim: look at the table again.")
            return self._told(request, incubator, problem, messages.ERROR)
        told = _('The claim of "%s" is released.') % resource
        return self._do(
            request,
            incubator,
            told,
            lambda by: commands.free(incubator, resource, int(fence), by),
        )

    def reset_view(self, request: HttpRequest, room: int) -> HttpResponse:
        """Clear the namespace, after a question."""
        incubator = self._incubator(request, room, self.has_reset_permission)
        if request.POST.get("post") != "yes":
            return self._question(request, incubator)
        told = _("It is reset: log, state, claims and account begin anew.")
        return self._do(request, incubator, told, lambda by: commands.reset(incubator, by))

    def _incubator(
        self, request: HttpRequest, room: int, may: Callable[[HttpRequest], bool]
    ) -> Incubator:
        incubator = self.get_object(request, str(room))
        if incubator is None:
            raise Http404(_("There is no such incubator."))
        if not may(request):
            raise PermissionDenied
        return incubator

    def _do(
        self,
        request: HttpRequest,
        incubator: Incubator,
        told: str,
        command: Callable[[Caller], Awaitable[object]],
    ) -> HttpResponse:
        """Carry out a command in the user's name; what it refuses is said on the page."""
        try:
            async_to_sync(_awaited)(command, caller_with(request, _SCOPES))
        except Refusal as refusal:
            return self._told(request, incubator, refusal.message, messages.ERROR)
        self.log_change(request, incubator, told)
        return self._told(request, incubator, told, messages.SUCCESS)

    def _told(
        self, request: HttpRequest, incubator: Incubator, text: str, level: int
    ) -> HttpResponse:
        self.message_user(request, text, level)
        address = reverse(
            "admin:mashin_surfaces_incubator_change",
            args=(incubator.pk,),
            current_app=self.admin_site.name,
        )
        return HttpResponseRedirect(address)

    def _question(self, request: HttpRequest, incubator: Incubator) -> HttpResponse:
        return self.page_below(
            request,
            "incubator/reset.html",
            _("Reset the incubator?"),
            original=incubator,
            status=bus_badge(incubator.room),
        )


async def _awaited(command: Callable[[Caller], Awaitable[object]], by: Caller) -> None:
    await command(by)
