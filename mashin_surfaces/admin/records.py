"""What the admins of all models share: lists of any size, rows that code writes, pages below them.

What a model shows, and who may do what to it, is left to its own admin.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar

from django.contrib import admin
from django.core.paginator import Paginator
from django.db.models import Model
from django.http import HttpRequest
from django.template.response import TemplateResponse

from .markup import STYLESHEET

Row = TypeVar("Row", bound=Model)

if TYPE_CHECKING:
    from django.contrib.admin import ModelAdmin

    AnyPaginator = Paginator[Any]
else:
    AnyPaginator = Paginator

    class ModelAdmin(admin.ModelAdmin, Generic[Row]):
        """Django's, which takes the type of its rows only for type checkers."""


class CappedPaginator(AnyPaginator):
    """Counts only so far: nobody turns ten thousand pages, and a ledger has millions of rows."""

    most = 10_000

    @cached_property
    def count(self) -> int:
        return min(self._counted, self.most)

    @property
    def is_capped(self) -> bool:
        return self._counted > self.most

    @cached_property
    def _counted(self) -> int:
        rows: Any = self.object_list
        found: int = rows.order_by()[: self.most + 1].count()
        return found


class RecordAdmin(ModelAdmin[Row]):
    """Rows of which there may be millions: nothing is counted that nobody has asked for."""

    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER
    paginator = CappedPaginator

    class Media:
        css: ClassVar = {"all": (STYLESHEET,)}

    def page_below(
        self, request: HttpRequest, template: str, title: str, **context: Any
    ) -> TemplateResponse:
        """A page of ours, made of ``below.html``: below the list, or below ``original``'s page."""
        request.current_app = self.admin_site.name  # for {% url %}
        shared = {
            **self.admin_site.each_context(request),
            "title": title,
            "opts": self.opts,
            "media": self.media,
        }
        return TemplateResponse(request, f"admin/mashin_surfaces/{template}", shared | context)


class WrittenByCode(RecordAdmin[Row]):
    """Rows that come and go by what happens. ``by_hand``: what people do to them here all the same,
    of ``change`` and ``delete``; whoever has the permission."""

    by_hand: ClassVar[frozenset[str]] = frozenset()
    sortable_by: ClassVar[tuple[str, ...] | None] = ()

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Row | None = None) -> bool:
        return "change" in self.by_hand and super().has_change_permission(request, obj)

    def has_delete_permission(self, request: HttpRequest, obj: Row | None = None) -> bool:
        return "delete" in self.by_hand and super().has_delete_permission(request, obj)
