"""Machines in the admin: written as mashinTalk, opened and closed, with all their revisions."""

from __future__ import annotations

from typing import Any

from django.contrib import admin, messages
from django.contrib.admin.views.main import ChangeList
from django.db import transaction
from django.db.models import Prefetch, QuerySet
from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from django.utils.formats import date_format
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.timesince import timesince
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from ..conf import settings
from ..exceptions import DefinitionError
from ..machines.definition import AskModel
from ..machines.models import Machine, Surface
from ..machines.places import steps_of
from ..machines.store import delete_machine, save_machine, set_enabled
from .machine_form import MachineForm, sentence, source_of
from .markup import code_block, json_block, open_link
from .revisions import RevisionPages
from .surfaces import SurfaceInline, save_overrides


class MachineList(ChangeList):
    """The list without what only the page of one machine shows."""

    def get_queryset(self, *args: Any, **kwargs: Any) -> QuerySet[Machine]:
        rows: QuerySet[Machine] = super().get_queryset(*args, **kwargs)
        surfaces = Prefetch("surfaces", Surface.objects.defer("options").order_by("-kind", "path"))
        return rows.defer("definition", "source").prefetch_related(surfaces)


class MachineAdmin(RevisionPages):
    form = MachineForm
    inlines = (SurfaceInline,)
    change_form_template = "admin/mashin_surfaces/machine/change_form.html"
    list_display = ("name", "title", "doors", "revision", "enabled", "updated")
    list_filter = ("enabled",)
    search_fields = ("name", "title")
    search_help_text = gettext_lazy("Searches names and titles.")
    readonly_fields = (
        "name", "title", "revision", "updated_at", "source_text", "definition_json",
    )  # fmt: skip
    actions = ("enable", "disable")

    # -- the list -------------------------------------------------------------------------------

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[MachineList]:
        return MachineList

    @admin.display(description=gettext_lazy("surfaces"))
    def doors(self, machine: Machine) -> SafeString:
        return format_html_join(
            " ",
            "{}",
            (
                (
                    open_link(
                        surface,
                        is_live=machine.enabled and surface.enabled,
                        label=surface.get_kind_display(),
                    ),
                )
                for surface in machine.surfaces.all()
            ),
        ) or SafeString("–")

    @admin.display(description=gettext_lazy("updated"), ordering="updated_at")
    def updated(self, machine: Machine) -> SafeString:
        return format_html(
            '<time datetime="{}" title="{}">{}</time>',
            machine.updated_at.isoformat(),
            date_format(timezone.localtime(machine.updated_at), "DATETIME_FORMAT"),
            _("%s ago") % timesince(machine.updated_at, depth=1),
        )

    @admin.action(description=gettext_lazy("Enable selected machines"), permissions=["change"])
    def enable(self, request: HttpRequest, machines: QuerySet[Machine]) -> None:
        self._set_enabled(request, machines, True)

    @admin.action(description=gettext_lazy("Disable selected machines"), permissions=["change"])
    def disable(self, request: HttpRequest, machines: QuerySet[Machine]) -> None:
        self._set_enabled(request, machines, False)

    def _set_enabled(
        self, request: HttpRequest, machines: QuerySet[Machine], enabled: bool
    ) -> None:
        changed = [machine for machine in machines if machine.enabled != enabled]
        with transaction.atomic():
            for machine in changed:
                set_enabled(machine, enabled)
                self.log_change(request, machine, [{"changed": {"fields": ["enabled"]}}])
        if enabled:
            text = ngettext("%d machine was enabled.", "%d machines were enabled.", len(changed))
        else:
            text = ngettext("%d machine was disabled.", "%d machines were disabled.", len(changed))
        self.message_user(request, text % len(changed), messages.SUCCESS)

    # -- the page -------------------------------------------------------------------------------

    def get_fieldsets(self, request: HttpRequest, obj: Machine | None = None) -> Any:
        if obj is None:
            return ((None, {"fields": ("source", "enabled"), "classes": ("mashin-wide",)}),)
        may_change = self.has_change_permission(request, obj)
        source = ("source", "begun_at") if may_change else ("source_text",)
        facts = (("enabled", "name", "title", "revision", "updated_at"),)
        return (
            (None, {"fields": facts, "classes": ("mashin-compact",)}),
            (_("Source"), {"fields": source, "classes": ("mashin-wide",)}),
            (_("Definition as JSON"), {"fields": ("definition_json",), "classes": ("collapse",)}),
        )

    def get_inlines(self, request: HttpRequest, obj: Machine | None) -> Any:
        return super().get_inlines(request, obj) if obj else ()

    @admin.display(description=gettext_lazy("source"))
    def source_text(self, machine: Machine) -> SafeString:
        return code_block(source_of(machine))

    @admin.display(description=gettext_lazy("definition"))
    def definition_json(self, machine: Machine) -> SafeString:
        return json_block(machine.definition)

    def changeform_view(
        self,
        request: HttpRequest,
        object_id: str | None = None,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        try:
            return super().changeform_view(request, object_id, form_url, extra_context)
        except DefinitionError:
            # Somebody took a path between the check and the save: now the check will say so.
            return super().changeform_view(request, object_id, form_url, extra_context)

    def render_change_form(
        self,
        request: HttpRequest,
        context: dict[str, Any],
        add: bool = False,
        change: bool = False,
        form_url: str = "",
        obj: Machine | None = None,
    ) -> HttpResponse:
        context["is_assumed"] = settings.ASK == "assume" and obj is not None and asks_model(obj)
        return super().render_change_form(request, context, add, change, form_url, obj)

    # -- saving ---------------------------------------------------------------------------------

    def save_model(self, request: HttpRequest, obj: Machine, form: Any, change: bool) -> None:
        machine = obj
        if form.parsed is not None:
            parsed, source = form.parsed, form.cleaned_data["source"]
            begun_at = form.cleaned_data.get("begun_at") if change else None
            machine = save_machine(
                parsed.definition, source, user=request.user, begun_at=begun_at
            ).machine
            for warning in parsed.warnings:
                self.message_user(request, sentence(warning), messages.WARNING)
        if not change or "enabled" in form.changed_data:
            set_enabled(machine, form.cleaned_data["enabled"])
        # The page goes on with this object: its surfaces, its log entry.
        obj.pk = machine.pk
        obj._state.adding = False
        obj.refresh_from_db()

    def save_formset(self, request: HttpRequest, form: Any, formset: Any, change: bool) -> None:
        """Overrides only. Rows of surfaces are the source's: it may just have removed some."""
        formset.new_objects, formset.deleted_objects = [], []
        formset.changed_objects = []
        for item in formset.initial_forms:
            if not item.has_changed():
                continue
            if save_overrides(item.instance, item.changed_data):
                formset.changed_objects.append((item.instance, item.changed_data))
            else:
                self.message_user(
                    request,
                    _("The surface %s is gone with this source, and its overrides with it.")
                    % item.instance,
                    messages.WARNING,
                )

    def delete_model(self, request: HttpRequest, obj: Machine) -> None:
        delete_machine(obj)

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Machine]) -> None:
        with transaction.atomic():
            for machine in queryset:
                delete_machine(machine)

    def get_deleted_objects(
        self, objs: Any, request: HttpRequest
    ) -> tuple[list[Any], dict[str, int], set[str], list[str]]:
        deleted, counts, missing, protected = super().get_deleted_objects(objs, request)
        # Surfaces can't be deleted by themselves; they go with their machine.
        return deleted, counts, missing - {Surface._meta.verbose_name}, protected


def asks_model(machine: Machine) -> bool:
    """Whether a machine has model calls, which the setting ``ASK`` may answer with assumptions."""
    try:
        definition = machine.parsed()
    except ValueError:
        return False
    return any(isinstance(step, AskModel) for step, _path in steps_of(definition))
