"""A machine's ``accepts`` or ``responds with``, ready to use: text in, checked values out.

One ``Schema`` per list of fields: compiled once, then only called. The parts are in modules of
their own: ``json_values`` (JSON text), ``validators``, ``validation_errors``, ``coercion`` (query
strings and forms), ``json_schema``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pydantic_core import ValidationError

from ..exceptions import Code, Refusal
from . import coercion, json_schema
from .definition import Field, Type
from .json_values import NotJsonError, dumps, json_ready, parse
from .validation_errors import Detail, details, found, pointer
from .validators import (
    has_decimals,
    input_validator,
    optional_names,
    output_validator,
)
from .value_checks import without_nulls

__all__ = ["NotJsonError", "Schema", "dumps", "json_ready", "parse"]


class Schema:
    """The rules of one message. Make it with ``Schema.of``."""

    __slots__ = (
        "_allow_any",
        "_decimals",
        "_drop_nulls",
        "_output",
        "_validate",
        "_validate_output",
        "fields",
        "secret_paths",
    )

    def __init__(self, fields: Sequence[Field], allow_any: bool) -> None:
        self.fields = tuple(fields)
        #: JSON Pointers of secret fields; ``*`` stands for every item of a list.
        self.secret_paths = tuple(_secrets(fields, ""))
        self._allow_any = allow_any and not fields
        self._decimals = has_decimals(fields)
        self._drop_nulls = without_nulls(optional_names(fields))
        self._validate = input_validator(fields).validate_python
        self._validate_output = output_validator(fields).validate_python

    @classmethod
    def of(cls, fields: Sequence[Field], allow_any: bool = False) -> Schema:
        """The schema of ``fields``. With ``allow_any`` and no fields any JSON object fits.

        Raises ``DefinitionError`` for a pattern, a default or a type that cannot be used.
        """
        return cls(fields, allow_any)

    def loads(self, text: str | bytes) -> dict[str, Any]:
        """JSON text as a dict; ``Refusal(INVALID_JSON)`` when it is not JSON, or no object.

        Not checked yet: that is ``check``.
        """
        value = parse(text, decimals=self._decimals)
        if type(value) is not dict:
            raise Refusal(Code.INVALID_JSON, f"Expected a JSON object, found {found(value)}.")
        return value

    def check(self, data: Any) -> dict[str, Any]:
        """Checked input: defaults filled, ``null`` of optional fields dropped.

        Raises ``Refusal(INVALID_INPUT)`` with all that is wrong. Decimal fields are ``Decimal``
        in what comes back, everything else is what JSON has.
        """
        try:
            return self._checked(data)
        except ValidationError as error:
            raise _refusal(Code.INVALID_INPUT, details(error)) from None

    def _checked(self, data: Any) -> dict[str, Any]:
        if self._allow_any and type(data) is dict:
            return data
        result: dict[str, Any] = self._validate(self._drop_nulls(data))
        return result

    def coerce(self, pairs: Mapping[str, Sequence[str]]) -> dict[str, Any]:
        """Checked input from a query string or a form: each name with all its texts."""
        values, problems = coercion.coerced(self.fields, pairs, decimals=self._decimals)
        told = {problem["path"] for problem in problems}
        try:
            checked = self._checked(values)
        except ValidationError as error:
            problems += [each for each in details(error) if each["path"] not in told]
        else:
            if not problems:
                return checked
        raise _refusal(Code.INVALID_INPUT, problems)

    def check_output(self, value: Any) -> dict[str, Any]:
        """What Python code or an expression gave, as JSON has it: only the declared fields.

        Raises ``Refusal(INVALID_OUTPUT)`` with all that is wrong.
        """
        if self._allow_any:
            return self._any_output(value)
        try:
            result: dict[str, Any] = self._validate_output(self._drop_nulls(value))
        except ValidationError as error:
            raise _refusal(Code.INVALID_OUTPUT, details(error)) from None
        return result

    def _any_output(self, value: Any) -> dict[str, Any]:
        try:
            ready = json_ready(value)
        except NotJsonError as error:
            detail = {"path": pointer(error.path), "code": "not_json", "message": error.message}
            raise _refusal(Code.INVALID_OUTPUT, [detail]) from None
        if type(ready) is not dict:
            message = f"Expected an object, found {found(ready)}."
            detail = {"path": "", "code": "wrong_type", "message": message}
            raise _refusal(Code.INVALID_OUTPUT, [detail])
        return ready

    def json_schema(self) -> dict[str, Any]:
        """JSON Schema 2020-12 of the object."""
        return json_schema.json_schema(self.fields, allow_any=self._allow_any)


def _refusal(code: Code, problems: list[Detail]) -> Refusal:
    what = "input" if code is Code.INVALID_INPUT else "output"
    first = problems[0]
    where = f'"{first["path"]}": ' if first["path"] else ""
    message = f"The {what} does not fit: {where}{first['message']}"
    if len(problems) > 1:
        message += f" ({len(problems)} problems in all.)"
    return Refusal(code, message, details=problems)


def _secrets(fields: Sequence[Field], prefix: str) -> Iterator[str]:
    for field in fields:
        path = prefix + pointer((field.name,))
        if field.secret:
            yield path
        else:
            yield from _secrets_within(field.type, path)


def _secrets_within(kind: Type, path: str) -> Iterator[str]:
    if kind.name == "object":
        yield from _secrets(kind.fields, path)
    elif kind.item is not None:
        yield from _secrets_within(kind.item, f"{path}/*")
