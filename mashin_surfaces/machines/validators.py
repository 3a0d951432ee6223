"""Fields compiled into one pydantic-core validator, for what comes in or for what goes out.

In: Python values as JSON gives them, without any coercion, unknown keys refused. Out: what Python
code or an expression gave, projected on the fields. How errors read is in ``validation_errors``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from pydantic_core import CoreSchema, SchemaError, SchemaValidator
from pydantic_core import core_schema as core

from ..exceptions import DefinitionError
from .definition import Field, Type
from .json_values import LARGEST, SMALLEST, undecimal
from .problems import Problem
from .value_checks import (
    FORMS,
    Check,
    exact,
    formed,
    listed,
    one_of,
    output_text,
    plain,
    python_text,
    ready,
    whole,
    with_format,
    within,
    without_nulls,
)


def has_decimals(fields: Sequence[Field]) -> bool:
    return any(_type_has_decimals(field.type) for field in fields)


def _type_has_decimals(kind: Type) -> bool:
    return (
        kind.name == "decimal"
        or (kind.item is not None and _type_has_decimals(kind.item))
        or has_decimals(kind.fields)
    )


def input_validator(fields: Sequence[Field]) -> SchemaValidator:
    """Raises ``DefinitionError`` for a pattern or a default that cannot be."""
    return SchemaValidator(_Compiler(output=False, decimals=has_decimals(fields)).record(fields))


def output_validator(fields: Sequence[Field]) -> SchemaValidator:
    return SchemaValidator(_Compiler(output=True, decimals=True).record(fields))


def optional_names(fields: Sequence[Field]) -> frozenset[str]:
    return frozenset(field.name for field in fields if not field.required)


class _Compiler:
    def __init__(self, *, output: bool, decimals: bool) -> None:
        self.output = output
        self.decimals = decimals

    def record(self, fields: Sequence[Field], *, nested: bool = False) -> CoreSchema:
        schema: CoreSchema = core.typed_dict_schema(
            {
                field.name: core.typed_dict_field(self._field(field), required=field.required)
                for field in fields
            },
            extra_behavior="ignore" if self.output else "forbid",
            strict=True,
        )
        optional = optional_names(fields)
        if nested and optional:
            return core.no_info_before_validator_function(without_nulls(optional), schema)
        return schema

    def _field(self, field: Field) -> CoreSchema:
        schema = self._constrained(field)
        if not field.has_default or field.required or field.default is None:
            return schema
        try:
            default = SchemaValidator(schema).validate_python(field.default)
        except ValueError:
            raise _refuse(field, "default", "the default does not fit the field") from None
        return core.with_default_schema(schema, default=default)  # lists and maps are copied

    def _constrained(self, field: Field) -> CoreSchema:
        schema = self._type(field.type, field)
        name = field.type.name
        if name in {"number", "integer", "decimal"} and not field.min is field.max is None:
            schema = _after(schema, within(field.min, field.max))
        if field.format is not None and name == "text":
            schema = _after(schema, with_format(field.format))
        if field.choices and name != "enum":
            schema = _after(schema, one_of(field.choices))
        return schema

    def _type(self, kind: Type, field: Field | None = None) -> CoreSchema:
        """The validator of a type; lengths and pattern are those of the field that has it."""
        match kind.name:
            case "text":
                schema = self._text(field)
            case "list":
                schema = self._list(kind, field)
            case "map":
                schema = self._map(field)
            case "object":
                schema = self.record(kind.fields, nested=True)
            case "enum":
                schema = core.literal_schema(list(kind.choices))
            case "any":
                schema = self._open(core.any_schema())
            case "file":
                raise DefinitionError([Problem("fields of the type file are not supported yet")])
            case scalar:
                schema = self._scalar(scalar)
        return schema

    def _scalar(self, name: str) -> CoreSchema:
        match name:
            case "boolean":
                return core.bool_schema(strict=True)
            case "number":
                schema: CoreSchema = _typed("a number", _INTEGER, _FLOAT)
            case "integer":
                integral = core.no_info_after_validator_function(whole, _FLOAT)
                schema = _typed("an integer", _INTEGER, integral)
            case "decimal":
                return core.no_info_plain_validator_function(exact)
            case _:
                text = _after(core.str_schema(strict=True), formed(FORMS[name]))
                return _before(python_text, text) if self.output else text
        return _before(plain, schema) if self.decimals else schema

    def _text(self, field: Field | None) -> CoreSchema:
        if field is None:
            schema: CoreSchema = core.str_schema(strict=True)
        else:
            schema = core.str_schema(
                strict=True,
                min_length=field.min_length,
                max_length=field.max_length,
                pattern=field.pattern,
            )
            if field.pattern is not None:
                _try_pattern(schema, field)
        return _before(output_text, schema) if self.output else schema

    def _list(self, kind: Type, field: Field | None) -> CoreSchema:
        schema = core.list_schema(
            self._type(kind.item) if kind.item else self._open(core.any_schema()),
            strict=True,
            min_length=field.min_length if field else None,
            max_length=field.max_length if field else None,
        )
        return _before(listed, schema) if self.output else schema

    def _map(self, field: Field | None) -> CoreSchema:
        schema = core.dict_schema(
            strict=True,
            min_length=field.min_length if field else None,
            max_length=field.max_length if field else None,
        )
        return self._open(schema)

    def _open(self, schema: CoreSchema) -> CoreSchema:
        """Values that no type describes: only JSON goes out, and no stray decimals come in."""
        if self.output:
            return _before(ready, schema)
        return _after(schema, undecimal) if self.decimals else schema


def _refuse(field: Field, modifier: str, message: str) -> DefinitionError:
    return DefinitionError([Problem(f'"{field.name}": {message}', (field.name, modifier))])


def _try_pattern(schema: CoreSchema, field: Field) -> None:
    try:
        SchemaValidator(schema)
    except SchemaError:
        raise _refuse(
            field,
            "pattern",
            "the pattern is no regular expression that can be used (no look-around, no "
            "back-references)",
        ) from None


# -- small validators ---------------------------------------------------------------------------


def _before(check: Check, schema: CoreSchema) -> CoreSchema:
    return core.no_info_before_validator_function(check, schema)


def _after(schema: CoreSchema, check: Check) -> CoreSchema:
    return core.no_info_after_validator_function(check, schema)


def _typed(what: str, *choices: CoreSchema) -> CoreSchema:
    return core.union_schema(
        list(choices),
        mode="left_to_right",
        custom_error_type="wrong_type",
        custom_error_message="{expected}",
        custom_error_context={"expected": what},
    )


_INTEGER: Final = core.int_schema(strict=True, ge=SMALLEST, le=LARGEST)
_FLOAT: Final = core.float_schema(strict=True, allow_inf_nan=False)
