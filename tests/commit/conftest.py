"""What the tests of the writer share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from mashin_surfaces.commit import GroupCommit


@pytest.fixture
def group() -> Iterator[GroupCommit]:
    """A writer of the test's own."""
    made = GroupCommit("default")
    yield made
    made.close()
