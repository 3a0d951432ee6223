"""Filters of the ledger that ask it nothing to offer their choices.

A ledger has millions of rows: choices come from the tables of machines and surfaces, or are typed.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, datetime, time, timedelta
from typing import TYPE_CHECKING, Any

from django.contrib import admin
from django.contrib.admin.views.main import PAGE_VAR, ChangeList
from django.db.models import BooleanField, QuerySet
from django.db.models.expressions import RawSQL
from django.http import HttpRequest
from django.utils import timezone
from django.utils.dateparse import parse_date
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from ..ledger.chain import first_id
from ..ledger.models import SurfaceAccess
from ..machines.models import Machine, Surface

if TYPE_CHECKING:
    Accesses = QuerySet[SurfaceAccess]

#: How far an access's id may be from the moment of its row: it may have run for long.
SLACK = timedelta(days=1)
#: Choices in a select; what is not among them can be written into the address.
MOST_CHOICES = 1_000


class FormFilter(admin.SimpleListFilter):
    """A filter that is a small form: a select, or one line of text. It works without a script."""

    template = "admin/mashin_surfaces/surfaceaccess/filter.html"
    input_type = "select"
    #: Columns that the value must equal.
    column = ""

    def has_output(self) -> bool:
        return True

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[Any, str]]:
        return []

    def queryset(self, request: HttpRequest, queryset: Accesses) -> Accesses:
        value = self.value()
        return queryset.filter(**{self.column: value}) if value else queryset

    def choices(self, changelist: ChangeList) -> Iterator[Any]:
        """One item: all that the template needs for the form."""
        offered = [str(value) for value, _title in self.lookup_choices]
        chosen = self.value() or ""
        if chosen and chosen not in offered:  # a machine that is gone is in the ledger still
            self.lookup_choices = [(chosen, chosen), *self.lookup_choices]
        yield {
            "name": self.parameter_name,
            "value": chosen,
            "type": self.input_type,
            "options": self.lookup_choices,
            "others": _others(changelist, self.parameter_name),
            "clear": changelist.get_query_string(remove=[self.parameter_name or ""]),
        }


class MachineFilter(FormFilter):
    title = gettext_lazy("machine")
    parameter_name = "machine"
    column = "machine"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[Any, str]]:
        names = Machine.objects.order_by("name").values_list("name", flat=True)
        return [(name, name) for name in names[:MOST_CHOICES]]


class SurfaceFilter(FormFilter):
    """By the label of a surface, ``kind:path``; those of the chosen machine, when there is one."""

    title = gettext_lazy("surface")
    parameter_name = "surface"
    column = "surface"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[Any, str]]:
        rows = Surface.objects.order_by("path", "kind").values_list("kind", "path")
        if machine := request.GET.get(MachineFilter.parameter_name):
            rows = rows.filter(machine__name=machine)
        return [(f"{kind}:{path}", f"{path} ({kind})") for kind, path in rows[:MOST_CHOICES]]


class PrincipalFilter(FormFilter):
    title = gettext_lazy("principal")
    parameter_name = "principal"
    column = "principal"
    input_type = "text"


class OutcomeFilter(admin.SimpleListFilter):
    """What was not allowed is found by an index of those rows alone, however few they are."""

    title = gettext_lazy("outcome")
    parameter_name = "outcome__exact"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[Any, str]]:
        return [(each.value, str(each.label)) for each in SurfaceAccess.Outcome]

    def queryset(self, request: HttpRequest, queryset: Accesses) -> Accesses:
        value = self.value()
        if not value:
            return queryset
        rows = queryset.filter(outcome=value)
        if value == SurfaceAccess.Outcome.ALLOWED:
            return rows
        # As the index says it: SQLite compares the words.
        return rows.filter(RawSQL("NOT (outcome = 'allowed')", (), BooleanField()))


class DayFilter(FormFilter):
    """The last days, or one day, in the time zone of the admin."""

    title = gettext_lazy("day")
    parameter_name = "day"
    template = "admin/mashin_surfaces/surfaceaccess/filter_day.html"
    input_type = "date"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[Any, str]]:
        return [
            ("today", _("Today")),
            ("yesterday", _("Yesterday")),
            ("7", _("Last 7 days")),
            ("30", _("Last 30 days")),
        ]

    def queryset(self, request: HttpRequest, queryset: Accesses) -> Accesses:
        span = days(self.value() or "")
        if span is None:
            return queryset
        first, last = map(_midnight, span)
        rows = queryset.filter(at__gte=first, at__lt=last)
        # The index is that of the ids: they have the moment at which an access began.
        return rows.filter(id__gte=first_id(first - SLACK), id__lt=first_id(last + SLACK))

    def choices(self, changelist: ChangeList) -> Iterator[Any]:
        chosen = self.value()
        span = days(chosen or "")
        is_offered = chosen in {value for value, _title in self.lookup_choices}
        yield {
            "name": self.parameter_name,
            "value": "" if span is None or is_offered else span[0].isoformat(),
            "type": self.input_type,
            "others": _others(changelist, self.parameter_name),
            "links": [
                {
                    "selected": span is None,
                    "query": changelist.get_query_string(remove=[self.parameter_name]),
                    "title": _("Any day"),
                },
                *(
                    {
                        "selected": value == chosen,
                        "query": changelist.get_query_string({self.parameter_name: value}),
                        "title": title,
                    }
                    for value, title in self.lookup_choices
                ),
            ],
        }


def days(value: str) -> tuple[date, date] | None:
    """The first day and the day after the last; None for what names no days."""
    today = timezone.localdate()
    tomorrow = today + timedelta(days=1)
    named = {
        "today": (today, tomorrow),
        "yesterday": (today - timedelta(days=1), today),
        "7": (today - timedelta(days=6), tomorrow),
        "30": (today - timedelta(days=29), tomorrow),
    }
    if value in named:
        return named[value]
    try:
        day = parse_date(value)
        return None if day is None else (day, day + timedelta(days=1))
    except (ValueError, OverflowError):
        return None


def _midnight(day: date) -> datetime:
    return timezone.make_aware(datetime.combine(day, time.min))


def _others(changelist: ChangeList, name: str | None) -> list[tuple[str, str]]:
    """What else is chosen on the page: a form has to send it along."""
    return [
        (key, value)
        for key, values in changelist.filter_params.items()
        for value in values
        if key not in {name, PAGE_VAR}
    ]
