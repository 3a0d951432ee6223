"""The expression language: text into a syntax tree (``expression_nodes``), and questions about it.

Syntax only; ``steps.evaluation`` gives the tree its meaning.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, Final, cast

from lark import Lark, Token, UnexpectedToken
from lark.lexer import Lexer

from .expression_builder import Builder
from .expression_nodes import (
    Entry,
    ListLiteral,
    Literal,
    MapLiteral,
    Node,
    Spread,
    Unary,
)
from .expression_references import GLOBAL_NAMES, references
from .expression_tokens import MAX_CHARACTERS, MAX_DEPTH, ExpressionError, Mode, spelling, tokenize

__all__ = [
    "GLOBAL_NAMES",
    "MAX_CHARACTERS",
    "MAX_DEPTH",
    "ExpressionError",
    "Node",
    "literal",
    "parse_body",
    "parse_expression",
    "parse_template",
    "references",
]

#: How deep the tree may be: brackets, and operators in one another.
_MAX_TREE: Final = 2 * MAX_DEPTH


def parse_expression(text: str) -> Node:
    """One expression, on as many lines as it likes. Raises ``ExpressionError``."""
    return _parse(text, "expression")


def parse_body(text: str) -> Node:
    """A compute step's body: ``let`` lines, then one expression. Raises ``ExpressionError``."""
    return _parse(text, "body")


def parse_template(text: str) -> Node:
    r"""Text with ``${expression}`` in it; ``\${`` is a plain ``${``. Raises ``ExpressionError``."""
    return _parse(text, "template")


def literal(node: Node) -> Any:
    """The JSON value that ``node`` writes out; ``ExpressionError`` (at 1:1) when it is computed."""
    match node:
        case Literal(value):
            return value
        case Unary("-", Literal(int() | float() as number)) if not isinstance(number, bool):
            return -number
        case ListLiteral(items):
            return [literal(_no_spread(item)) for item in items]
        case MapLiteral(entries):
            return {_literal_key(entry): literal(_literal_value(entry)) for entry in entries}
    raise _not_constant()


# -- parsing ------------------------------------------------------------------------------------


class _Tokens(Lexer):
    """Hands on what ``tokenize`` made: Lark's parser gets its tokens ready."""

    def __init__(self, _: Any) -> None:
        pass

    def lex(self, lexer_state: Any, parser_state: Any = None) -> Iterator[Token]:
        return iter(lexer_state)


@cache
def _parser() -> Lark:
    grammar = (Path(__file__).parent / "expression.lark").read_text(encoding="utf-8")
    return Lark(
        grammar,
        parser="lalr",
        lexer=_Tokens,
        start=["expression", "body", "template"],
        maybe_placeholders=False,
        transformer=Builder(),
    )


def _parse(text: str, mode: Mode) -> Node:
    tokens = tokenize(text, mode)
    try:
        node = cast("Node", _parser().parse(tokens, start=mode))
    except UnexpectedToken as error:
        raise _explain(text, error) from None
    _check_depth(text, node)
    return node


def _check_depth(text: str, root: Node) -> None:
    pending: list[tuple[Any, int]] = [(root, 1)]
    while pending:
        node, depth = pending.pop()
        if depth > _MAX_TREE:
            raise ExpressionError.at(
                text, 0, "This expression is nested too deep; give its parts names with let lines."
            )
        if isinstance(node, tuple):
            pending.extend((part, depth) for part in node)
        elif hasattr(node, "__slots__") and not isinstance(node, str):
            deeper = depth if isinstance(node, Entry) else depth + 1
            pending.extend((getattr(node, name), deeper) for name in node.__slots__)


_VALUES: Final = frozenset(
    {
        "NAME",
        "PARAMETER",
        "NUMBER",
        "TEXT",
        "TRUE",
        "FALSE",
        "NULL",
        "_TEXT_START",
        "_OPEN",
        "_ARROW_OPEN",
        "_LIST_OPEN",
        "_MAP_OPEN",
        "MINUS",
        "NOT",
        "BIT_NOT",
        "TYPEOF",
    }
)  # fmt: skip
_OPERATORS: Final = frozenset(
    {
        "IS",
        "IS_NOT",
        "LESS",
        "GREATER",
        "AT_MOST",
        "AT_LEAST",
        "IN",
        "AND",
        "OR",
        "POWER",
        "SHIFT_LEFT",
        "SHIFT_RIGHT",
        "COALESCE",
        "MEMBER",
        "PLUS",
        "MINUS",
        "TIMES",
        "DIVIDE",
        "MODULO",
        "BIT_AND",
        "BIT_XOR",
        "BIT_OR",
        "_RANGE",
        "_BY",
        "_PIPE",
        "_DOT",
        "_QUESTION",
        "_OPEN",
        "_LIST_OPEN",
    }
)  # fmt: skip
_SPELLED: Final = {
    "$END": "the end",
    "NAME": "a name",
    "PARAMETER": "a name",
    "TEXT": "a text",
    "_NEWLINE": "a new line",
    "_LET": '"let"',
    "_ASSIGN": '"="',
    "_ARROW": '"=>"',
    "_ELLIPSIS": '"..."',
    "_COLON": '":"',
    "_COMMA": '","',
    "_CLOSE": '")"',
    "_LIST_OPEN": '"["',
    "_LIST_CLOSE": '"]"',
    "_MAP_OPEN": '"{"',
    "_MAP_CLOSE": '"}"',
    "_HOLE_END": '"}"',
}


def _explain(text: str, error: UnexpectedToken) -> ExpressionError:
    token = error.token
    offset = token.start_pos
    if token.type == "$END" or offset is None:
        return ExpressionError.at(text, len(text), f"Found the end, expected {_expected(error)}.")
    if token.type == "_NEWLINE":
        return ExpressionError.at(
            text,
            offset,
            "The value ends on this line, but more lines follow: only the last line is a value, "
            'lines before it begin with "let".',
        )
    if token.type in {"PARAMETER", "NAME"}:
        found = f'the name "{token}"'
    elif token.type == "_LET":
        return ExpressionError.at(text, offset, 'Found "let", which only begins a line of its own.')
    elif token.type == "_HOLE_END":
        found = 'the "}" of "${"'
    else:
        found = f'"{spelling(text, offset)}"'
    return ExpressionError.at(text, offset, f"Found {found}, expected {_expected(error)}.")


def _expected(error: UnexpectedToken) -> str:
    accepted: set[str] = set(error.accepts or error.expected)
    words: list[str] = []
    if {"NUMBER", "TRUE"} <= accepted:
        words.append("a value")
        accepted -= _VALUES
    if accepted & _OPERATORS - {"_OPEN", "_LIST_OPEN", "MINUS", "_QUESTION"}:
        words.append("an operator")
        accepted -= _OPERATORS
    words += sorted({_SPELLED[kind] for kind in accepted if kind in _SPELLED})
    *others, last = words or ["something else"]
    return f"{', '.join(others)} or {last}" if others else last


# -- constants ---------------------------------------------------------------------------------


def _not_constant() -> ExpressionError:
    return ExpressionError(
        "Expected a constant: a text, number, true, false, null, [] or {}.", 1, 1
    )


def _no_spread(item: Node | Spread) -> Node:
    if isinstance(item, Spread):
        raise _not_constant()
    return item


def _literal_key(entry: Entry | Spread) -> str:
    if isinstance(entry, Spread) or not isinstance(entry.key, str):
        raise _not_constant()
    return entry.key


def _literal_value(entry: Entry | Spread) -> Node:
    if isinstance(entry, Spread):
        raise _not_constant()
    return entry.value
