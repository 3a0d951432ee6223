"""A real Chromium in front of a real server; any complaint in the console fails the test."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, expect

from tests.browsers import chromium
from tests.live import ROOT, LiveProject

HERE = Path(__file__).parent
#: Milliseconds within which anything is seen.
PATIENCE = 20_000

OpenPage = Callable[..., Page]

expect.set_options(timeout=PATIENCE)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Of the module, not of the session: its loop would be in the way of asynchronous tests."""
    with chromium() as made:
        yield made


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveProject]:
    served = LiveProject(
        tmp_path_factory.mktemp("browser"),
        env={
            "DJANGO_SETTINGS_MODULE": "tests.browser.settings",
            "MASHIN_ASK": "assume",
            "MASHIN_MODULES": "tests.browser.effects",
        },
        machines=[HERE / "machines", ROOT / "project" / "machines" / "live_metrics.mashin"],
        options=["--static"],
    )
    with served:
        yield served


LOGIN = "/admin/login/?next="
PASSWORD = "a-password-for-root"
USER = f"""
from django.contrib.auth.models import User
User.objects.filter(username="root").exists() or User.objects.create_superuser(
    "root", password={PASSWORD!r})
"""


def signed_in(open_page: OpenPage, path: str, **options: object) -> Page:
    """The page as ``root`` sees it, whom ``USER`` has made."""
    page = open_page(f"{LOGIN}{path}", **options)
    _give_password(page)
    page.mouse.move(0, 0)
    return page


@pytest.fixture(scope="module")
def session(browser: Browser, project: LiveProject) -> Any:
    """What the browser of ``root`` keeps (``storage_state``), for who signs in once."""
    project.manage("shell", "-v", "0", "-c", USER)
    context = browser.new_context(base_url=project.url("/"))
    page = context.new_page()
    page.goto(f"{LOGIN}/")
    _give_password(page)
    page.wait_for_url("**/")
    kept = context.storage_state()
    context.close()
    return kept


def _give_password(page: Page) -> None:
    page.get_by_label("Username").fill("root")
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Log in").click()


def come_back(page: Page) -> None:
    """Have the client try now: its own next attempt may be half a minute away."""
    page.evaluate("dispatchEvent(new Event('online'))")


@pytest.fixture
def complaints() -> list[str]:
    """What the console complained of; a test that expects complaints empties it."""
    return []


@pytest.fixture
def open_page(browser: Browser, project: LiveProject, complaints: list[str]) -> Iterator[OpenPage]:
    """``open_page(path, **context)``: a page in a browser context of its own."""
    contexts = []

    def hear(message: ConsoleMessage) -> None:
        if message.type in {"error", "warning"}:
            complaints.append(f"{message.text} ({message.location})")

    def open_it(path: str, **options: Any) -> Page:
        context = browser.new_context(base_url=project.url("/"), **options)
        context.set_default_timeout(PATIENCE)
        contexts.append(context)
        page = context.new_page()
        page.on("console", hear)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.goto(path)
        return page

    yield open_it
    for context in contexts:
        context.close()
    assert complaints == []


@pytest.fixture
def shoot() -> Callable[[Page, str], None]:
    """Keep a picture in the folder ``SCREENSHOTS``, when there is one."""
    folder = os.environ.get("SCREENSHOTS")

    def shoot_it(page: Page, name: str) -> None:
        if folder:
            page.screenshot(path=Path(folder) / f"{name}.png", full_page=True)

    return shoot_it
