"""The inputs of a panel's tool as a form's fields, and what was filled in as its arguments.

What the tool declares counts: its ``args``, its machine's ``accepts``, or the type hints of its
function. A tool that declares nothing gets one field, for all its arguments as JSON.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from django.utils.translation import gettext as _
from pydantic import ValidationError
from pydantic.errors import PydanticInvalidForJsonSchema

from ..exceptions import Refusal
from ..machines.definition import Field, Type, TypeName
from ..machines.json_values import dumps, parse
from ..machines.registry import registry
from ..machines.schemas import Schema
from ..panels.definition import PanelTool
from ..steps.tools import Tool
from .forms import pairs_of

#: The name of the one field of a tool that declares nothing.
ARGUMENTS: Final = "args"

#: JSON Schema's word for a type → ours.
_TYPES: Final[Mapping[Any, TypeName]] = {
    "string": "text",
    "number": "number",
    "integer": "integer",
    "boolean": "boolean",
    "array": "list",
    "object": "map",
}
_FORMATTED: Final[Mapping[str, TypeName]] = {
    "date": "date",
    "date-time": "datetime",
    "uuid": "uuid",
}
_LIMITS: Final = {
    "minimum": "min", "maximum": "max", "minLength": "min_length", "maxLength": "max_length",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class ToolInput:
    """What a tool's form asks for. ``is_json``: its one field holds all the arguments."""

    fields: tuple[Field, ...]
    is_json: bool = False

    def read(self, sent: Mapping[str, Sequence[str]]) -> dict[str, Any]:
        """The arguments out of what a form sent; raises ``Refusal`` (invalid_input)."""
        checked = Schema.of(self.fields).coerce(pairs_of(sent, self.fields))
        plain: dict[str, Any] = parse(dumps(checked), decimals=False)
        return plain.get(ARGUMENTS) or {} if self.is_json else plain


def input_of(tool: PanelTool) -> ToolInput:
    """The form of a tool, as this process knows it."""
    definition = tool.definition
    if definition.args is not None:
        return ToolInput(definition.args)
    if definition.machine:
        compiled = registry.snapshot.machines.get(definition.machine)
        return _any_input() if compiled is None else ToolInput(compiled.definition.accepts)
    try:
        return ToolInput(_hinted(tool.function()))
    except (Refusal, ValidationError, _NotDeclared, PydanticInvalidForJsonSchema):
        return _any_input()


class _NotDeclared(Exception):
    """A function takes more than its hints say."""


def _any_input() -> ToolInput:
    arguments = Field(
        name=ARGUMENTS,
        type=Type(name="map"),
        label=_("Arguments"),
        description=_("A JSON object."),
    )
    return ToolInput((arguments,), is_json=True)


def _hinted(tool: Tool) -> tuple[Field, ...]:
    """What a function's parameters say, behind the context."""
    schema = tool.arguments.json_schema()
    if schema.get("additionalProperties"):  # **more
        raise _NotDeclared
    required = schema.get("required", ())
    parameters = inspect.signature(tool.function).parameters
    return tuple(
        _field(name, said, name in required, parameters[name].default)
        for name, said in schema.get("properties", {}).items()
    )


def _field(name: str, said: Mapping[str, Any], is_required: bool, default: Any) -> Field:
    """One parameter. ``default``: as the function has it, whatever that is."""
    shape = _without_null(said)
    kind = _type(shape)
    more: dict[str, Any] = {
        ours: shape[theirs] for theirs, ours in _LIMITS.items() if theirs in shape
    }
    if kind.name == "text" and "enum" in shape:
        more["choices"] = tuple(shape["enum"])
    if isinstance(default, str | int | float):
        more["default"] = default
    description = str(said.get("description", ""))
    return Field(name=name, type=kind, required=is_required, description=description, **more)


def _without_null(said: Mapping[str, Any]) -> Mapping[str, Any]:
    """``X | None`` is X that may be left out."""
    others = [each for each in said.get("anyOf", ()) if each.get("type") != "null"]
    return others[0] if len(others) == 1 else said


def _type(shape: Mapping[str, Any]) -> Type:
    word = shape.get("type")
    if word == "string":
        return Type(name=_FORMATTED.get(shape.get("format", ""), "text"))
    if word == "array":
        return Type(name="list", item=_type(shape.get("items", {})))
    return Type(name=_TYPES.get(word, "any"))
