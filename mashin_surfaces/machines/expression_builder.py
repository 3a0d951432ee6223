"""From what the grammar recognised to the nodes of the syntax tree, rule by rule."""

from __future__ import annotations

from typing import Any

from lark import Token, Transformer, v_args

from .expression_nodes import (
    Arrow,
    Binary,
    Body,
    Call,
    Chain,
    Conditional,
    Entry,
    Index,
    Let,
    ListLiteral,
    ListPattern,
    Literal,
    MapLiteral,
    MapPattern,
    Member,
    Name,
    NamePattern,
    Node,
    Pattern,
    Pipe,
    Range,
    Spread,
    Template,
    Unary,
)

_CHAINED = frozenset({"+", "&&", "||", "??"})


def _fold(_: Any, *parts: Any) -> Node:
    """``a - b + c + d``: from the left; a run of the same chained operator is one node."""
    node: Node = parts[0]
    run: list[Node] = []
    running = ""
    for sign, operand in zip(parts[1::2], parts[2::2], strict=True):
        operator = str(sign)
        if operator == running:
            run.append(operand)
            continue
        if running:
            node = Chain(running, tuple(run))
        running, run = (operator, [node, operand]) if operator in _CHAINED else ("", [])
        if not running:
            node = Binary(operator, node, operand)
    return Chain(running, tuple(run)) if running else node


@v_args(inline=True)
class Builder(Transformer[Token, Any]):
    """Called by the parser while it reads; methods are named after the rules."""

    coalesced = either = both = bit_or = bit_xor = bit_and = equal = member_of = ordered = _fold
    shifted = sum = product = power = _fold

    def body(self, *parts: Any) -> Node:
        *lets, result = parts
        return Body(tuple(lets), result) if lets else result

    def let(self, pattern: Pattern, value: Node) -> Let:
        return Let(pattern, value)

    def template(self, *parts: Any) -> Node:
        pieces = tuple(str(part) if isinstance(part, Token) else part for part in parts)
        if all(isinstance(piece, str) for piece in pieces):
            return Literal("".join(pieces))
        return Template(pieces)

    def arrow_of_one(self, parameter: Token, body: Node) -> Node:
        return Arrow((NamePattern(str(parameter)),), body)

    def arrow(self, parameters: tuple[Pattern, ...], body: Node) -> Node:
        return Arrow(parameters, body)

    def parameters(self, *patterns: Pattern) -> tuple[Pattern, ...]:
        return patterns

    def conditional(self, condition: Node, then: Node, otherwise: Node) -> Node:
        return Conditional(condition, then, otherwise)

    def piped(self, node: Node, *rights: Node) -> Node:
        for right in rights:
            node = Pipe(node, right)
        return node

    def interval(self, start: Node, end: Node, step: Node | None = None) -> Node:
        return Range(start, end, step)

    def unary(self, sign: Token, operand: Node) -> Node:
        return Unary(str(sign), operand)

    def member(self, target: Node, name: Token) -> Node:
        return Member(target, str(name))

    def optional_member(self, target: Node, _: Token, name: Token) -> Node:
        return Member(target, str(name), optional=True)

    def index(self, target: Node, index: Node) -> Node:
        return Index(target, index)

    def optional_index(self, target: Node, _: Token, index: Node) -> Node:
        return Index(target, index, optional=True)

    def call(self, function: Node, *arguments: Node | Spread) -> Node:
        return Call(function, arguments)

    def name(self, name: Token) -> Node:
        return Name(str(name))

    def number(self, digits: Token) -> Node:
        return Literal(int(digits) if digits.isdigit() else float(digits))

    def text(self, text: Token) -> Node:
        return Literal(str(text))

    def true(self, _: Token) -> Node:
        return Literal(True)

    def false(self, _: Token) -> Node:
        return Literal(False)

    def null(self, _: Token) -> Node:
        return Literal(None)

    def list(self, *items: Node | Spread) -> Node:
        return ListLiteral(items)

    def map(self, *entries: Entry | Spread) -> Node:
        return MapLiteral(entries)

    def spread(self, value: Node) -> Spread:
        return Spread(value)

    def entry(self, key: Token, value: Node) -> Entry:
        return Entry(str(key), value)

    def short_entry(self, key: Token) -> Entry:
        return Entry(str(key), Name(str(key)))

    def computed_entry(self, key: Node, value: Node) -> Entry:
        return Entry(key, value)

    def name_pattern(self, name: Token) -> Pattern:
        return NamePattern(str(name))

    def list_pattern(self, *items: Pattern | str) -> Pattern:
        rest = items[-1] if isinstance(items[-1], str) else None
        return ListPattern(tuple(item for item in items if not isinstance(item, str)), rest)

    def map_pattern(self, *entries: tuple[str, Pattern] | str) -> Pattern:
        rest = entries[-1] if isinstance(entries[-1], str) else None
        return MapPattern(tuple(entry for entry in entries if not isinstance(entry, str)), rest)

    def key_pattern(self, key: Token, pattern: Pattern | None = None) -> tuple[str, Pattern]:
        return str(key), pattern or NamePattern(str(key))

    def rest(self, name: Token) -> str:
        return str(name)
