"""The parts of a line of mashinTalk, as the rules of ``mashintalk.lark`` make them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Final, cast

from lark import Token, Transformer
from pydantic import ValidationError

from .definition import Field, Type
from .literals import TextError, read_text
from .validation import problems_of
from .wording import similar

MAX_NUMBER: Final = 2**63 - 1
#: What a text in a ``${…}`` in a text may hold and a regular expression can't follow.
MASK: Final = {ord('"'): "\ufdd0", ord("\\"): "\ufdd1", ord("\n"): "\ufdd2"}
_UNMASK: Final = {ord(value): chr(key) for key, value in MASK.items()}


class LineError(Exception):
    """What is wrong with a line, at an offset in its text."""

    def __init__(self, message: str, at: int) -> None:
        super().__init__(message)
        self.message = message
        self.at = at


@dataclass(frozen=True, slots=True)
class Quoted:
    """A text in quotes as written; ``at``: its opening quote's offset."""

    inner: str
    at: int

    def text(self) -> str:
        return self._read()

    def template(self) -> str:
        return self._read(template=True)

    def constant(self) -> str:
        return self._read(holes=False)

    def _read(self, **options: bool) -> str:
        try:
            return read_text(self.inner, **options)
        except TextError as error:
            raise LineError(error.message, self.at + 1 + error.at) from None


@dataclass(frozen=True, slots=True)
class Word:
    """A name or word without quotes."""

    text: str
    at: int


@dataclass(frozen=True, slots=True)
class Constant:
    """A value written out: ``value`` is JSON. ``quoted``: the text as written, when it is one."""

    value: Any
    at: int
    quoted: Quoted | None = None


@dataclass(frozen=True, slots=True)
class Option:
    """``key: value`` or ``key "value"``."""

    key: Word
    value: Constant | Word


@dataclass(frozen=True, slots=True)
class Header:
    """A name, then options and single words in the order of the line."""

    name: Word
    parts: tuple[Option | Word | Quoted, ...]


@dataclass(frozen=True, slots=True)
class Modifier:
    key: str
    value: Any
    at: int


@dataclass(frozen=True, slots=True)
class FieldLine:
    name: Word
    type: Type
    modifiers: tuple[Modifier, ...]


TYPES: Final = (
    "text", "number", "integer", "decimal", "boolean", "uuid", "date", "datetime",
    "list", "map", "object", "enum", "any", "file",
)  # fmt: skip
_TYPE_ALIASES: Final = {"string": "text", "object": "map"}
_OTHER_TYPES: Final = {
    "str": "text", "int": "integer", "float": "number", "double": "number", "bool": "boolean",
    "array": "list", "dict": "map", "timestamp": "datetime", "time": "datetime", "money": "decimal",
}  # fmt: skip


