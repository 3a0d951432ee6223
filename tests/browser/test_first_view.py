"""How much a page loads until it is there (its event ``load``): bytes of scripts and styles as they
stand on the disk, not compressed."""

from __future__ import annotations

from typing import Any

import pytest
from playwright.sync_api import Page, expect

from .conftest import OpenPage
from .test_run_page import start

pytestmark = [pytest.mark.browser, pytest.mark.slow]

MOST_BYTES = 100_000
PAGES = ["/", "/planner", "/counter", "/dashboard", "/checkout", "/workshop", "/hive"]
LOADED = """() => {
  const [{ loadEventStart }] = performance.getEntriesByType("navigation");
  return performance.getEntriesByType("resource")
    .filter(({ name, startTime }) => /[.](js|css)$/.test(name) && startTime < loadEventStart)
    .map(({ name, decodedBodySize }) => [name.split("/").at(-1), decodedBodySize]);
}"""


@pytest.mark.parametrize("path", PAGES)
def test_the_first_view_loads_less_than_100_kb(
    open_page: OpenPage, session: Any, path: str
) -> None:
    sizes = loaded_by(open_page(path, storage_state=session))
    assert "surfaces.css" in sizes
    assert sum(sizes.values()) < MOST_BYTES, sizes


def test_so_does_the_first_view_of_a_run_whose_graph_comes_after_it(
    open_page: OpenPage, session: Any
) -> None:
    page = open_page("/checkout", storage_state=session)
    start(page)
    expect(page.locator("#run-graph a").first).to_be_visible()
    sizes = loaded_by(page)
    assert "run.js" in sizes
    assert "dagre.esm.js" not in sizes
    assert sum(sizes.values()) < MOST_BYTES, sizes


def loaded_by(page: Page) -> dict[str, int]:
    """Bytes of each script and stylesheet that the page has asked for until it was there."""
    page.wait_for_load_state("load")
    sizes: dict[str, int] = dict(page.evaluate(LOADED))
    assert all(sizes.values()), sizes
    return sizes
