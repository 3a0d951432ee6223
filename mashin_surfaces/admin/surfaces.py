"""Surfaces in the admin: what the source says, and what an operator sets over it.

Rows come and go with the source of their machine; only the overrides are edited here, by the rules
that the source has to keep too.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, Any, Final

from django import forms
from django.contrib import admin
from django.contrib.admin.utils import label_for_field
from django.db import transaction
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.html import format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from pydantic import TypeAdapter, ValidationError

from ..machines.definition import DEFAULT_AUTH, MachineDefinition, SurfaceSpec
from ..machines.models import Machine, Surface
from ..machines.problems import Problem
from ..machines.registry import DEFINITIONS
from ..machines.review_surfaces import review_surfaces
from ..machines.store import lock
from ..machines.support import unsupported
from ..machines.validation import problems_of
from ..machines.watch import bump
from .access_filters import MachineFilter
from .markup import badge, open_link
from .records import WrittenByCode

if TYPE_CHECKING:
    BaseForm = forms.ModelForm[Surface]
    BaseInline = admin.StackedInline[Surface, Machine]
else:
    BaseForm, BaseInline = forms.ModelForm, admin.StackedInline

_LISTS: Final = ("auth_override", "scopes_override")
_WEBSOCKET_ONLY: Final = ("idle_timeout_override", "dialect_override")
OVERRIDES: Final = (*_LISTS, "rate_override", *_WEBSOCKET_ONLY)
EDITABLE: Final = ("enabled", *OVERRIDES)
_SPEC: Final[TypeAdapter[Any]] = TypeAdapter(SurfaceSpec)


def override_problems(surface: Surface) -> list[Problem]:
    """What the rules of the source say of the options in force; paths begin with the option."""
    values = {**surface.effective_options(), "kind": surface.kind, "path": surface.path}
    try:
        spec = _SPEC.validate_python(values)
    except ValidationError as error:
        return problems_of(error)
    definition = MachineDefinition(name="machine", expresses=(spec,))
    found = [*review_surfaces(definition, ("accepts",)), *unsupported(definition)]
    return [
        Problem(problem.message, problem.path[2:])
        for problem in found
        if problem.severity == "error"
    ]


def save_overrides(surface: Surface, changed: Collection[str]) -> bool:
    """Write the changed overrides, and have every process look; False when the row is gone."""
    values = {name: getattr(surface, name) for name in EDITABLE if name in changed}
    with transaction.atomic():
        lock(DEFINITIONS)  # before the rows, as ``save_machine``
        if not values or not Surface.objects.filter(pk=surface.pk).update(**values):
            return False
        bump(DEFINITIONS)
    return True


def said(value: Any) -> str:
    """An option's value as one writes it in the source."""
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "none"
    if isinstance(value, float):
        return f"{value:g}"
    return str(value)


class OverridesForm(BaseForm):
    """The overrides of one surface. What is in force without them stands in the empty fields."""

    class Meta:
        model = Surface
        fields = EDITABLE

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        surface = self.instance
        for name in OVERRIDES:
            field = self.fields.get(name)
            if field is None:
                continue
            option = name.removesuffix("_override")
            if name in _WEBSOCKET_ONLY and surface.kind != Surface.Kind.WEBSOCKET:
                field.disabled = True
                field.help_text = _("Websockets only.")
                field.widget.attrs["placeholder"] = "–"
            elif (value := self._without_override(option)) is not None:
                field.widget.attrs["placeholder"] = said(value)

    def _without_override(self, option: str) -> Any:
        surface = self.instance
        if option in surface.options:
            return surface.options[option]
        if option == "auth":
            return ["session"] if surface.kind == Surface.Kind.PAGE else list(DEFAULT_AUTH)
        return {"idle_timeout": 300.0, "dialect": "machine"}.get(option)

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or self.cleaned_data
        for name in _LISTS:
            if name in cleaned:
                parts = (part.strip() for part in cleaned[name].split(","))
                cleaned[name] = ", ".join(part for part in parts if part)
        surface = self.instance
        trial = Surface(kind=surface.kind, path=surface.path, options=surface.options)
        for name in OVERRIDES:
            setattr(trial, name, cleaned.get(name, getattr(surface, name)))
        for problem in override_problems(trial):
            field = f"{problem.path[0]}_override" if problem.path else ""
            # What is wrong with the source itself is said where the source is.
            if field in self.fields and cleaned.get(field):
                self.add_error(field, problem.message)
        return cleaned


