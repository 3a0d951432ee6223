"""The revisions of a machine: what each changed, and the way back to one."""

from __future__ import annotations

from dataclasses import dataclass
from difflib import unified_diff
from typing import Any, Literal

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.core.paginator import Paginator
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import path, reverse
from django.utils.translation import gettext as _
from django.views.decorators.http import require_POST

from ..exceptions import DefinitionError
from ..machines.models import Machine, MachineRevision
from ..machines.store import save_machine
from .machine_form import examine_source, sentence, source_of
from .records import RecordAdmin

PER_PAGE = 50


@dataclass(frozen=True, slots=True)
class DiffLine:
    """A line of a difference; ``place`` says where in both texts the next lines stand."""

    kind: Literal["added", "removed", "same", "place"]
    text: str


def difference(before: str, after: str) -> list[DiffLine]:
    """A unified diff, three lines of context; empty when the texts are the same."""
    lines = unified_diff(before.splitlines(), after.splitlines(), lineterm="")
    kinds: dict[str, Literal["added", "removed", "same", "place"]] = {
        "+": "added",
        "-": "removed",
        "@": "place",
    }
    # The first two lines name the files; there are none.
    return [DiffLine(kinds.get(line[:1], "same"), line) for line in list(lines)[2:]]


class RevisionPages(RecordAdmin[Machine]):
    """Two pages below a machine's: the list of its revisions, and one of them."""

    def get_urls(self) -> list[Any]:
        view = self.admin_site.admin_view
        name = "mashin_surfaces_machine_{}".format
        return [
            path("<path:object_id>/revisions/", view(self.revisions_view), name=name("revisions")),
            path(
                "<path:object_id>/revisions/<int:number>/",
                view(self.revision_view),
                name=name("revision"),
            ),
            path(
                "<path:object_id>/revisions/<int:number>/restore/",
                view(require_POST(self.restore_view)),
                name=name("restore"),
            ),
            *super().get_urls(),
        ]

    def revisions_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """All revisions, the newest first."""
        machine = self._machine(request, object_id)
        rows = machine.revisions.select_related("created_by").defer("definition", "source")
        page = Paginator(rows.order_by("-revision"), PER_PAGE).get_page(request.GET.get("p"))
        title = _("Revisions of %s") % machine
        return self.page_below(
            request, "machine/revisions.html", title, original=machine, page=page
        )

    def revision_view(self, request: HttpRequest, object_id: str, number: int) -> HttpResponse:
        """One revision: what it changed, its source, a button that brings it back."""
        machine = self._machine(request, object_id)
        revision = self._revision(machine, number)
        before = machine.revisions.filter(revision__lt=number).order_by("-revision").first()
        after = machine.revisions.filter(revision__gt=number).order_by("revision")
        source = source_of(revision)
        title = _("Revision %(number)d of %(machine)s") % {"number": number, "machine": machine}
        context = {
            "original": machine,
            "revision": revision,
            "before": before,
            "after": after.values_list("revision", flat=True).first(),
            "lines": difference(source_of(before), source) if before else [],
            "source": source,
            "may_restore": number != machine.revision
            and self.has_change_permission(request, machine),
        }
        return self.page_below(request, "machine/revision.html", title, **context)

    def restore_view(self, request: HttpRequest, object_id: str, number: int) -> HttpResponse:
        """Save an old source again, as a new revision: it has to be as good as any other."""
        machine = self._machine(request, object_id)
        if not self.has_change_permission(request, machine):
            raise PermissionDenied
        source = source_of(self._revision(machine, number))
        try:
            parsed = examine_source(source, machine.name)
            stored = save_machine(parsed.definition, source, user=request.user)
        except DefinitionError as error:
            self.message_user(
                request,
                _("Revision %d can't be restored: it is no good machine any more.") % number,
                messages.ERROR,
            )
            for problem in error.problems:
                self.message_user(request, sentence(problem), messages.ERROR)
            return self._redirect("revision", machine.pk, number)
        text = _("Revision %(number)d was restored as revision %(new)d.") % {
            "number": number,
            "new": stored.machine.revision,
        }
        if stored.status == "unchanged":
            text = _("The machine is what it was at revision %d; nothing was saved.") % number
        else:
            self.log_change(request, machine, text)
        self.message_user(request, text, messages.SUCCESS)
        return self._redirect("change", machine.pk)

    def _redirect(self, page: str, *args: object) -> HttpResponseRedirect:
        name = f"admin:mashin_surfaces_machine_{page}"
        return HttpResponseRedirect(reverse(name, args=args, current_app=self.admin_site.name))

    def _machine(self, request: HttpRequest, object_id: str) -> Machine:
        machine = self.get_object(request, object_id)
        if machine is None:
            raise Http404(_("There is no such machine."))
        if not self.has_view_or_change_permission(request, machine):
            raise PermissionDenied
        return machine

    @staticmethod
    def _revision(machine: Machine, number: int) -> MachineRevision:
        revision = machine.revisions.filter(revision=number).first()
        if revision is None:
            raise Http404(_("The machine has no such revision."))
        return revision
