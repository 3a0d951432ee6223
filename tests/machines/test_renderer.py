"""What is rendered is read back as what it was."""

from __future__ import annotations

import pytest
from hypothesis import given, settings

from mashin_surfaces.exceptions import DefinitionError
from mashin_surfaces.machines.definition import MachineDefinition
from mashin_surfaces.machines.parser import parse
from mashin_surfaces.machines.renderer import render

from .definitions import definitions


@settings(max_examples=60)
@given(definitions)
def test_every_definition_is_read_back_from_its_rendering(definition: MachineDefinition) -> None:
    source = render(definition)
    try:
        read = parse(source).definition
    except DefinitionError as error:
        pytest.fail(f"{source}\n{error}\n{definition!r}")
    assert read == definition, source
    assert render(read) == source
