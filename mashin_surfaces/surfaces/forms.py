"""The fields of ``accepts`` as a form: which control each one gets, and what was typed into it.

What a form sends goes through ``Schema.coerce`` like a query string; here is only what is special
about forms: blank controls, unticked boxes, line ends. Drawing is the templates' business.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from dataclasses import field as attribute
from typing import Any, Literal

from django.utils.translation import gettext as _

from ..exceptions import Refusal
from ..machines.definition import Field, Type
from ..machines.schemas import dumps
from .presentation import label_of

Widget = Literal["input", "textarea", "select", "checkbox"]

#: How ``page.js`` reads a control: as it is, as a number, a tick, or JSON.
DataType = Literal["text", "number", "boolean", "json"]

#: What a browser sends for a ticked box.
TICKED = "true"
#: Texts that may get longer than this get several lines.
LONG_TEXT = 200

_NUMBERS = frozenset({"number", "integer", "decimal"})
_JSON = frozenset({"list", "map", "object", "any"})
_INPUT_TYPES = {"email": "email", "uri": "url"}
_BARE_POINT = re.compile(r"^(-?)\.(?=\d)")
_LEADING_ZEROS = re.compile(r"^(-?)0+(?=\d)")
_TRUE = frozenset({TICKED, "on", "1", "yes"})


@dataclass(frozen=True, slots=True)
class Option:
    """One choice of a select."""

    value: str
    label: str
    is_selected: bool


@dataclass(frozen=True, slots=True)
class Control:
    """A field's control. ``attributes``: of the HTML element, besides name, id and value.

    ``form``: what tells the forms of a page apart, "" where there is one.
    """

    name: str
    label: str
    hint: str
    widget: Widget
    data_type: DataType
    is_required: bool
    value: str = ""
    is_ticked: bool = False
    attributes: Mapping[str, str] = attribute(default_factory=dict)
    options: tuple[Option, ...] = ()
    errors: tuple[str, ...] = ()
    form: str = ""

    @property
    def id(self) -> str:
        return f"field-{self.form}-{self.name}" if self.form else f"field-{self.name}"

    @property
    def described_by(self) -> str:
        """Ids of what explains it (``aria-describedby``)."""
        return f"{self.id}-hint {self.id}-errors" if self.hint else f"{self.id}-errors"


@dataclass(frozen=True, slots=True)
class Form:
    """All controls, and the errors that belong to none of them."""

    controls: tuple[Control, ...]
    errors: tuple[str, ...] = ()

    @property
    def has_marks(self) -> bool:
        """Whether an error stands beside a control."""
        return any(control.errors for control in self.controls)


def pairs_of(sent: Mapping[str, Sequence[str]], fields: Sequence[Field]) -> dict[str, list[str]]:
    """What a form sent, as ``Schema.coerce`` takes it.

    A blank control is an absent field; a box that is not ticked is false; line ends are ``\\n``;
    numbers are as JSON has them (``.5`` and ``007`` are good in HTML).
    """
    pairs = {name: [text.replace("\r\n", "\n") for text in texts] for name, texts in sent.items()}
    for field in fields:
        texts = pairs.pop(field.name, [])
        if any(texts):
            is_number = field.type.name in _NUMBERS
            pairs[field.name] = [_plain(text) for text in texts] if is_number else texts
        elif _widget(field) == "checkbox":
            pairs[field.name] = ["false"]
    return pairs


def _plain(number: str) -> str:
    return _LEADING_ZEROS.sub(r"\1", _BARE_POINT.sub(r"\g<1>0.", number.strip()))


def fresh_form(
    fields: Sequence[Field], prefilled: Mapping[str, Sequence[str]], form: str = ""
) -> Form:
    """A form to fill in: defaults, and over them what the query string says.

    ``form``: what tells it from the others of its page.
    """
    return Form(
        tuple(
            _control(
                field, _prefilled(field, prefilled.get(field.name)) or _default(field), (), form
            )
            for field in fields
        )
    )


def sent_form(
    fields: Sequence[Field],
    sent: Mapping[str, Sequence[str]],
    refusal: Refusal | None,
    form: str = "",
) -> Form:
    """A form as it was sent, with what was wrong beside each control."""
    beside: dict[str, list[str]] = {field.name: [] for field in fields}
    general: list[str] = []
    for detail in (refusal.details or ()) if refusal is not None else ():
        name, rest = _address(str(detail.get("path", "")))
        message = str(detail.get("message", ""))
        if name in beside:
            beside[name].append(f"{rest}: {message}" if rest else message)
        else:
            general.append(f"{name}: {message}" if name else message)
    return Form(
        tuple(
            _control(field, _as_sent(field, sent.get(field.name)), tuple(beside[field.name]), form)
            for field in fields
        ),
        tuple(general),
    )


# -- what stands in a control -------------------------------------------------------------------


def _default(field: Field) -> str:
    return _text(field, field.default) if field.has_default else ""


def _prefilled(field: Field, texts: Sequence[str] | None) -> str:
    """Of a query string; a list may repeat its name there."""
    if not texts or field.secret:
        return ""
    is_json = len(texts) == 1 and texts[0].lstrip().startswith("[")
    if field.type.name == "list" and not is_json:
        return json.dumps(list(texts), ensure_ascii=False)
    return texts[-1]


def _as_sent(field: Field, texts: Sequence[str] | None) -> str:
    return "" if not texts or field.secret else texts[-1]


def _text(field: Field, value: Any) -> str:
    """A JSON value as it stands in the field's control."""
    if value is None:
        return ""
    if isinstance(value, str) and field.type.name not in _JSON:
        return value
    return dumps(value).decode()


