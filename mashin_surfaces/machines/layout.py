"""Lays out what stands on one line, or on lines without indentation, by its keywords.

``expresses websocket path: "/ws"`` becomes the block that it means, and a machine copied from a
web page without its indentation gets it back. Works on the lines of ``lines.py``; each piece
keeps its place in the source. Where blocks nest (``decide``, ``retry`` …) keywords do not tell
where one ends: then indentation is asked for.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, NamedTuple

from .lines import SECTION_START, SECTIONS, Line, Source, Tell
from .scanning import text_end

SURFACES: Final = (
    "websocket", "api", "page", "webhook", "a2a", "mcp", "publishes", "subscribes",
)  # fmt: skip
NEEDS_INDENTATION: Final = (
    'Found "{}" without indentation. Where blocks nest, keywords do not tell where one ends: '
    "indentation is needed, each line of it on its own, two spaces deeper than the line it "
    "belongs to."
)

_NAME: Final = r"[^\W\d]\w*"
_KEY: Final = re.compile(rf"{_NAME}(?:\.{_NAME})*[ \t]*:(?![\w*:])")
_OPTION: Final = re.compile(r"(?:using|from|of|to|after|max|backoff|delay|name|machine)\s*:")
_FIELD: Final = re.compile(rf"{_NAME}\s+as\b")


class _Kind(NamedTuple):
    """An item: how it begins, the block that may follow on its line, the block below it."""

    pattern: re.Pattern[str]
    inline: str = ""
    below: str = ""
    nests: bool = False


@dataclass(frozen=True, slots=True)
class _Block:
    kinds: tuple[_Kind, ...]
    commas: bool = False  # items may be separated by commas


def _word(words: str, inline: str = "", below: str = "", *, nests: bool = False) -> _Kind:
    pattern = words.replace(" ", r"\s+") + r"(?![\w.]|\s*:|\s+as\b)"
    return _Kind(re.compile(pattern), inline, below or inline, nests)


def _named(verbs: str, inline: str = "", below: str = "", *, nests: bool = False) -> _Kind:
    pattern = rf"(?:{verbs})\s+{_NAME}(?!\s*:)".replace(" ", r"\s+")
    return _Kind(re.compile(pattern), inline, below or inline, nests)


_PERMISSIONS: Final = (
    _word("allowed to"),
    _word("not allowed to"),
    _word("requires approval for"),
    _word("authority", "keys"),
)
_FIELDS: Final = _Block((_Kind(_FIELD, "", "fields"),), commas=True)
_BLOCKS: Final = {
    "source": _Block((_Kind(re.compile(r"machine\b"), "machine", "machine"),)),
    "machine": _Block(tuple(_word(name, name) for name in SECTIONS)),
    "accepts": _FIELDS,
    "responds with": _FIELDS,
    "fields": _FIELDS,
    "achieves": _Block(
        (
            _word("goal"),
            _word("succeeds when"),
            _word("never"),
            _word("for example", "example"),
        )
    ),
    "example": _Block((_word("given", "keys"), _word("expect", "keys"))),
    "ensures": _Block(
        (
            _word("permissions", "permissions"),
            *_PERMISSIONS,
            _word("limits", "keys"),
            _word("guards"),
            _word("needs", "keys"),
        )
    ),
    "permissions": _Block(_PERMISSIONS),
    "implements": _Block(
        (
            _named("ask|action|wait for|gate|launch|launch_many", "ask"),
            _named("compute"),
            _named("remember|recall", "settings"),
            _Kind(re.compile(r"(?:run|goto)\s+flow\s*\(")),
            _named("decide", "", "branches", nests=True),
            _named("retry", "", "implements", nests=True),
            _word("on failure", "", "implements", nests=True),
            _word("flows", "", "flows", nests=True),
            _word("state", "", "state", nests=True),
        )
    ),
    "branches": _Block(
        (
            _word("when", "", "implements", nests=True),
            _word("otherwise", "", "implements", nests=True),
            _word("if", "", "implements", nests=True),
            _word("else if", "", "implements", nests=True),
            _word("else", "", "implements", nests=True),
        )
    ),
    "flows": _Block((_named("flow", "", "implements", nests=True),)),
    "state": _Block((_Kind(_FIELD), _Kind(_KEY))),
    "ask": _Block(
        (
            _Kind(re.compile(r"with\s+(?:role|task|tools|temperature|max_tokens)(?!\w|\s*:)")),
            _word("returns", "fields"),
            _word("schema", "fields"),
            _word("assuming", "keys"),
            _Kind(_KEY),
        )
    ),
    "keys": _Block((_Kind(_KEY),), commas=True),
    "settings": _Block((_Kind(_KEY),)),  # of a step: commas separate its options
    "tools": _Block((_Kind(re.compile(rf"{_NAME}\s+from\b")),)),
    "verifies": _Block((_Kind(re.compile(r"test\s+(?=\")"), "test", "test"),)),
    "test": _Block(
        (
            _word("given", "keys"),
            _Kind(re.compile(rf"assuming\s+(?:{_NAME}(?!\s*:)|(?=\"))"), "keys", "keys"),
            _word("expect", "keys"),
        )
    ),
    "expresses": _Block(tuple(_word(kind, "keys") for kind in SURFACES)),
}


def lay_out(roots: list[Line], source: Source, tell: Tell) -> list[Line]:
    """The machine's line with its blocks, and behind it the lines that are not the machine's.

    ``roots``: the lines as they are indented.
    """
    if not roots:
        return roots
    first, *others = roots
    if source.is_flat or not (others or first.children):
        end = others[-1].end if others else first.end
        whole = Line(source.clean[first.start : end], first.start, end, first.indent)
        return _Splitter(whole, "source", tell).items
    # Sections may stand as deep as the machine itself.
    sections = [line for line in others if SECTION_START.match(line.text)]
    first.children = _indented([*first.children, *sections], "machine", tell)
    return [first, *(line for line in others if line not in sections)]


def _indented(lines: list[Line], block: str, tell: Tell) -> list[Line]:
    """The lines of one block, those with several items on them split."""
    if block not in _BLOCKS:
        return lines
    result: list[Line] = []
    for line in lines:
        splitter = _Splitter(line, block, tell)
        if line.children:
            owner, below = splitter.owner_of(line.children[0])
            owner.children += _indented(line.children, below, tell)
        result += splitter.items
    return result


class _Splitter:
    """One stretch of text cut into ``items`` of a block, by the keywords of the open blocks."""

    def __init__(self, line: Line, block: str, tell: Tell) -> None:
        self.line = line
        self.text = line.text
        self.is_single = "\n" not in line.text
        self.items: list[Line] = []
        #: The open blocks, outermost first: name, and where its items are put.
        self._open: list[tuple[str, list[Line]]] = [(block, self.items)]
        self._below: dict[int, str] = {}
        self._last = 0  # where the last item begins
        self._split(block, tell)

    def owner_of(self, child: Line) -> tuple[Line, str]:
        """To which item a line below this one belongs, and the block it stands in."""
        item: Line | None = self.items[-1]
        while item is not None:
            below = self._below[id(item)]
            kinds = _BLOCKS[below].kinds if below in _BLOCKS else ()
            if any(kind.pattern.match(child.text) for kind in kinds):
                return item, below
            item = item.children[-1] if item.children else None
        return self.items[-1], self._below[id(self.items[-1])]

    def _split(self, block: str, tell: Tell) -> None:
        cuts: list[tuple[int, Line | None, bool]] = []
        behind = 0
        skipping = False
        for here, after_comma, may_be_key in _beginnings(self.text):
            if here < behind:
                continue
            level, kind = self._kind_at(here, after_comma, may_be_key)
            if kind is None:
                if not cuts:
                    cuts.append((0, self._begin(0, 0, None), False))
                continue
            if skipping and self._open[level][0] != "machine":
                continue
            match = kind.pattern.match(self.text, here)
            behind = match.end() if match else here
            skipping = kind.nests and (here > 0 or block == "source")
            if skipping:
                found = " ".join(self.text[here:behind].split())
                tell(NEEDS_INDENTATION.format(found), self.line.start + here)
                cuts.append((here, None, False))
                continue
            cuts.append((here, self._begin(here, level, kind), after_comma))
            if kind.nests:
                break
        if not cuts or cuts[0][0] > 0:
            cuts.insert(0, (0, self._begin(0, 0, None, first=True), False))
        self._set_texts(cuts)

    def _kind_at(self, here: int, after_comma: bool, may_be_key: bool) -> tuple[int, _Kind | None]:
        for level in reversed(range(len(self._open))):
            name = self._open[level][0]
            block = _BLOCKS.get(name)
            if block is None or (after_comma and not block.commas):
                if after_comma:
                    break
                continue
            if name == "machine" and not self._may_begin_section(here):
                continue
            for kind in block.kinds:
                if kind.pattern is _KEY and not (may_be_key and self._is_input(here, level)):
                    continue
                if kind.pattern.match(self.text, here):
                    return level, kind
            if after_comma:  # the comma belongs to the innermost block
                break
        return 0, None

    def _is_input(self, here: int, level: int) -> bool:
        """Not an option of a step: those stand on its first line, before all else."""
        name, items = self._open[level]
        if name not in {"ask", "settings"} or items or not here:
            return True
        return "\n" in self.text[self._last : here] or not _OPTION.match(self.text, here)

    def _may_begin_section(self, here: int) -> bool:
        return self.is_single or here == 0 or self.text[:here].rstrip(" \t").endswith("\n")

    def _begin(self, here: int, level: int, kind: _Kind | None, *, first: bool = False) -> Line:
        start = self.line.start + here
        item = Line("", start, start, self.line.indent)
        items = self._open[level][1]
        self._last = here
        items.insert(0 if first else len(items), item)
        if kind is None:
            self._below[id(item)] = ""
            return item
        del self._open[level + 1 :]
        self._below[id(item)] = kind.below
        if kind.inline:
            self._open.append((kind.inline, item.children))
        return item

    def _set_texts(self, cuts: list[tuple[int, Line | None, bool]]) -> None:
        ends = [*(cut[0] for cut in cuts[1:]), len(self.text)]
        commas = [*(cut[2] for cut in cuts[1:]), False]
        for (here, item, _), end, comma in zip(cuts, ends, commas, strict=True):
            if item is None:
                continue
            item.text = self.text[here:end].rstrip()
            if comma:
                item.text = item.text.removesuffix(",").rstrip()
            item.end = item.start + len(item.text)


_TOKEN: Final = re.compile(
    r"(?P<space>\s+)"
    r"|(?P<value>[^\W\d]\w*|\d[\w.]*|\.\*(?!\S)|\.\*(?=,))"
    r"|(?P<quote>[\"'])"
    r"|(?P<open>[(\[{])|(?P<close>[)\]}])"
    r"|(?P<comma>,)|(?P<conditional>\?(?![.?]))|(?P<colon>:)"
    r"|(?P<sign>\?\?|\?\.|.)"
)


def _beginnings(text: str) -> Iterator[tuple[int, bool, bool]]:
    """Where an item may begin, outside texts and brackets: at a word that follows a finished
    value or a comma. Yields (offset, whether a comma is before it, whether it may be a key)."""
    depth = position = conditionals = 0
    before = "value"
    while match := _TOKEN.match(text, position):
        kind, here = match.lastgroup, match.start()
        position = match.end()
        if kind == "space":
            continue
        if kind == "quote":
            position = text_end(text, here) or len(text)
            kind = "value"
        elif kind == "open":
            depth += 1
        elif kind == "close":
            depth -= 1
            kind = "value"
        elif depth:
            continue
        elif kind == "value" and before in {"value", "comma"}:
            yield here, before == "comma", not conditionals
        elif kind == "conditional":
            conditionals += 1
        elif kind == "colon" and conditionals:
            conditionals -= 1
        if not depth:
            before = kind or ""
