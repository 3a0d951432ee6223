"""The form of a machine: its mashinTalk, read and reviewed, every problem at its line and column.

The form judges only; ``machines.store`` saves what it let through.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django import forms
from django.core.exceptions import ValidationError
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from ..exceptions import DefinitionError
from ..machines.models import Machine, MachineRevision
from ..machines.parser import Parsed
from ..machines.problems import Problem
from ..machines.renderer import render
from ..machines.review import examine
from ..machines.review_tools import unknown_sources
from ..machines.store import path_problems
from ..steps import tools
from ..steps.effects import registry as effects
from .markup import SCRIPT, STYLESHEET, pretty

if TYPE_CHECKING:
    BaseForm = forms.ModelForm[Machine]
else:
    BaseForm = forms.ModelForm

#: Characters of a line that are quoted around a problem.
QUOTED = 120


def examine_source(source: str, name: str | None = None) -> Parsed:
    """Read and review a source as it would be saved; raises ``DefinitionError``.

    ``name``: of the machine whose source it is; None for a new one.
    """
    parsed = examine(source, effects.names(), effects.generators())
    # Under a wrong name, a machine's own paths would be somebody else's.
    problems = _name_problems(parsed.definition.name, name) or path_problems(parsed.definition)
    if problems:
        raise DefinitionError([problem.at(parsed.source_map) for problem in problems])
    known = {*tools.names(), *Machine.objects.values_list("name", flat=True)}
    for problem in unknown_sources(parsed.definition, known):
        parsed.warnings.append(problem.at(parsed.source_map))
    return parsed


def _name_problems(found: str, name: str | None) -> list[Problem]:
    message = ""
    if name is None:
        if Machine.objects.filter(name=found).exists():
            message = (
                _('There is a machine "%s" already; change that one, or choose another name.')
                % found
            )
    elif found != name:
        message = _(
            'This is the machine "%(name)s", and the source says "%(other)s". A machine keeps '
            "its name: add another machine, and delete this one."
        ) % {"name": name, "other": found}
    return [Problem(message, ("name",))] if message else []


def source_of(row: Machine | MachineRevision) -> str:
    """The source of a row; rendered from its definition when nobody wrote one.

    A definition that this version can't read is shown as the JSON that it is.
    """
    if row.source:
        return row.source
    from ..machines.definition import MachineDefinition

    try:
        return render(MachineDefinition.model_validate(row.definition))
    except ValueError:
        return pretty(row.definition)


def sentence(problem: Problem) -> str:
    """``line 3, column 5: message``; the message alone where there is no place."""
    if problem.line is None:
        return problem.message
    return _("line %(line)d, column %(column)d: %(message)s") % {
        "line": problem.line,
        "column": problem.column or 1,
        "message": problem.message,
    }


def quoted(problem: Problem, source: str) -> SafeString:
    """The sentence with the line that it is about, and a caret below the column."""
    lines = source.split("\n")
    if problem.line is None or not 0 < problem.line <= len(lines):
        return format_html("{}", sentence(problem))
    line, column = lines[problem.line - 1], max(problem.column or 1, 1)
    start = max(0, column - 1 - QUOTED // 2)
    shown = line[start : start + QUOTED]
    # Tabs stay tabs, so that the caret stands where the column is.
    indent = "".join("\t" if char == "\t" else " " for char in shown[: column - 1 - start])
    return format_html(
        '<span class="mashin-problem" data-line="{}" data-column="{}">{}</span>'
        '<pre class="mashin-quote">{}\n{}^</pre>',
        problem.line,
        column,
        sentence(problem),
        shown,
        indent,
    )


class SourceInput(forms.Textarea):
    """A text area for code; the script numbers its lines."""

    class Media:
        css = {"all": (STYLESHEET,)}  # noqa: RUF012  Django reads it once
        js = (SCRIPT,)

    def __init__(self) -> None:
        super().__init__(
            {
                "class": "mashin-source",
                "rows": 28,
                "wrap": "off",
                "spellcheck": "false",
                "autocomplete": "off",
                "autocapitalize": "off",
            }
        )


class SourceField(forms.CharField):
    """Source as it was typed, with the line ends that the database has: browsers send CR LF."""

    widget = SourceInput

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(strip=False, **kwargs)

    def to_python(self, value: Any) -> Any:
        text = super().to_python(value)
        return text.replace("\r\n", "\n").replace("\r", "\n") if isinstance(text, str) else text


class MachineForm(BaseForm):
    """``parsed`` holds what was read of a good source."""

    source = SourceField(
        label=gettext_lazy("Source"),
        help_text=gettext_lazy("The machine in mashinTalk. Saving it makes a new revision."),
    )
    begun_at = forms.IntegerField(required=False, widget=forms.HiddenInput)

    parsed: Parsed | None = None

    class Meta:
        model = Machine
        fields = ("source", "enabled")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.instance.pk:
            self.initial["source"] = source_of(self.instance)
            self.initial["begun_at"] = self.instance.revision

    def clean_source(self) -> str:
        source: str = self.cleaned_data["source"]
        if self.instance.pk and "source" not in self.changed_data:
            return source  # saved as it is before: an override must not wait for a lost effect
        try:
            self.parsed = examine_source(source, self.instance.name or None)
        except DefinitionError as error:
            raise ValidationError(
                [
                    ValidationError(quoted(problem, source), code="source")
                    for problem in error.problems
                ]
            ) from None
        return source

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or self.cleaned_data
        begun_at = cleaned.get("begun_at")
        if (
            self.instance.pk
            and "source" in self.changed_data
            and begun_at not in {None, self.instance.revision}
        ):
            self.add_error(
                "source",
                _(
                    "You began with revision %(begun)d, and somebody saved revision %(now)d "
                    "meanwhile. Copy your source, reload this page, and make your change there."
                )
                % {"begun": begun_at, "now": self.instance.revision},
            )
        return cleaned