class Parts(Transformer[Token, Any]):
    """Called by Lark for every rule as it is read, innermost first."""

    def STRING(self, token: Token) -> Quoted:  # noqa: N802  as the grammar calls it
        return Quoted(str(token)[1:-1].translate(_UNMASK), token.start_pos or 0)

    def NUMBER(self, token: Token) -> Constant:  # noqa: N802  as the grammar calls it
        text = str(token)
        at = token.start_pos or 0
        is_whole = text.lstrip("-").isdigit()
        # Digits are counted first: Python refuses to read thousands of them.
        too_many = is_whole and len(text.lstrip("-").lstrip("0")) > len(str(MAX_NUMBER))
        if too_many or math.isinf(float(text)) or (is_whole and abs(int(text)) > MAX_NUMBER):
            raise LineError("This number is too large.", at)
        return Constant(int(text) if is_whole else float(text), at)

    def NAME(self, token: Token) -> Word:  # noqa: N802  as the grammar calls it
        return Word(str(token), token.start_pos or 0)

    WORD = DOTTED = NAME
    IS = DEFAULT = DESCRIPTION = LABEL = BOUND = PATTERN = FORMAT = CHOICES = RANGE = SECRET = NAME

    # constants

    def TRUE(self, token: Token) -> Constant:  # noqa: N802  as the grammar calls it
        return Constant(True, token.start_pos or 0)

    def FALSE(self, token: Token) -> Constant:  # noqa: N802  as the grammar calls it
        return Constant(False, token.start_pos or 0)

    def NULL(self, token: Token) -> Constant:  # noqa: N802  as the grammar calls it
        return Constant(None, token.start_pos or 0)

    def constant_list(self, parts: list[Any]) -> Constant:
        opening, *items = parts
        return Constant([_value_of(item) for item in items], opening.start_pos or 0)

    def pair(self, parts: list[Any]) -> tuple[str, Any, int]:
        key, value = parts
        name = key.text if isinstance(key, Word) else key.constant()
        return name, _value_of(value), key.at

    def constant_object(self, parts: list[Any]) -> Constant:
        opening, *pairs = parts
        result: dict[str, Any] = {}
        for key, value, at in pairs:
            if key in result:
                raise LineError(f'"{key}" is given twice.', at)
            result[key] = value
        return Constant(result, opening.start_pos or 0)

    def constant(self, parts: list[Any]) -> Any:
        return _value_of(parts[0])

    # types and fields

    def plain_type(self, parts: list[Any]) -> Type:
        name, *arguments = parts
        if name.text == "enum":
            return Type(name="enum", choices=tuple(_choices(arguments)))
        type_name = _type_name(name)
        if not arguments:
            return Type(name=type_name)
        if type_name != "list" or len(arguments) != 1 or not isinstance(arguments[0], Type):
            raise LineError(
                f'The type "{name.text}" takes no "(…)" like this; list(text) and '
                'enum("a", "b") do.',
                name.at,
            )
        return Type(name="list", item=arguments[0])

    def list_type(self, parts: list[Any]) -> Type:
        name, item = parts
        if name.text != "list":
            raise LineError(f'Found "{name.text} of", expected "list of".', name.at)
        return Type(name="list", item=item)

    def object_type(self, parts: list[Any]) -> Type:
        name, _, *rest = parts
        if name.text not in {"object", "map"}:
            raise LineError(f'The type "{name.text}" takes no "{{…}}"; object {{…}} does.', name.at)
        members: list[tuple[FieldLine, list[Modifier]]] = []
        for part in rest:
            if isinstance(part, FieldLine):
                members.append((part, []))
            else:
                members[-1][1].append(part)
        lines = [FieldLine(line.name, line.type, tuple(given)) for line, given in members]
        names: set[str] = set()
        for line in lines:
            if line.name.text in names:
                raise LineError(f'A second field "{line.name.text}".', line.name.at)
            names.add(line.name.text)
        return Type(name="object", fields=tuple(make_field(line) for line in lines))

    def member(self, parts: list[Any]) -> FieldLine:
        return FieldLine(parts[0], parts[1], ())

    def field(self, parts: list[Any]) -> FieldLine:
        return FieldLine(parts[0], parts[1], tuple(parts[2:]))

    state = field

    def required(self, parts: list[Any]) -> Modifier:
        return Modifier("required", True, parts[0].at)

    def default(self, parts: list[Any]) -> Modifier:
        return Modifier("default", _value_of(parts[1]), parts[0].at)

    def words(self, parts: list[Any]) -> Modifier:
        return Modifier(parts[0].text, parts[1].text(), parts[0].at)

    def bound(self, parts: list[Any]) -> Modifier:
        return Modifier(parts[0].text, parts[1].value, parts[0].at)

    def pattern(self, parts: list[Any]) -> Modifier:
        return Modifier("pattern", parts[1].text(), parts[0].at)

    def format(self, parts: list[Any]) -> Modifier:
        word = parts[1]
        return Modifier("format", word.text if isinstance(word, Word) else word.text(), parts[0].at)

    def choices(self, parts: list[Any]) -> Modifier:
        return Modifier("choices", tuple(parts[1].value), parts[0].at)

    def range(self, parts: list[Any]) -> Modifier:
        word, _, low, high = parts
        return Modifier("range", (low.value, high.value), word.at)

    def secret(self, parts: list[Any]) -> Modifier:
        return Modifier("secret", True, parts[0].at)

    # headers and values

    def option(self, parts: list[Any]) -> Option:
        return Option(parts[0], _constant_or_word(parts[1]))

    def word(self, parts: list[Any]) -> Word:
        return cast("Word", parts[0])

    def text(self, parts: list[Any]) -> Quoted:
        return cast("Quoted", parts[0])

    def header(self, parts: list[Any]) -> Header:
        return Header(parts[0], tuple(parts[1:]))

    def values(self, parts: list[Any]) -> list[Constant | Word]:
        return [_constant_or_word(part) for part in parts]

    def call(self, parts: list[Any]) -> str:
        return parts[0].text() if parts else "call"

    def names(self, parts: list[Any]) -> list[str]:
        return [
            part if isinstance(part, str)
            else part.text if isinstance(part, Word)
            else part.text()
            for part in parts
        ]  # fmt: skip

    def machine(self, parts: list[Any]) -> list[Any]:
        return parts

    def flow(self, parts: list[Any]) -> str:
        return str(parts[0].text)


def _value_of(part: Constant | Quoted) -> Any:
    return part.constant() if isinstance(part, Quoted) else part.value


def _constant_or_word(part: Constant | Quoted | Word) -> Constant | Word:
    return Constant(None, part.at, part) if isinstance(part, Quoted) else part


def _type_name(word: Word) -> Any:
    name = _TYPE_ALIASES.get(word.text, word.text)
    if name not in TYPES:
        other = _OTHER_TYPES.get(word.text.lower())
        hint = f' Did you mean "{other}"?' if other else similar(word.text, TYPES)
        raise LineError(
            f'Found the type "{word.text}", expected one of {", ".join(TYPES)}.{hint}', word.at
        )
    return name


def _choices(arguments: list[Any]) -> list[str]:
    for argument in arguments:
        if not isinstance(argument, Quoted):
            raise LineError('The values of an enum are texts in quotes: enum("a", "b").', 0)
    return [argument.text() for argument in arguments]


def make_field(line: FieldLine) -> Field:
    """The field of a line; raises ``LineError``."""
    values: dict[str, Any] = {}
    places: dict[str, int] = {}
    for modifier in line.modifiers:
        keys = ("min", "max") if modifier.key == "range" else (modifier.key,)
        for index, key in enumerate(keys):
            if key in values:
                raise LineError(f'"{key}" is given twice.', modifier.at)
            values[key] = modifier.value[index] if modifier.key == "range" else modifier.value
            places[key] = modifier.at
    field_type = line.type
    if field_type.name == "enum" and not field_type.choices and "choices" in values:
        field_type = Type(name="enum", choices=_texts(values.pop("choices"), places["choices"]))
    try:
        return Field(name=line.name.text, type=field_type, **values)
    except ValidationError as error:
        problem = problems_of(error)[0]
        key = str(problem.path[0]) if problem.path else ""
        raise LineError(problem.message, places.get(key, line.name.at)) from None


def _texts(values: tuple[Any, ...], at: int) -> tuple[str, ...]:
    if not all(isinstance(value, str) for value in values):
        raise LineError('The values of an enum are texts in quotes: choices: ["a", "b"].', at)
    return values
