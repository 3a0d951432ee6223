"""Runs in the admin: followed as they go, decided, paused, cancelled, retried; never written.

What somebody does here goes through the doors of runs (``runs/commands.py``) in their name, and is
in the ledger like what comes over a socket.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Final, Literal, cast

from asgiref.sync import async_to_sync
from django.contrib import admin, messages
from django.contrib.admin.views.main import ChangeList
from django.core.exceptions import PermissionDenied
from django.db.models import Count, Q, QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import path, reverse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views.decorators.http import require_POST

from ..exceptions import Refusal
from ..governance.govern import Caller
from ..runs import commands
from ..runs.models import Gate, Node, Run
from ..runs.states import ENDED, NodeStatus
from ..runs.words import duration, lasted, money
from .access_filters import MachineFilter
from .gates import WaitingFilter, open_gates
from .markup import machine_link
from .records import WrittenByCode
from .run_callers import CONTROL, VIEW, caller_of, may_decide, may_follow
from .run_looks import outcome_badge, run_badge
from .run_page import RUN_SCRIPT, RUN_STYLESHEETS, Rights, Typed, gates_waiting, page_of, progress
from .searching import begins_with, found_by
from .tables import moment

#: What the list does not read.
_LARGE: Final = ("input", "output", "error")
_DONE: Final = {
    "pause": gettext_lazy("It pauses as soon as what runs has ended."),
    "resume": gettext_lazy("It goes on."),
    "cancel": gettext_lazy("It is being cancelled: what runs gets 10 seconds to end."),
}


class RunList(ChangeList):
    """The list without inputs and outputs; what is known of a page's runs by a query each."""

    def get_queryset(self, *args: Any, **kwargs: Any) -> QuerySet[Run]:
        rows: QuerySet[Run] = super().get_queryset(*args, **kwargs)
        return rows.defer(*_LARGE)

    def get_results(self, request: HttpRequest) -> None:
        super().get_results(request)
        runs = list(self.result_list)
        ids = [run.pk for run in runs]
        nodes = Node.objects.filter(run__in=ids).exclude(status=NodeStatus.MUTATED)
        done = Count("pk", filter=Q(status__in=[status.value for status in ENDED]))
        counted = nodes.order_by().values("run").annotate(done=done, in_all=Count("pk"))
        counts = {each["run"]: (each["done"], each["in_all"]) for each in counted}
        gates = open_gates().filter(run__in=ids).order_by().values("run").annotate(n=Count("pk"))
        waiting = dict(gates.values_list("run", "n"))
        for run in runs:
            run.done, run.nodes_in_all = counts.get(run.pk, (0, 0))
            run.waiting = waiting.get(run.pk, 0)
        self.result_list = cast(Any, runs)


