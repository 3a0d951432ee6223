"""What is wrong with a machine's source or definition, and where."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

Path = tuple[str | int, ...]
#: From a place in the definition (``("steps", 0, "inputs", "text")``) to (line, column), from 1.
SourceMap = Mapping[Path, tuple[int, int]]


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong: ``path`` in the definition; its place in the source, where there is one."""

    message: str
    path: Path = ()
    line: int | None = None
    column: int | None = None
    severity: Literal["error", "warning"] = "error"

    def at(self, source_map: SourceMap) -> Problem:
        """The same problem with its position: that of its path, or of the nearest parent."""
        if self.line is not None:
            return self
        path = self.path
        while path and path not in source_map:
            path = path[:-1]
        if path not in source_map:
            return self
        line, column = source_map[path]
        return replace(self, line=line, column=column)

    def __str__(self) -> str:
        if self.line is not None:
            return f"{self.line}:{self.column or 1}: {self.message}"
        where = ".".join(str(part) for part in self.path)
        return f"{where}: {self.message}" if where else self.message
