"""How a page looks at itself anew (``look.js``): in Chromium, with answers of the test's own."""

from __future__ import annotations

import pytest
from playwright.sync_api import Page

from .conftest import OpenPage
from .test_client import BE

pytestmark = [pytest.mark.browser, pytest.mark.slow]

#: Has ``look``; ``answers``: a function for each time that the page was asked for; ``seen``: the
#: titles of the pages that were shown; ``until(isThere)``.
PREPARE = """async () => {
  const { Look } = await import("/static/mashin_surfaces/look.js");
  Object.assign(window, { answers: [], seen: [], look: new Look(({ title }) => seen.push(title)) });
  window.fetch = () => new Promise((resolve) => answers.push((text, status = 200) =>
    resolve(new Response(`<title>${text}</title>`, { status }))));
  window.until = async (isThere) => {
    for (let tries = 0; !isThere(); tries++) {
      if (tries === 2000) throw new Error(`It never came: ${isThere}`);
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  };
}"""


@pytest.fixture
def page(open_page: OpenPage) -> Page:
    page = open_page("/counter")
    page.evaluate(PREPARE)
    return page


@pytest.mark.parametrize("order", [[0, 1], [1, 0]])
def test_what_was_asked_for_before_does_not_take_the_place_of_what_is_wanted_now(
    page: Page, order: list[int]
) -> None:
    page.evaluate("() => { look.now(); look.now(); }")
    for number in order:
        page.evaluate("(n) => { answers[n](n); return new Promise((r) => setTimeout(r)); }", number)
    page.evaluate("until(() => seen.includes('1'))")
    assert page.evaluate("seen") == ["1"]


def test_a_tab_that_is_seen_again_looks_once_however_much_has_changed(page: Page) -> None:
    page.evaluate(BE, "hidden")
    page.evaluate("for (let change = 0; change < 5; change++) look.now()")
    page.evaluate(BE, "visible")
    assert page.evaluate("answers.length") == 1


def test_who_finds_the_server_away_looks_again(page: Page) -> None:
    page.evaluate("look.now(); answers[0]('', 503)")
    page.evaluate("until(() => answers.length === 2)")
    page.evaluate("answers[1]('there')")
    page.evaluate("until(() => seen.includes('there'))")
