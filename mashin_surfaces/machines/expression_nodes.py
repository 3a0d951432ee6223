"""The syntax tree of an expression: what was written, and nothing about what it means.

Made by ``expressions.py``; given a meaning by ``steps.evaluation``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias


@dataclass(frozen=True, slots=True)
class Literal:
    """A text, a number, true, false or null as written."""

    value: str | int | float | bool | None


@dataclass(frozen=True, slots=True)
class Template:
    """Text with ``${expression}`` in it: literal pieces (``str``) and expressions, in order."""

    parts: tuple[str | Node, ...]


@dataclass(frozen=True, slots=True)
class Spread:
    """``...value`` in a list, a map or the arguments of a call."""

    value: Node


@dataclass(frozen=True, slots=True)
class ListLiteral:
    items: tuple[Node | Spread, ...]


@dataclass(frozen=True, slots=True)
class Entry:
    """``key: value`` of a map; the key is text, or an expression when written ``[key]``."""

    key: str | Node
    value: Node


@dataclass(frozen=True, slots=True)
class MapLiteral:
    entries: tuple[Entry | Spread, ...]


@dataclass(frozen=True, slots=True)
class Name:
    name: str


@dataclass(frozen=True, slots=True)
class Member:
    """``target.name``, or ``target?.name`` when ``optional``."""

    target: Node
    name: str
    optional: bool = False


@dataclass(frozen=True, slots=True)
class Index:
    """``target[index]``, or ``target?.[index]`` when ``optional``."""

    target: Node
    index: Node
    optional: bool = False


@dataclass(frozen=True, slots=True)
class Call:
    function: Node
    arguments: tuple[Node | Spread, ...]


@dataclass(frozen=True, slots=True)
class Unary:
    """``operator`` is one of ``- ! ~ typeof``."""

    operator: str
    operand: Node


@dataclass(frozen=True, slots=True)
class Binary:
    """``operator`` is symbolic, however it was written: ``is at most`` is ``<=``."""

    operator: str
    left: Node
    right: Node


@dataclass(frozen=True, slots=True)
class Chain:
    """``a + b + c``: two or more operands joined by the same ``+``, ``&&``, ``||`` or ``??``.

    One node however long it is, so that a long sum is not a deep tree.
    """

    operator: str
    operands: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Pipe:
    """``left |> right``: ``left`` becomes the first argument of ``right``."""

    left: Node
    right: Node


@dataclass(frozen=True, slots=True)
class Range:
    """``start..end`` with both ends, ``by step``."""

    start: Node
    end: Node
    step: Node | None = None


@dataclass(frozen=True, slots=True)
class Conditional:
    condition: Node
    then: Node
    otherwise: Node


@dataclass(frozen=True, slots=True)
class NamePattern:
    name: str


@dataclass(frozen=True, slots=True)
class ListPattern:
    """``[a, b, ...rest]``."""

    items: tuple[Pattern, ...]
    rest: str | None = None


@dataclass(frozen=True, slots=True)
class MapPattern:
    """``{a, b: other, ...rest}``: pairs of the key and where its value goes."""

    entries: tuple[tuple[str, Pattern], ...]
    rest: str | None = None


@dataclass(frozen=True, slots=True)
class Arrow:
    """``(a, [b, c]) => body``."""

    parameters: tuple[Pattern, ...]
    body: Node


@dataclass(frozen=True, slots=True)
class Let:
    pattern: Pattern
    value: Node


@dataclass(frozen=True, slots=True)
class Body:
    """``let`` lines in order, then the expression that is the value."""

    lets: tuple[Let, ...]
    result: Node


Pattern: TypeAlias = NamePattern | ListPattern | MapPattern
Node: TypeAlias = (
    Literal
    | Template
    | ListLiteral
    | MapLiteral
    | Name
    | Member
    | Index
    | Call
    | Unary
    | Binary
    | Chain
    | Pipe
    | Range
    | Conditional
    | Arrow
    | Body
)
