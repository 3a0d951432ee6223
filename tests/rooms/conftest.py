"""What the tests of rooms share."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from mashin_surfaces.rooms.hub import Hub


@pytest.fixture
async def own_hub(transactional_db: None) -> AsyncIterator[Hub]:
    """A hub of the test's own, which listens."""
    made = Hub()
    made.start()
    yield made
    await made.close()
