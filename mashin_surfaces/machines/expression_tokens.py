"""Text into the tokens of the expression language; what needs looking ahead is decided here.

A line end is a token only in a ``compute`` body, outside brackets, where a statement can end.
A name or a bracket that opens an arrow function gets a kind of its own, so that the grammar
(``expression.lark``) stays LALR(1). Escapes in texts are resolved.
"""

from __future__ import annotations

import math
import re
from typing import Final, Literal, NamedTuple

from lark import Token

MAX_CHARACTERS: Final = 64 * 1024
MAX_DEPTH: Final = 64  # of brackets and ``${…}`` in one another
MAX_INTEGER: Final = 2**63 - 1

Mode = Literal["expression", "body", "template"]


class ExpressionError(Exception):
    """An expression that cannot be read. ``line`` and ``column`` count from 1 in the given text."""

    def __init__(self, message: str, line: int, column: int) -> None:
        super().__init__(f"{line}:{column}: {message}")
        self.message = message
        self.line = line
        self.column = column

    @classmethod
    def at(cls, text: str, offset: int, message: str) -> ExpressionError:
        before = text[:offset]
        return cls(message, before.count("\n") + 1, offset - (before.rfind("\n") + 1) + 1)


_WORDS: Final = {
    "true": "TRUE",
    "false": "FALSE",
    "null": "NULL",
    "nil": "NULL",
    "let": "_LET",
    "typeof": "TYPEOF",
    "in": "IN",
    "is": "IS",
    "not": "NOT",
    "and": "AND",
    "or": "OR",
    "by": "_BY",
}
_PHRASES: Final = {
    "not": "IS_NOT",
    "less": "LESS",
    "greater": "GREATER",
    "most": "AT_MOST",
    "least": "AT_LEAST",
}
_SIGNS: Final = {
    "...": "_ELLIPSIS",
    "..": "_RANGE",
    ".": "_DOT",
    "?.": "MEMBER",
    "??": "COALESCE",
    "?": "_QUESTION",
    "=>": "_ARROW",
    "==": "IS",
    "=": "_ASSIGN",
    "!=": "IS_NOT",
    "!": "NOT",
    "<=": "AT_MOST",
    "<<": "SHIFT_LEFT",
    "<": "LESS",
    ">=": "AT_LEAST",
    ">>": "SHIFT_RIGHT",
    ">": "GREATER",
    "|>": "_PIPE",
    "||": "OR",
    "|": "BIT_OR",
    "&&": "AND",
    "&": "BIT_AND",
    "^": "BIT_XOR",
    "~": "BIT_NOT",
    "**": "POWER",
    "*": "TIMES",
    "/": "DIVIDE",
    "%": "MODULO",
    "+": "PLUS",
    "-": "MINUS",
    ":": "_COLON",
    ",": "_COMMA",
    "(": "_OPEN",
    ")": "_CLOSE",
    "[": "_LIST_OPEN",
    "]": "_LIST_CLOSE",
    "{": "_MAP_OPEN",
    "}": "_MAP_CLOSE",
}
#: The symbolic spelling of each operator that is kept in the tree.
OPERATORS: Final = {kind: sign for sign, kind in _SIGNS.items() if not kind.startswith("_")} | {
    "TYPEOF": "typeof",
    "IN": "in",
}

_CLOSES: Final = {")": "(", "]": "[", "}": "{"}
_TOKEN: Final = re.compile(
    r"(?P<space>[ \t\r\f]+|//[^\n]*)"
    r"|(?P<newline>\n(?:\s|//[^\n]*)*)"
    r"|(?P<number>\d+(?:\.\d+)?(?:[eE][+-]?\d+)?)"
    r"|(?P<phrase>is[ \t]+(?:(?:less|greater)[ \t]+than|at[ \t]+(?:most|least)|not)\b)"
    r"|(?P<word>[A-Za-z_]\w*)"
    r"|(?P<quote>[\"'])"
    r"|(?P<end>;)"
    "|(?P<sign>"
    + "|".join(re.escape(sign) for sign in sorted(_SIGNS, key=len, reverse=True))
    + ")",
    re.ASCII,
)
_ARROW_FOLLOWS: Final = re.compile(r"\s*=>")
_COLON_FOLLOWS: Final = re.compile(r"\s*:")
#: What a line begins with when it goes on with the line before: no value begins like this.
_CONTINUES: Final = re.compile(r"[.?:|&^*%<>=,+)\]}]|/|!=|(?:and|or|is|in|by)\b|\Z")
_ENDS_A_VALUE: Final = frozenset(
    {
        "NAME",
        "NUMBER",
        "TEXT",
        "_TEXT_END",
        "TRUE",
        "FALSE",
        "NULL",
        "_CLOSE",
        "_LIST_CLOSE",
        "_MAP_CLOSE",
    }
)  # fmt: skip
_PLAIN: Final = {
    '"': re.compile(r'[^"\\$\n]+'),
    "'": re.compile(r"[^'\\$\n]+"),
    "": re.compile(r"[^\\$]+"),
}
_ESCAPES: Final = {
    "n": "\n", "t": "\t", "r": "\r", "b": "\b", "f": "\f",
    '"': '"', "'": "'", "\\": "\\", "/": "/", "$": "$",
}  # fmt: skip
_UNICODE_ESCAPE: Final = re.compile(r"\\u([0-9A-Fa-f]{4})")


