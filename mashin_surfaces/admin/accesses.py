"""The ledger in the admin: to be looked at, in any size, and never changed."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any, Final
from uuid import UUID

from django.contrib import admin
from django.contrib.admin.views.main import ChangeList
from django.db.models import Q, QuerySet
from django.http import HttpRequest
from django.utils import timezone
from django.utils.formats import number_format
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from ..ledger.chain import GENESIS, HASHED, row_hash
from ..ledger.models import SurfaceAccess
from .access_filters import DayFilter, MachineFilter, OutcomeFilter, PrincipalFilter, SurfaceFilter
from .markup import SCRIPT, badge, code_block, json_block, machine_link
from .records import WrittenByCode

_LOOKS: Final = {"allowed": "good", "refused": "warn", "failed": "bad"}
#: The class of a fieldset whose fields stand side by side, each below its label.
COMPACT: Final = ("mashin-compact",)
_LARGE: Final = ("input", "output", "steps", "hash", "prev_hash")


class AccessList(ChangeList):
    """The list without the long columns."""

    def get_queryset(self, *args: Any, **kwargs: Any) -> QuerySet[SurfaceAccess]:
        rows: QuerySet[SurfaceAccess] = super().get_queryset(*args, **kwargs)
        return rows.defer(*_LARGE)


class SurfaceAccessAdmin(WrittenByCode[SurfaceAccess]):
    list_display = (
        "moment", "verdict", "surface", "machine", "principal", "duration",
    )  # fmt: skip
    list_filter = (
        DayFilter, OutcomeFilter, MachineFilter, SurfaceFilter, PrincipalFilter, "event",
    )  # fmt: skip
    sortable_by = ("moment",)
    search_fields = ("request_id", "principal")
    search_help_text = gettext_lazy("A whole request id, or the whole name of a principal.")
    actions = None
    fieldsets = (
        (
            None,
            {
                "fields": (("moment", "event", "verdict", "duration", "cost"),),
                "classes": COMPACT,
            },
        ),
        (
            gettext_lazy("Where"),
            {"fields": (("surface", "path", "machine_link", "revision"),), "classes": COMPACT},
        ),
        (
            gettext_lazy("Who"),
            {"fields": (("principal", "credential", "client", "request_id"),), "classes": COMPACT},
        ),
        (
            gettext_lazy("What"),
            {"fields": ("input_text", "output_text", "steps_text"), "classes": ("mashin-wide",)},
        ),
        (
            gettext_lazy("Place in the chain"),
            {
                "fields": (("lane", "seq", "holds"), "prev_hash", "hash"),
                "classes": COMPACT,
                "description": gettext_lazy(
                    "Each row of a lane carries the hash of the row before it. "
                    "<code>manage.py verify_ledger</code> checks all lanes from their beginning."
                ),
            },
        ),
    )

    class Media:
        js = (SCRIPT,)

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        # Whoever holds only "change" or "delete" holds nothing here: there is no such thing.
        return request.user.has_perm("mashin_surfaces.view_surfaceaccess")

    # -- the list -------------------------------------------------------------------------------

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[AccessList]:
        return AccessList

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[SurfaceAccess], search_term: str
    ) -> tuple[QuerySet[SurfaceAccess], bool]:
        """Whole values only: an index finds them."""
        term = search_term.strip()
        if not term:
            return queryset, False
        wanted = Q(request_id=term) | Q(principal=term)
        with suppress(ValueError):
            wanted |= Q(pk=UUID(term))
        return queryset.filter(wanted), False

    @admin.display(description=gettext_lazy("at"), ordering="id")
    def moment(self, access: SurfaceAccess) -> SafeString:
        """To the second, which the usual format leaves out. The order is that of the ids."""
        at = timezone.localtime(access.at)
        return format_html(
            '<time class="mashin-moment" datetime="{}">{}</time>',
            at.isoformat(),
            f"{at:%Y-%m-%d %H:%M:%S}",
        )

    @admin.display(description=gettext_lazy("outcome"))
    def verdict(self, access: SurfaceAccess) -> SafeString:
        """The outcome, and the code that says why."""
        outcome = badge(_LOOKS.get(access.outcome, "quiet"), access.get_outcome_display())
        return format_html("{} {}", outcome, access.code)

    @admin.display(description=gettext_lazy("duration"))
    def duration(self, access: SurfaceAccess) -> str:
        return _("%s ms") % number_format(f"{access.duration_us / 1000:.2f}")

    # -- the page -------------------------------------------------------------------------------

    @admin.display(description=gettext_lazy("machine"))
    def machine_link(self, access: SurfaceAccess) -> str:
        return machine_link(access.machine, self.admin_site.name)

    @admin.display(description=gettext_lazy("input"))
    def input_text(self, access: SurfaceAccess) -> SafeString:
        return _shown(access.input)

    @admin.display(description=gettext_lazy("output"))
    def output_text(self, access: SurfaceAccess) -> SafeString:
        return _shown(access.output)

    @admin.display(description=gettext_lazy("steps"))
    def steps_text(self, access: SurfaceAccess) -> SafeString:
        text = _shown(access.steps)
        if not is_assumed(access):
            return text
        note = badge("warn", _("assumed: no model was asked"))
        return format_html('<div class="mashin-stack">{}{}</div>', note, text)

    @admin.display(description=gettext_lazy("check"))
    def holds(self, access: SurfaceAccess) -> SafeString:
        """This row and the one before it: neither was changed, nothing is missing between."""
        problem = chain_problem(access)
        return badge("bad", problem) if problem else badge("good", _("holds"))


def chain_problem(access: SurfaceAccess) -> str:
    """What is wrong with a row's place in its lane, as a sentence; empty when it holds."""
    if row_hash([getattr(access, name) for name in HASHED]) != access.hash:
        return _("The columns do not give the hash: the row was changed.")
    if access.seq == 1:
        before: str | None = GENESIS
    else:
        rows = SurfaceAccess.objects.filter(lane=access.lane, seq=access.seq - 1)
        before = rows.values_list("hash", flat=True).first()
    if before is None:
        return _("The row before this one is missing.")
    if before != access.prev_hash:
        return _("The row before this one has another hash.")
    return ""


def is_assumed(access: SurfaceAccess) -> bool:
    """Whether a step answered with what the machine's author assumed, instead of a model."""
    steps = _read(access.steps)
    return isinstance(steps, list) and any(
        isinstance(step, dict) and step.get("assumed") is True for step in steps
    )


def _read(text: str) -> Any:
    """The JSON value of a column; None when it is none (a digest, a broken frame)."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _shown(text: str) -> SafeString:
    value = _read(text)
    return code_block(text) if value is None else json_block(value)
