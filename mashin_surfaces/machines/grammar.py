"""One line of mashinTalk into its parts, by ``mashintalk.lark``; what is wrong, in words.

The grammar is built when the first line is read, once in a process.
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final, cast

from lark import Lark, Token, Transformer, UnexpectedCharacters, UnexpectedInput, UnexpectedToken
from pydantic import ValidationError

from .definition import Field, Type
from .literals import BadText, read_text
from .scanning import hole_end, text_end
from .validation import problems_of

STARTS: Final = ("machine", "field", "state", "header", "values", "names", "constant", "flow")
MAX_NUMBER: Final = 2**63 - 1


class Wrong(Exception):
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
        except BadText as error:
            raise Wrong(error.message, self.at + 1 + error.at) from None


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


def read(start: str, text: str) -> Any:
    """The parts of a line's text: a ``Header``, a ``FieldLine`` … by the rule ``start``.

    Raises ``Wrong``: what was found, and what was expected.
    """
    try:
        return _grammar().parse(_masked(text), start=start)
    except UnexpectedInput as error:
        raise _explain(text, start, error) from None


@cache
def _grammar() -> Lark:
    grammar = (Path(__file__).parent / "mashintalk.lark").read_text(encoding="utf-8")
    return Lark(
        grammar,
        parser="lalr",
        lexer="contextual",
        start=list(STARTS),
        maybe_placeholders=False,
        transformer=_Parts(),
    )


# -- texts with ${…} ----------------------------------------------------------------------------

#: What a text in a ``${…}`` in a text may hold and a regular expression can't follow.
_MASK: Final = {ord('"'): "\ufdd0", ord("\\"): "\ufdd1", ord("\n"): "\ufdd2"}
_UNMASK: Final = {ord(value): chr(key) for key, value in _MASK.items()}
_QUOTE: Final = re.compile('"')
_HOLE: Final = re.compile(r"\\.|\$\{")


def _masked(text: str) -> str:
    """The same text with the ``${…}`` in its texts masked."""
    if "${" not in text:
        return text
    pieces: list[str] = []
    position = 0
    while match := _QUOTE.search(text, position):
        end = text_end(text, match.start()) or len(text)
        pieces.append(text[position : match.start()])
        inside = text[match.start() : end]
        done = 0
        while hole := _HOLE.search(inside, done):
            stop = hole_end(inside, hole.start()) if hole.group() == "${" else hole.end()
            stop = stop or len(inside)
            part = inside[hole.start() : stop]
            pieces += [
                inside[done : hole.start()],
                part.translate(_MASK) if hole.group() == "${" else part,
            ]
            done = stop
        pieces.append(inside[done:])
        position = end
    return "".join([*pieces, text[position:]])


# -- parts --------------------------------------------------------------------------------------

TYPES: Final = (
    "text", "number", "integer", "decimal", "boolean", "uuid", "date", "datetime",
    "list", "map", "object", "enum", "any", "file",
)  # fmt: skip
_TYPE_ALIASES: Final = {"string": "text", "object": "map"}
_OTHER_TYPES: Final = {
    "str": "text", "int": "integer", "float": "number", "double": "number", "bool": "boolean",
    "array": "list", "dict": "map", "timestamp": "datetime", "time": "datetime", "money": "decimal",
}  # fmt: skip


def similar(word: str, known: Iterable[str]) -> str:
    """`` Did you mean "x"?``, or nothing."""
    close = difflib.get_close_matches(word, list(known), 1, 0.7)
    return f' Did you mean "{close[0]}"?' if close else ""


class _Parts(Transformer[Token, Any]):
    """Called by Lark for every rule as it is read, innermost first."""

    def STRING(self, token: Token) -> Quoted:
        return Quoted(str(token)[1:-1].translate(_UNMASK), token.start_pos or 0)

    def NUMBER(self, token: Token) -> Constant:
        text = str(token)
        at = token.start_pos or 0
        is_whole = text.lstrip("-").isdigit()
        # Digits are counted first: Python refuses to read thousands of them.
        too_many = is_whole and len(text.lstrip("-").lstrip("0")) > len(str(MAX_NUMBER))
        if too_many or math.isinf(float(text)) or (is_whole and abs(int(text)) > MAX_NUMBER):
            raise Wrong("This number is too large.", at)
        return Constant(int(text) if is_whole else float(text), at)

    def NAME(self, token: Token) -> Word:
        return Word(str(token), token.start_pos or 0)

    WORD = DOTTED = NAME
    IS = DEFAULT = DESCRIPTION = LABEL = BOUND = PATTERN = FORMAT = CHOICES = RANGE = SECRET = NAME

    # constants

    def TRUE(self, token: Token) -> Constant:
        return Constant(True, token.start_pos or 0)

    def FALSE(self, token: Token) -> Constant:
        return Constant(False, token.start_pos or 0)

    def NULL(self, token: Token) -> Constant:
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
                raise Wrong(f'"{key}" is given twice.', at)
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
            raise Wrong(
                f'The type "{name.text}" takes no "(…)" like this; list(text) and '
                'enum("a", "b") do.',
                name.at,
            )
        return Type(name="list", item=arguments[0])

    def list_type(self, parts: list[Any]) -> Type:
        name, item = parts
        if name.text != "list":
            raise Wrong(f'Found "{name.text} of", expected "list of".', name.at)
        return Type(name="list", item=item)

    def object_type(self, parts: list[Any]) -> Type:
        name, _, *rest = parts
        if name.text not in {"object", "map"}:
            raise Wrong(f'The type "{name.text}" takes no "{{…}}"; object {{…}} does.', name.at)
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
                raise Wrong(f'A second field "{line.name.text}".', line.name.at)
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
        raise Wrong(
            f'Found the type "{word.text}", expected one of {", ".join(TYPES)}.{hint}', word.at
        )
    return name


def _choices(arguments: list[Any]) -> list[str]:
    for argument in arguments:
        if not isinstance(argument, Quoted):
            raise Wrong('The values of an enum are texts in quotes: enum("a", "b").', 0)
    return [argument.text() for argument in arguments]


def make_field(line: FieldLine) -> Field:
    """The field of a line; raises ``Wrong``."""
    values: dict[str, Any] = {}
    places: dict[str, int] = {}
    for modifier in line.modifiers:
        keys = ("min", "max") if modifier.key == "range" else (modifier.key,)
        for index, key in enumerate(keys):
            if key in values:
                raise Wrong(f'"{key}" is given twice.', modifier.at)
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
        raise Wrong(problem.message, places.get(key, line.name.at)) from None


def _texts(values: tuple[Any, ...], at: int) -> tuple[str, ...]:
    if not all(isinstance(value, str) for value in values):
        raise Wrong('The values of an enum are texts in quotes: choices: ["a", "b"].', at)
    return values


# -- what is wrong, in words --------------------------------------------------------------------

_EXPECTED: Final = {
    "NAME": "a name",
    "WORD": "a name",
    "DOTTED": "a name",
    "STRING": "a text in quotes",
    "NUMBER": "a number",
    "_LPAR": '"("', "LPAR": '"("', "RPAR": '")"',
    "LIST_OPEN": '"["', "LSQB": '"["', "RSQB": '"]"',
    "MAP_OPEN": '"{"', "LBRACE": '"{"', "RBRACE": '"}"',
    "COMMA": '","', "COLON": '":"',
    "$END": "the end of the line",
}  # fmt: skip
_VALUES: Final = frozenset({"STRING", "NUMBER", "TRUE", "FALSE", "NULL", "LIST_OPEN", "MAP_OPEN"})
_MODIFIERS: Final = frozenset(
    {"IS", "DEFAULT", "DESCRIPTION", "LABEL", "BOUND", "PATTERN", "FORMAT", "CHOICES", "RANGE",
     "SECRET"}
)  # fmt: skip
_MODIFIER_WORDS: Final = (
    "is required", "default", "description", "label", "min", "max", "min_length", "max_length",
    "pattern", "format", "choices", "range", "secret",
)  # fmt: skip
_PIECE: Final = re.compile(r"[^\W\d]\w*|-?\d[\w.]*|.", re.DOTALL)


def _is_whole(text: str, start: str) -> bool:
    try:
        _grammar().parse(_masked(text), start=start)
    except (UnexpectedInput, Wrong):
        return False
    return True


def _explain(text: str, start: str, error: UnexpectedInput) -> Wrong:
    at: int | None = error.pos_in_stream  # also None or -1, whatever Lark's types say
    if at is None or not 0 <= at < len(text):
        at = len(text)
    if isinstance(error, UnexpectedToken):
        if error.token.type == "$END":
            at = len(text)
        accepts: Any = error.accepts  # None where Lark kept no parser
        expected = set(accepts or error.expected)
    elif isinstance(error, UnexpectedCharacters):
        expected = set(error.allowed or ())
        if _is_whole(text[:at], start):
            expected.add("$END")
    else:
        at, expected = len(text), set()
    while at < len(text) and text[at].isspace():
        at += 1
    found = found_at(text, at)
    return Wrong(f"Found {found}, expected {_expected(expected)}.{_hint(text, at, expected)}", at)


def found_at(text: str, at: int) -> str:
    """What stands at an offset, as it is named in a message."""
    if at >= len(text):
        return "the end of the line"
    if text[at] == '"':
        end = text_end(text, at) or len(text)
        shown = text[at:end]
        return f"the text {shown}" if len(shown) <= 40 else f'the text {shown[:36]}…"'
    match = _PIECE.match(text, at)
    piece = match.group() if match else text[at]
    return f'"{piece}"' if len(piece) <= 40 else f'"{piece[:39]}…"'


def _expected(terminals: set[str]) -> str:
    names = set(terminals)
    words: list[str] = []
    if len(names & _MODIFIERS) > 3:
        names -= _MODIFIERS
        words.append(f"a modifier ({', '.join(_MODIFIER_WORDS)})")
    if names >= {"STRING", "NUMBER", "LIST_OPEN", "MAP_OPEN"}:
        names -= _VALUES
        words.append("a value (a text in quotes, a number, true, false, null, […] or {…})")
    others = sorted({_EXPECTED.get(name, f'"{name.lower()}"') for name in names})
    words += sorted(others, key=lambda word: word == "the end of the line")
    if not words:
        return "something else"
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} or {words[-1]}"


def _hint(text: str, at: int, expected: set[str]) -> str:
    match = _PIECE.match(text, at)
    piece = match.group() if match else ""
    if len(expected & _MODIFIERS) > 3:
        if piece == "required":
            return ' Did you mean "is required"?'
        return similar(piece, _MODIFIER_WORDS)
    if "STRING" in expected and piece[:1].isalpha() and "NAME" not in expected:
        return " Texts stand in double quotes."
    if piece == "-" and at and text[at - 1].isalnum():
        return " Names have letters, digits and _ only."
    if piece == "'":
        return " Texts stand in double quotes."
    return ""
