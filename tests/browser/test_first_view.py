"""How much script a page loads before it is of use: bytes as they are, not compressed."""

from __future__ import annotations

from typing import Any

import pytest
from playwright.sync_api import Page, Response

from .conftest import OpenPage
from .test_run_page import start

pytestmark = [pytest.mark.browser, pytest.mark.slow]

MOST_BYTES = 100_000
PAGES = ["/", "/planner", "/counter", "/dashboard", "/checkout", "/workshop", "/hive"]


@pytest.mark.parametrize("path", PAGES)
def test_the_first_view_loads_less_than_100_kb_of_script(
    open_page: OpenPage, session: Any, path: str
) -> None:
    page = open_page(path, storage_state=session)
    sizes = loaded_by(page)
    assert sum(sizes.values()) < MOST_BYTES, sizes


def test_so_does_the_first_view_of_a_run(open_page: OpenPage, session: Any) -> None:
    page = open_page("/checkout", storage_state=session)
    start(page)
    sizes = loaded_by(page)
    assert any(url.endswith("/dagre.esm.js") for url in sizes), "its graph is part of it"
    assert sum(sizes.values()) < MOST_BYTES, sizes


def loaded_by(page: Page) -> dict[str, int]:
    """Bytes of each script that the page loads, when none of them is in the browser's cache."""
    sizes: dict[str, int] = {}

    def weigh(response: Response) -> None:
        if response.request.resource_type == "script":
            sizes[response.url] = len(response.body())

    context: Any = page.context
    context.new_cdp_session(page).send("Network.setCacheDisabled", {"cacheDisabled": True})
    page.on("response", weigh)
    page.reload(wait_until="networkidle")
    return sizes
