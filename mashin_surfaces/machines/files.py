"""``.mashin`` files: found, examined all together, and stored all or none."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from pathlib import Path as FilePath
from typing import Any, Final

from django.db import transaction

from ..exceptions import DefinitionError
from .models import Machine
from .parser import MAX_SOURCE, Parsed
from .problems import Problem
from .review import examine
from .review_tools import unknown_sources
from .store import Stored, save_machine

SUFFIX: Final = ".mashin"


@dataclass(frozen=True, slots=True)
class Examined:
    """A file as read; ``parsed`` is None when it has ``problems`` that are errors."""

    path: FilePath
    source: str
    parsed: Parsed | None
    problems: tuple[Problem, ...]

    @property
    def errors(self) -> list[Problem]:
        return [problem for problem in self.problems if problem.severity == "error"]


class FilesError(Exception):
    """Files with something wrong in them; nothing was stored."""

    def __init__(self, examined: list[Examined]) -> None:
        super().__init__("\n".join(line for item in examined for line in lines_of(item)))
        self.examined = examined


def lines_of(item: Examined, severity: str | None = None) -> list[str]:
    """``file:line:column: message`` for each problem."""
    return [
        f"{item.path}:{problem.line or 1}:{problem.column or 1}: "
        f"{'warning: ' if problem.severity == 'warning' else ''}{problem.message}"
        for problem in item.problems
        if severity in {None, problem.severity}
    ]


def collect(paths: Iterable[str | FilePath]) -> list[FilePath]:
    """The files, and all ``*.mashin`` files in and below the folders, each once, in order.

    Raises ``FileNotFoundError`` with a sentence for what is not there, or a folder without any.
    """
    found: dict[FilePath, None] = {}
    for given in map(FilePath, paths):
        if given.is_dir():
            inside = sorted(path for path in given.rglob(f"*{SUFFIX}") if path.is_file())
            if not inside:
                raise FileNotFoundError(f"There is no {SUFFIX} file in the folder {given}.")
            found |= dict.fromkeys(inside)
        elif given.exists():
            found[given] = None
        else:
            raise FileNotFoundError(f"There is no file or folder {given}.")
    return list(found)


def examine_files(
    paths: Iterable[FilePath],
    effects: Collection[str] | None = None,
    generators: Collection[str] = (),
    sources: Collection[str] | None = None,
) -> list[Examined]:
    """Every file read and reviewed, also against the others: a name and a path once.

    ``sources``: Python tools and machines that tools may come from, besides the machines in these
    files; None when nobody knows them.
    """
    examined = [_examine_file(path, effects, generators) for path in paths]
    names: dict[str, FilePath] = {}
    addresses: dict[tuple[bool, str], tuple[FilePath, str]] = {}
    for index, item in enumerate(examined):
        if item.parsed is None:
            continue
        problems: list[Problem] = []
        definition = item.parsed.definition
        if definition.name in names:
            problems.append(
                Problem(
                    f'A second machine "{definition.name}"; the first is in '
                    f"{names[definition.name]}.",
                    ("name",),
                )
            )
        names.setdefault(definition.name, item.path)
        for number, surface in enumerate(definition.expresses):
            path = getattr(surface, "path", "")
            address = (surface.kind == "websocket", path)
            other = addresses.setdefault(address, (item.path, definition.name))
            if path and other[1] != definition.name:
                problems.append(
                    Problem(
                        f'The machine "{other[1]}" ({other[0]}) has the path {path} already; '
                        "give one of them another path.",
                        ("expresses", number, "path"),
                    )
                )
        examined[index] = _with_problems(item, problems)
    return examined if sources is None else _with_sources(examined, {*sources, *names})


def store_files(examined: Iterable[Examined], *, user: Any = None) -> list[Stored]:
    """Store all files, or none. Raises ``FilesError``."""
    items = list(examined)
    wrong = [item for item in items if item.errors]
    if wrong:
        raise FilesError(wrong)
    stored: list[Stored] = []
    refused: list[Examined] = []
    with transaction.atomic():
        for item in items:
            if item.parsed is None:
                continue
            try:
                stored.append(save_machine(item.parsed.definition, item.source, user=user))
            except DefinitionError as error:
                refused.append(_with_problems(item, error.problems))
        if refused:
            transaction.set_rollback(True)
    if refused:
        raise FilesError(refused)
    return stored


def read_file(path: FilePath) -> str:
    """The text of a file. Raises ``DefinitionError`` when it can't be read as one."""
    try:
        with path.open("rb") as file:
            content = file.read(MAX_SOURCE + 1)
    except OSError as error:
        raise _unreadable(f"The file can't be read: {error.strerror}.") from None
    if len(content) > MAX_SOURCE:
        raise _unreadable(f"A source has at most {MAX_SOURCE // 1024} KiB, this has more.")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = content[: error.start]
        raise _unreadable(
            f"The file is not UTF-8: found the byte 0x{content[error.start]:02X}.",
            before.count(b"\n") + 1,
            error.start - before.rfind(b"\n"),
        ) from None


def _unreadable(message: str, line: int = 1, column: int = 1) -> DefinitionError:
    return DefinitionError([Problem(message, line=line, column=column)])


def examine_stored(
    effects: Collection[str] | None = None,
    generators: Collection[str] = (),
    sources: Collection[str] | None = None,
) -> list[Examined]:
    """Every machine in the database, by its source; the ``path`` is the machine's name."""
    machines = list(Machine.objects.order_by("name"))
    examined = [
        _examine(FilePath(machine.name), machine.source, effects, generators)
        for machine in machines
    ]
    if sources is None:
        return examined
    return _with_sources(examined, {*sources, *(machine.name for machine in machines)})


def _examine_file(
    path: FilePath, effects: Collection[str] | None, generators: Collection[str]
) -> Examined:
    try:
        source = read_file(path)
    except DefinitionError as error:
        return Examined(path, "", None, tuple(error.problems))
    return _examine(path, source, effects, generators)


def _examine(
    path: FilePath, source: str, effects: Collection[str] | None, generators: Collection[str]
) -> Examined:
    try:
        parsed = examine(source, effects, generators)
    except DefinitionError as error:
        return Examined(path, source, None, tuple(error.problems))
    return Examined(path, source, parsed, tuple(parsed.warnings))


def _with_sources(examined: Iterable[Examined], known: Collection[str]) -> list[Examined]:
    """Warned of tools that come from nowhere."""
    return [
        item
        if item.parsed is None
        else _with_problems(item, unknown_sources(item.parsed.definition, known))
        for item in examined
    ]


def _with_problems(item: Examined, problems: Iterable[Problem]) -> Examined:
    places = item.parsed.source_map if item.parsed else {}
    placed = tuple(problem.at(places) for problem in problems)
    return replace(item, problems=(*item.problems, *placed))
