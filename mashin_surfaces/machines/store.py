"""Machines into the database: definition, revision and doors in one transaction.

Every change moves the epoch ``definitions``, so that every process looks again.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from django.db import transaction
from django.urls import URLResolver, get_resolver

from ..exceptions import DefinitionError
from .definition import MachineDefinition, OtherSurface, SurfacePart
from .models import Epoch, Machine, MachineRevision, Surface
from .problems import Problem
from .registry import DEFINITIONS
from .renderer import render
from .review_surfaces import protocol_of
from .watch import bump

SURFACE_VIEW = "mashin_surfaces:surface"


@dataclass(frozen=True, slots=True)
class Stored:
    """What ``save_machine`` did."""

    machine: Machine
    status: Literal["created", "updated", "unchanged"]


def save_machine(
    definition: MachineDefinition,
    source: str = "",
    *,
    user: Any = None,
    begun_at: int | None = None,
) -> Stored:
    """Store a definition that was reviewed; without a source it gets the rendered one.

    Raises ``DefinitionError`` when another machine, or a URL of the project, has one of its
    paths, or when the machine is not at the revision ``begun_at``, or gone. ``user`` stands in the
    revision.
    """
    source = source or render(definition)
    content = definition.as_json()
    with transaction.atomic():
        # One writer at a time: two machines that want one path must see each other.
        lock(DEFINITIONS)
        machine = Machine.objects.select_for_update().filter(name=definition.name).first()
        problems = path_problems(definition)
        if begun_at not in {None, machine.revision if machine else None}:  # or has deleted it
            problems.append(Problem("Somebody saved another revision meanwhile."))
        if problems:
            raise DefinitionError(problems)
        if machine is not None and (machine.definition, machine.source) == (content, source):
            return Stored(machine, "unchanged")
        status: Literal["created", "updated"] = "created" if machine is None else "updated"
        if machine is None:
            machine = Machine(name=definition.name, revision=0)
        machine.title = definition.title[:200]
        machine.definition = content
        machine.source = source
        machine.revision += 1
        machine.save()
        MachineRevision.objects.create(
            machine=machine,
            revision=machine.revision,
            definition=content,
            source=source,
            created_by=user if user is not None and user.pk else None,
        )
        _sync_surfaces(machine, definition)
        bump(DEFINITIONS)
    return Stored(machine, status)


def delete_machine(machine: Machine) -> None:
    """Remove a machine with its doors and revisions; what the ledger says of it stays."""
    with transaction.atomic():
        lock(DEFINITIONS)  # before the rows, as ``save_machine``: else they deadlock
        machine.delete()
        bump(DEFINITIONS)


def set_enabled(machine: Machine, enabled: bool) -> None:
    """Open or close all doors of a machine."""
    with transaction.atomic():
        lock(DEFINITIONS)
        machine.enabled = enabled
        machine.save(update_fields=["enabled", "updated_at"])
        bump(DEFINITIONS)


def touch_epoch(name: str) -> None:
    """Move an epoch, for what is changed past this module."""
    bump(name)


def lock(name: str) -> None:
    """Hold off every other writer of what an epoch is about, up to the end of the transaction."""
    Epoch.objects.get_or_create(name=name)
    Epoch.objects.select_for_update().get(name=name)


def path_problems(definition: MachineDefinition) -> list[Problem]:
    """The paths of a definition that someone else has: another machine, or the project."""
    problems: list[Problem] = []
    for index, surface in enumerate(definition.expresses):
        if isinstance(surface, OtherSurface):
            continue
        path = ("expresses", index, "path")
        protocol = protocol_of(surface.kind)
        other = (
            Surface.objects.filter(protocol=protocol, path=surface.path)
            .exclude(machine__name=definition.name)
            .values_list("machine__name", flat=True)
            .first()
        )
        if other is not None:
            problems.append(
                Problem(
                    f'The machine "{other}" has the path {surface.path} already '
                    f"({protocol}); give one of them another path.",
                    path,
                )
            )
        elif served_by := _served_by_django(surface.path):
            problems.append(
                Problem(
                    f"The project serves {surface.path} itself ({served_by}); "
                    "give the surface another path.",
                    path,
                )
            )
    return problems


def _served_by_django(path: str) -> str:
    """What in the project's URLs comes before the doors and answers a path; empty when nothing.

    Not by ``resolve``: that would ask the live doors, and what comes behind them is no matter.
    """
    resolver = get_resolver()
    match = resolver.pattern.match(path)
    found = _first_match(resolver, match[0], ()) if match else None
    return "" if found in {None, SURFACE_VIEW} else str(found)


def _first_match(resolver: URLResolver, rest: str, namespaces: tuple[str, ...]) -> str | None:
    """The name of the first view that answers; the doors answer everything."""
    for entry in resolver.url_patterns:
        if isinstance(entry, URLResolver):
            match = entry.pattern.match(rest)
            inside = (*namespaces, entry.namespace) if entry.namespace else namespaces
            found = _first_match(entry, match[0], inside) if match else None
            if found is not None:
                return found
            continue
        name = ":".join([*namespaces, entry.name or entry.lookup_str])
        if name == SURFACE_VIEW or entry.resolve(rest):
            return name
    return None


def _sync_surfaces(machine: Machine, definition: MachineDefinition) -> None:
    """The rows of the doors: those that stay keep what an operator set on them."""
    rows = {(row.kind, row.path): row for row in machine.surfaces.all()}
    wanted: dict[tuple[str, str], SurfacePart] = {
        (surface.kind, surface.path): surface
        for surface in definition.expresses
        if not isinstance(surface, OtherSurface)
    }
    gone = [row.pk for key, row in rows.items() if key not in wanted]
    Surface.objects.filter(pk__in=gone).delete()
    for (kind, path), surface in wanted.items():
        options = surface.model_dump(mode="json", exclude_unset=True, exclude={"kind", "path"})
        row = rows.get((kind, path))
        if row is None:
            Surface.objects.create(
                machine=machine,
                kind=kind,
                protocol=protocol_of(kind),
                path=path,
                options=options,
            )
        elif row.options != options:
            row.options = options
            row.save(update_fields=["options"])