class RunAdmin(WrittenByCode[Run]):
    change_form_template = "admin/mashin_surfaces/run/change_form.html"
    list_display = (
        "name", "condition", "progress", "cost", "gates", "started", "duration",
    )  # fmt: skip
    list_filter = (WaitingFilter, "status", MachineFilter)
    search_fields = ("pk", "machine")
    search_help_text = gettext_lazy("The beginning of an id, or the whole name of a machine.")
    actions = None
    fields = ("id",)

    class Media:
        css = {"all": RUN_STYLESHEETS}  # noqa: RUF012  Django reads it once
        js = (RUN_SCRIPT,)

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return request.user.has_perm(VIEW) or self.has_control_permission(request)

    def has_control_permission(self, request: HttpRequest) -> bool:
        """Who may pause, resume, cancel and retry."""
        return request.user.has_perm(CONTROL)

    # -- the list -------------------------------------------------------------------------------

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[RunList]:
        return RunList

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Run], search_term: str
    ) -> tuple[QuerySet[Run], bool]:
        term = search_term.strip()
        if not term:
            return queryset, False
        runs = Run.objects
        found = found_by(runs.filter(begins_with("pk", term)), runs.filter(machine=term))
        return queryset.filter(found), False

    @admin.display(description=gettext_lazy("machine"))
    def name(self, run: Run) -> SafeString:
        return format_html('{} <span class="mashin-id">{}</span>', run.machine, run.pk[:8])

    @admin.display(description=gettext_lazy("status"))
    def condition(self, run: Run) -> SafeString:
        """The status, and why it ends where that is not the same."""
        if run.outcome in {"", run.status}:
            return run_badge(run)
        return format_html("{} {}", run_badge(run), outcome_badge(run))

    @admin.display(description=gettext_lazy("nodes"))
    def progress(self, run: Any) -> str:
        return progress(run.done, run.nodes_in_all)

    @admin.display(description=gettext_lazy("spent"))
    def cost(self, run: Run) -> str:
        return money(run)

    @admin.display(description=gettext_lazy("waiting"))
    def gates(self, run: Any) -> SafeString:
        return gates_waiting(run.waiting)

    @admin.display(description=gettext_lazy("started"))
    def started(self, run: Run) -> SafeString:
        return moment(run.started_at)

    @admin.display(description=gettext_lazy("duration"))
    def duration(self, run: Run) -> str:
        return duration(lasted(run.started_at, run.ended_at, timezone.now()))

    # -- the page -------------------------------------------------------------------------------

    def get_queryset(self, request: HttpRequest) -> QuerySet[Run]:
        return super().get_queryset(request).select_related("room", "parent").defer("room__state")

    def render_change_form(
        self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any
    ) -> HttpResponse:
        """``request.typed``: what was sent at a gate and is wrong."""
        run: Run | None = context.get("original")
        if run is not None:
            rights = Rights(
                control=self.has_control_permission(request),
                decide=may_decide(caller_of(request).principal, run.machine),
                follow=may_follow(request, run.machine),
            )
            typed = getattr(request, "typed", Typed())
            context |= page_of(run, rights, _offset(request.GET.get("before")), typed)
            context["machine"] = machine_link(run.machine, self.admin_site.name)
        return super().render_change_form(request, context, *args, **kwargs)

    # -- what can be done -----------------------------------------------------------------------

    def get_urls(self) -> list[Any]:
        view = self.admin_site.admin_view
        name = "mashin_surfaces_run_{}".format
        return [
            path(
                "<str:run_id>/gates/<str:gate_id>/",
                view(require_POST(self.decide_view)),
                name=name("decide"),
            ),
            path(
                "<str:run_id>/nodes/<str:node>/retry/",
                view(require_POST(self.retry_view)),
                name=name("retry"),
            ),
            *(
                path(
                    f"<str:run_id>/{to}/",
                    view(require_POST(self.control_view)),
                    {"to": to},
                    name=name(to),
                )
                for to in _DONE
            ),
            *super().get_urls(),
        ]

    def control_view(
        self, request: HttpRequest, run_id: str, to: Literal["pause", "resume", "cancel"]
    ) -> HttpResponse:
        """Pause, resume, or cancel; the last is asked for once more."""
        run = self._run(request, run_id, is_control=True)
        if to == "cancel" and request.POST.get("post") != "yes":
            return self._question(request, run)
        return self._do(request, run, str(_DONE[to]), lambda by: commands.acontrol(run, to, by))

    def retry_view(self, request: HttpRequest, run_id: str, node: str) -> HttpResponse:
        """Run a failed node again, and what was skipped because of it."""
        run = self._run(request, run_id, is_control=True)
        told = _("The node %s runs again.") % node
        return self._do(request, run, told, lambda by: commands.aretry(run, node, by))

    def decide_view(self, request: HttpRequest, run_id: str, gate_id: str) -> HttpResponse:
        """Decide a gate, as it was shown: the form says which revision that was."""
        run = self._run(request, run_id)
        gate = Gate.objects.filter(run=run, pk=gate_id).exclude(kind=Gate.Kind.WAIT).first()
        if gate is None:
            raise Http404(_("There is no such gate."))
        posted = request.POST
        chosen = posted.get("option", "")
        options = {each["id"]: each for each in gate.shown["options"]}
        scope = posted.get("scope", "node")
        typed = Typed(gate.pk, posted.get("feedback", "").strip(), scope)
        if chosen not in options or scope not in {"node", "phase", "abort"}:
            return self._again(request, run, _("Choose one of the gate's options."), typed)
        decision = options[chosen]["decision"]
        choice = commands.Choice(
            decision,
            gate_id=gate.pk,
            revision=_offset(posted.get("revision")),
            digest=posted.get("digest"),
            option_id=chosen,
            scope=cast(Any, scope) if decision == "reject" else "node",
            feedback=typed.feedback,
            ref=posted.get("ref", "")[:64] or None,
        )
        told = _("The gate %(node)s is decided: %(option)s.") % {
            "node": gate.node,
            "option": options[chosen]["label"],
        }
        return self._do(
            request, run, told, lambda by: commands.adecide(run, choice, by), typed=typed
        )

    def _run(self, request: HttpRequest, run_id: str, *, is_control: bool = False) -> Run:
        run = self.get_object(request, run_id)
        if run is None:
            raise Http404(_("There is no such run."))
        may = self.has_control_permission if is_control else self.has_view_permission
        if not may(request):
            raise PermissionDenied
        return run

    def _do(
        self,
        request: HttpRequest,
        run: Run,
        told: str,
        command: Callable[[Caller], Awaitable[object]],
        *,
        typed: Typed | None = None,
    ) -> HttpResponse:
        """Carry out a command in the user's name; what it refuses is said on the page."""
        try:
            async_to_sync(_awaited)(command, caller_of(request))
        except Refusal as refusal:
            return self._again(request, run, refusal.message, typed)
        self.log_change(request, run, told)
        self.message_user(request, told, messages.SUCCESS)
        return HttpResponseRedirect(self._address(run))

    def _again(
        self, request: HttpRequest, run: Run, problem: str, typed: Typed | None
    ) -> HttpResponse:
        """The page once more, with what is wrong, and with what was typed."""
        self.message_user(request, problem, messages.ERROR)
        if typed is None:
            return HttpResponseRedirect(self._address(run))
        request.method = "GET"  # the page is shown, nothing is saved
        cast(Any, request).typed = typed
        return self.changeform_view(request, run.pk)

    def _question(self, request: HttpRequest, run: Run) -> HttpResponse:
        title, status = _("Cancel the run?"), run_badge(run)
        return self.page_below(request, "run/cancel.html", title, original=run, status=status)

    def _address(self, run: Run) -> str:
        return reverse(
            "admin:mashin_surfaces_run_change", args=(run.pk,), current_app=self.admin_site.name
        )


async def _awaited(command: Callable[[Caller], Awaitable[object]], by: Caller) -> None:
    await command(by)


def _offset(text: str | None) -> int | None:
    """A whole number of an address or a form; None for what is none."""
    return int(text) if text and text.isdecimal() and len(text) < 19 else None
