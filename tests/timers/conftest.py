"""What the tests of timers share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from mashin_surfaces.timers.clock import Clock, clock


@pytest.fixture
def own_clock(transactional_db: None) -> Iterator[Clock]:
    """A clock of the test's own, with no job yet."""
    made = Clock()
    yield made
    made.stop()


@pytest.fixture(autouse=True)
def no_clock_left(transactional_db: None) -> Iterator[None]:
    yield
    clock.stop()
