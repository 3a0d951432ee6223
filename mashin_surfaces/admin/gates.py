"""Gates in the admin: a list of who is waited for. They are decided on the page of their run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.text import Truncator
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from ..runs.models import Gate
from .access_filters import MachineFilter
from .markup import badge
from .records import WrittenByCode
from .run_callers import caller_of, may_decide
from .tables import moment

if TYPE_CHECKING:
    Rows = QuerySet[Any]
else:
    Rows = QuerySet

#: Characters of a gate's question in the list.
MOST_SHOWN = 100
_LOOKS = {"open": "warn", "decided": "good", "expired": "bad"}


def open_gates() -> QuerySet[Gate]:
    """The gates at which a person is waited for."""
    return Gate.objects.filter(status=Gate.Status.OPEN).exclude(kind=Gate.Kind.WAIT)


def for_whom_waits(request: HttpRequest) -> list[str]:
    """The machines whose runs wait for somebody, and the user may be it."""
    principal = caller_of(request).principal
    names = open_gates().order_by().values_list("run__machine", flat=True).distinct()
    return [name for name in names if may_decide(principal, name)]


class WaitingFilter(admin.SimpleListFilter):
    """Runs that wait at a gate, for the user or for anybody."""

    title = gettext_lazy("gates waiting")
    parameter_name = "waiting"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Sequence[tuple[str, Any]]:
        return [("me", _("For me")), ("anybody", _("For anybody"))]

    def queryset(self, request: HttpRequest, queryset: Rows) -> Rows:
        if self.value() == "me":
            gates = open_gates().filter(run__machine__in=for_whom_waits(request))
        elif self.value() == "anybody":
            gates = open_gates()
        else:
            return queryset
        return queryset.filter(pk__in=gates.order_by().values("run"))


class StatusFilter(admin.SimpleListFilter):
    """Open gates, unless others are asked for: the table is asked by its index of the status."""

    title = gettext_lazy("status")
    parameter_name = "status"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Sequence[tuple[str, Any]]:
        return [("me", _("Open, waiting for me")), *Gate.Status.choices[1:]]

    def queryset(self, request: HttpRequest, queryset: Rows) -> Rows:
        value = self.value()
        if value == "me":
            mine = for_whom_waits(request)
            return queryset.filter(status=Gate.Status.OPEN, run__machine__in=mine)
        return queryset.filter(status=value or Gate.Status.OPEN)

    def choices(self, changelist: Any) -> Any:
        for number, choice in enumerate(super().choices(changelist)):
            yield choice if number else {**choice, "display": _("Open")}


class RunMachineFilter(MachineFilter):
    column = "run__machine"


class GateAdmin(WrittenByCode[Gate]):
    list_display = ("asked", "machine", "kind", "gate_class", "condition", "opened", "expires")
    list_display_links = None
    list_filter = (StatusFilter, RunMachineFilter)
    list_select_related = ("run",)
    actions = None
    fields = (
        "asked", "machine", "kind", "gate_class", "revision", "condition", "opened", "expires",
    )  # fmt: skip
    readonly_fields = ("asked", "machine", "condition", "opened", "expires")

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        names = ("mashin_surfaces.view_gate", "mashin_surfaces.change_gate")
        return any(map(request.user.has_perm, names))

    def get_queryset(self, request: HttpRequest) -> QuerySet[Gate]:
        """Without what is not for people."""
        rows = super().get_queryset(request).exclude(kind=Gate.Kind.WAIT)
        large = [f"run__{name}" for name in ("input", "output", "error")]
        return rows.select_related("run").defer(*large)

    @admin.display(description=gettext_lazy("question"))
    def asked(self, gate: Gate) -> SafeString:
        """What is asked, as a link to where it can be answered."""
        url = reverse(
            "admin:mashin_surfaces_run_change",
            args=(gate.run_id,),
            current_app=self.admin_site.name,
        )
        question = gate.shown.get("question") or ""
        return format_html(
            '<a href="{}#gate-{}">{}</a> {}',
            url,
            gate.pk,
            gate.shown.get("title") or gate.node,
            Truncator(question).chars(MOST_SHOWN),
        )

    @admin.display(description=gettext_lazy("machine"))
    def machine(self, gate: Gate) -> str:
        return gate.run.machine

    @admin.display(description=gettext_lazy("status"))
    def condition(self, gate: Gate) -> SafeString:
        return badge(_LOOKS.get(gate.status, "quiet"), gate.get_status_display())

    @admin.display(description=gettext_lazy("opened"))
    def opened(self, gate: Gate) -> SafeString:
        return moment(gate.opened_at)

    @admin.display(description=gettext_lazy("expires"))
    def expires(self, gate: Gate) -> SafeString | str:
        return "–" if gate.expires_at is None else moment(gate.expires_at)