# -- controls -----------------------------------------------------------------------------------


def _control(field: Field, text: str, errors: tuple[str, ...], form: str) -> Control:
    widget = _widget(field)
    return Control(
        name=field.name,
        label=label_of(field),
        hint=_hint(field, widget),
        widget=widget,
        data_type=_data_type(field.type),
        # A required box would have to be ticked: false is an answer, too.
        is_required=field.required and widget != "checkbox",
        value=text,
        is_ticked=widget == "checkbox" and text.lower() in _TRUE,
        attributes=_attributes(field, widget),
        options=_options(field, text) if widget == "select" else (),
        errors=errors,
        form=form,
    )


def _widget(field: Field) -> Widget:
    if field.choices or field.type.choices:
        return "select"
    if field.type.name == "boolean":
        return "checkbox"
    is_long = field.type.name == "text" and (field.max_length or 0) > LONG_TEXT
    is_long = is_long and not field.secret
    return "textarea" if is_long or field.type.name in _JSON else "input"


def _data_type(type: Type) -> DataType:
    if type.name in _NUMBERS:
        return "number"
    if type.name == "boolean":
        return "boolean"
    return "json" if type.name in _JSON else "text"


def _options(field: Field, chosen: str) -> tuple[Option, ...]:
    texts = [_text(field, choice) for choice in field.choices or field.type.choices]
    options = [Option(text, text, text == chosen) for text in texts]
    if not (field.required and field.has_default):
        options.insert(0, Option("", "—", chosen not in texts))
    return tuple(options)


def _attributes(field: Field, widget: Widget) -> dict[str, str]:
    name = field.type.name
    if widget == "textarea":
        return {"rows": "4", "spellcheck": "false"} if name in _JSON else _text_area(field)
    if widget != "input":
        return {}
    if name in _NUMBERS:
        return _number_input(field)
    if name == "text":
        return _text_input(field)
    # A datetime needs its offset, which no control of HTML asks for.
    kind = "date" if name == "date" else "text"
    return {"type": kind, "autocomplete": "off"}


def _number_input(field: Field) -> dict[str, str]:
    is_integer = field.type.name == "integer"
    limits = {"min": field.min, "max": field.max}
    return {
        "type": "number",
        "step": "1" if is_integer else "any",
        "inputmode": "numeric" if is_integer else "decimal",
        **{name: f"{limit:.15g}" for name, limit in limits.items() if limit is not None},
    }


def _text_input(field: Field) -> dict[str, str]:
    if field.secret:
        return {"type": "password", "autocomplete": "off", **_longest(field)}
    return {"type": _INPUT_TYPES.get(field.format or "", "text"), **_longest(field)}


def _text_area(field: Field) -> dict[str, str]:
    return {"rows": "6", **_longest(field)}


def _longest(field: Field) -> dict[str, str]:
    return {} if field.max_length is None else {"maxlength": str(field.max_length)}


# -- hints --------------------------------------------------------------------------------------


def _hint(field: Field, widget: Widget) -> str:
    return " ".join(part for part in (field.description, _how(field, widget)) if part)


def _how(field: Field, widget: Widget) -> str:
    """How it is written, where that is not plain from the control."""
    name = field.type.name
    if widget == "textarea" and name in _JSON:
        return _("As JSON, for example %s") % _example(field.type)
    if widget != "input":
        return ""
    if name == "datetime":
        return _("Date, time and offset, for example %s") % "2026-11-21T09:30:00Z"
    if name == "uuid":
        return _("A UUID, for example %s") % "6f1c0a4e-8a52-4d0e-9d53-0b7a4c1f2e90"
    if name in _NUMBERS and None not in (field.min, field.max) and not field.description:
        limits = {"least": f"{field.min:.15g}", "most": f"{field.max:.15g}"}
        return _("From %(least)s to %(most)s.") % limits
    return ""


_EXAMPLES = {
    "text": '"text"',
    "number": "1.5",
    "integer": "1",
    "decimal": "1.50",
    "boolean": "true",
    "uuid": '"6f1c0a4e-8a52-4d0e-9d53-0b7a4c1f2e90"',
    "date": '"2026-11-21"',
    "datetime": '"2026-11-21T09:30:00Z"',
    "any": '"text"',
}


def _example(type: Type) -> str:
    if type.name == "list":
        item = _example(type.item) if type.item is not None else '"text"'
        return f"[{item}]"
    if type.name == "map":
        return '{"key": "value"}'
    if type.name == "object":
        inner = ", ".join(f'"{field.name}": {_example(field.type)}' for field in type.fields)
        return f"{{{inner}}}"
    if type.choices:
        return json.dumps(type.choices[0], ensure_ascii=False)
    return _EXAMPLES.get(type.name, '"text"')


def _address(pointer: str) -> tuple[str, str]:
    """A JSON Pointer (RFC 6901) as the field's name and the way on, counted from 1."""
    parts = [part.replace("~1", "/").replace("~0", "~") for part in pointer.split("/")[1:]]
    steps = [f"#{int(part) + 1}" if part.isdecimal() else part for part in parts[1:]]
    return (parts[0], " › ".join(steps)) if parts else ("", "")
