"""One real server for the tests that leave it unharmed."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.chaos.clients import ENVIRONMENT, WIRE
from tests.live import LiveProject


@pytest.fixture(scope="session")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveProject]:
    folder = tmp_path_factory.mktemp("chaos")
    with LiveProject(folder, env=ENVIRONMENT, machines=[WIRE / "machines"]) as project:
        yield project