def spelling(text: str, offset: int) -> str:
    """How the token at ``offset`` is written."""
    match = _TOKEN.match(text, offset)
    return match.group() if match else text[offset : offset + 1]


class _Open(NamedTuple):
    """A bracket or a ``${`` that is still open, with the quote of the text it stands in."""

    sign: str
    offset: int
    token: int  # its place in the list of tokens
    quote: str = ""


def tokenize(text: str, mode: Mode) -> list[Token]:
    """All tokens of ``text``; raises ``ExpressionError``."""
    if len(text) > MAX_CHARACTERS:
        raise ExpressionError.at(
            text, 0, f"An expression has at most {MAX_CHARACTERS} characters, this has {len(text)}."
        )
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ExpressionError.at(
            text, error.start, "Half a surrogate pair is no character."
        ) from error
    return _Tokenizer(text, mode).run()


class _Tokenizer:
    def __init__(self, text: str, mode: Mode) -> None:
        self.text = text
        self.mode = mode
        self.position = 0
        self.tokens: list[Token] = []
        self.open: list[_Open] = []

    def run(self) -> list[Token]:
        text = self.text
        if self.mode == "template":
            self._read_text("", 0)
        while self.position < len(text):
            match = _TOKEN.match(text, self.position)
            if match is None:
                raise self._error(
                    self.position,
                    f"Found {text[self.position]!r}, which has no meaning in an expression.",
                )
            self.position = match.end()
            getattr(self, f"_read_{match.lastgroup}")(match.group(), match.start())
        if self.open:
            opened = self.open[-1]
            raise self._error(
                opened.offset, f'The "{opened.sign}" that begins here is never closed.'
            )
        while self.tokens and self.tokens[-1].type == "_NEWLINE":
            self.tokens.pop()
        return self.tokens

    def _error(self, offset: int, message: str) -> ExpressionError:
        return ExpressionError.at(self.text, offset, message)

    def _add(self, kind: str, value: str, offset: int) -> None:
        self.tokens.append(Token(kind, value, offset))

    def _push(self, sign: str, offset: int, quote: str = "") -> None:
        if len(self.open) >= MAX_DEPTH:
            raise self._error(
                offset, f"Brackets are nested deeper than {MAX_DEPTH} levels; use let lines."
            )
        self.open.append(_Open(sign, offset, len(self.tokens), quote))

    # -- code ------------------------------------------------------------------------------

    def _read_space(self, found: str, offset: int) -> None:
        pass

    def _read_newline(self, found: str, offset: int) -> None:
        if (
            self.mode == "body"
            and not self.open
            and self.tokens
            and self.tokens[-1].type in _ENDS_A_VALUE
            and not _CONTINUES.match(self.text, self.position)
        ):
            self._add("_NEWLINE", "\n", offset)

    def _read_end(self, found: str, offset: int) -> None:
        if self.mode != "body" or self.open:
            raise self._error(offset, 'Found ";", which only ends a line of a compute step.')
        if self.tokens and self.tokens[-1].type != "_NEWLINE":
            self._add("_NEWLINE", ";", offset)

    def _read_number(self, found: str, offset: int) -> None:
        following = self.text[self.position : self.position + 1]
        if following.isalnum() or following == "_":
            raise self._error(
                offset, f'Found "{found}{following}": a number and a name need space between them.'
            )
        if found.isdigit():
            too_large = len(found.lstrip("0")) > len(str(MAX_INTEGER)) or int(found) > MAX_INTEGER
        else:
            too_large = math.isinf(float(found))
        if too_large:
            raise self._error(offset, "This number is too large.")
        self._add("NUMBER", found, offset)

    def _read_phrase(self, found: str, offset: int) -> None:
        words = found.split()
        if self._is_member() or self._is_key():
            self.position = offset + len(words[0])
            self._add("NAME", words[0], offset)
            return
        kind = _PHRASES[words[2] if words[1] == "at" else words[1]]
        self._add(kind, OPERATORS[kind], offset)

    def _read_word(self, found: str, offset: int) -> None:
        kind = _WORDS.get(found, "NAME")
        if kind == "NAME":
            if not self._is_member() and _ARROW_FOLLOWS.match(self.text, self.position):
                kind = "PARAMETER"
        elif self._is_member() or self._is_key():
            kind = "NAME"
        self._add(kind, OPERATORS.get(kind, found), offset)

    def _is_member(self) -> bool:
        return bool(self.tokens) and self.tokens[-1].type in {"_DOT", "MEMBER"}

    def _is_key(self) -> bool:
        """Between ``{`` or ``,`` and ``:`` any word is a key, also ``{in: 1}``."""
        return (
            bool(self.open)
            and self.open[-1].sign == "{"
            and self.tokens[-1].type in {"_MAP_OPEN", "_COMMA"}
            and _COLON_FOLLOWS.match(self.text, self.position) is not None
        )

    def _read_sign(self, found: str, offset: int) -> None:
        if found in "([{":
            self._push(found, offset)
        elif found in ")]}" and not self._close(found, offset):
            return
        kind = _SIGNS[found]
        self._add(kind, OPERATORS.get(kind, found), offset)

    def _close(self, found: str, offset: int) -> bool:
        """Close what is open; False when that led back into a text."""
        if not self.open:
            raise self._error(offset, f'Found "{found}", which nothing opened.')
        opened = self.open.pop()
        if found == "}" and opened.sign == "${":
            self._add("_HOLE_END", "}", offset)
            self._read_text(opened.quote, offset)
            return False
        if opened.sign != _CLOSES[found]:
            raise self._error(
                offset, f'Found "{found}", expected the end of the "{opened.sign}" before it.'
            )
        if found == ")" and _ARROW_FOLLOWS.match(self.text, self.position):
            opening = self.tokens[opened.token]
            self.tokens[opened.token] = Token("_ARROW_OPEN", opening.value, opening.start_pos)
        return True

    # -- texts -----------------------------------------------------------------------------

    def _read_quote(self, found: str, offset: int) -> None:
        first = len(self.tokens)
        self._add("_TEXT_START", found, offset)
        self._read_text(found, offset)
        pieces = self.tokens[first + 1 : -1]
        if self.tokens[-1].type == "_TEXT_END" and all(piece.type == "CHUNK" for piece in pieces):
            del self.tokens[first:]
            self._add("TEXT", "".join(pieces), offset)

    def _read_text(self, quote: str, opened_at: int) -> None:
        """Go on with a text up to its end or to a ``${``; an empty quote is a template."""
        text = self.text
        plain = _PLAIN[quote]
        pieces: list[str] = []
        begin = self.position
        while True:
            if match := plain.match(text, self.position):
                pieces.append(match.group())
                self.position = match.end()
            here = self.position
            sign = text[here : here + 1]
            if sign == quote:  # of a template: the end of it all
                self._add_chunk(pieces, begin)
                if quote:
                    self._add("_TEXT_END", quote, here)
                    self.position += 1
                return
            if sign in {"", "\n"}:
                raise self._error(opened_at, "The text that begins here is not closed on its line.")
            if sign == "\\":
                pieces.append(self._read_escape(quote))
            elif text.startswith("${", here):
                self._add_chunk(pieces, begin)
                self._push("${", here, quote)
                self._add("_HOLE_START", "${", here)
                self.position += 2
                return
            else:
                pieces.append("$")
                self.position += 1

    def _add_chunk(self, pieces: list[str], offset: int) -> None:
        if chunk := "".join(pieces):
            self._add("CHUNK", chunk, offset)

    def _read_escape(self, quote: str) -> str:
        text, here = self.text, self.position
        if not quote:  # a template's own escapes were resolved where it was written
            is_dollar = text.startswith("\\${", here)
            self.position += 2 if is_dollar else 1
            return "$" if is_dollar else "\\"
        sign = text[here + 1 : here + 2]
        if sign == "u":
            return self._read_unicode_escape()
        if sign not in _ESCAPES:
            raise self._error(
                here,
                f'Found the escape "\\{sign}", expected one of \\n \\t \\r \\" \\\\ \\$ \\uXXXX.',
            )
        self.position += 2
        return _ESCAPES[sign]

    def _read_unicode_escape(self) -> str:
        here = self.position
        match = _UNICODE_ESCAPE.match(self.text, here)
        if match is None:
            raise self._error(here, 'Found "\\u", expected four hexadecimal digits after it.')
        digits = match.group(1)
        self.position = match.end()
        # JSON writes what is above U+FFFF as two escapes, a surrogate pair
        if second := _UNICODE_ESCAPE.match(self.text, self.position):
            pair = bytes.fromhex(digits + second.group(1)).decode("utf-16-be", "replace")
            if len(pair) == 1:
                self.position = second.end()
                return pair
        try:
            return bytes.fromhex(digits).decode("utf-16-be")
        except UnicodeDecodeError:
            raise self._error(here, "Half a surrogate pair is no character.") from None