def _with_machine(surfaces: QuerySet[Surface]) -> QuerySet[Surface]:
    """The machine comes along, without what is large of it."""
    return surfaces.select_related("machine").defer("machine__definition", "machine__source")


class _Shown:
    """The columns and read-only fields that the inline and the admin of surfaces share."""

    @admin.display(description=gettext_lazy("address"), ordering="path")
    def address(self, surface: Surface) -> SafeString:
        is_live = surface.enabled and surface.machine.enabled
        return open_link(surface, is_live=is_live)

    @admin.display(description=gettext_lazy("from the source"))
    def source_options(self, surface: Surface) -> SafeString:
        pairs = ((name, said(value)) for name, value in surface.options.items())
        text = format_html_join(" · ", "<code>{}: {}</code>", pairs)
        return text or SafeString("–")


class SurfaceInline(_Shown, BaseInline):
    model = Surface
    form = OverridesForm
    extra = 0
    max_num = 0
    can_delete = False
    readonly_fields = ("address", "source_options")
    fieldsets = (
        (
            None,
            {
                "fields": (("enabled", "address", "source_options"),),
                "classes": ("mashin-compact",),
            },
        ),
        (
            gettext_lazy("Overrides: an empty field leaves the source in force"),
            {"fields": (OVERRIDES,), "classes": ("mashin-compact",)},
        ),
    )

    def get_queryset(self, request: HttpRequest) -> QuerySet[Surface]:
        return _with_machine(super().get_queryset(request))

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


class OwnerFilter(MachineFilter):
    column = "machine__name"


class SurfaceAdmin(_Shown, WrittenByCode[Surface]):
    form = OverridesForm
    list_display = (
        "address", "kind", "machine_name", "state", "auth", "rate", "overridden",
    )  # fmt: skip
    list_display_links = ("kind",)
    list_filter = ("kind", "enabled", OwnerFilter)
    search_fields = ("path", "machine__name", "machine__title")
    search_help_text = gettext_lazy("Searches paths and machines.")
    readonly_fields = ("machine", "kind", "address", "source_options")
    fieldsets = (
        (
            None,
            {
                "fields": (("enabled", "machine", "kind", "address", "source_options"),),
                "classes": ("mashin-compact",),
            },
        ),
        SurfaceInline.fieldsets[1],
    )
    ordering = ("protocol", "path")  # as an index has them
    sortable_by = None  # by every column: sources say few of them
    by_hand = frozenset({"change"})

    def get_queryset(self, request: HttpRequest) -> QuerySet[Surface]:
        return _with_machine(super().get_queryset(request))

    def save_model(self, request: HttpRequest, obj: Surface, form: Any, change: bool) -> None:
        save_overrides(obj, form.changed_data)

    @admin.display(description=gettext_lazy("machine"), ordering="machine__name")
    def machine_name(self, surface: Surface) -> str:
        return surface.machine.name

    @admin.display(description=gettext_lazy("state"))
    def state(self, surface: Surface) -> SafeString:
        if not surface.machine.enabled:
            return badge("warn", _("machine disabled"))
        return badge("good", _("live")) if surface.enabled else badge("quiet", _("closed"))

    @admin.display(description=gettext_lazy("auth"))
    def auth(self, surface: Surface) -> str:
        value = surface.effective_options().get("auth")
        return said(value) if value else _("by default")

    @admin.display(description=gettext_lazy("rate"))
    def rate(self, surface: Surface) -> str:
        return said(surface.effective_options().get("rate") or "–")

    @admin.display(description=gettext_lazy("overridden"))
    def overridden(self, surface: Surface) -> str:
        names = (name for name in OVERRIDES if getattr(surface, name) not in {"", None})
        return ", ".join(str(label_for_field(name, Surface)) for name in names) or "–"
