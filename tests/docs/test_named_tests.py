"""Pages that name the test of a guarantee name one that is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
#: The folder of the tests that a page names without one.
HOMES = {
    "client.md": "tests/client",
    "rooms.md": "tests/rooms",
    "panels.md": "tests/panels",
    "runs.md": "tests/runs",
    "incubators.md": "tests/incubators",
    "browser.md": "tests/client_js",
}


def named() -> list[tuple[str, str, str]]:
    """(page, file, test) of each test that a page names."""
    found = []
    for page, home in HOMES.items():
        text = (ROOT / "docs" / page).read_text() if (ROOT / "docs" / page).exists() else ""
        for path, name in re.findall(r"`([\w/]*test_\w+\.py)(?:::(\w+))?`", text):
            found.append((page, path if path.startswith("tests/") else f"{home}/{path}", name))
    return found


@pytest.mark.parametrize(("page", "path", "name"), named())
def test_the_test_of_a_guarantee_is_there(page: str, path: str, name: str) -> None:
    source = (ROOT / path).read_text()
    assert re.search(rf"^(async )?def {name or 'test_'}", source, re.MULTILINE)


def test_the_rooms_page_names_the_tests_of_its_guarantees() -> None:
    assert sum(page == "rooms.md" for page, _, _ in named()) > 20
