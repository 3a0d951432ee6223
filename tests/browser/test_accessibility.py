"""Every page in its states: as axe-core judges it, light and dark; used by the keyboard alone; and
how often what streams over it is read out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

import pytest
from playwright.sync_api import Locator, Page, expect

from tests import npm
from tests.live import LiveProject

from . import test_live, test_page
from .conftest import OpenPage
from .test_run_admin import START

pytestmark = [pytest.mark.browser, pytest.mark.slow]

SCHEMES: tuple[Literal["light", "dark"], ...] = ("light", "dark")
#: What axe-core finds in the frame that Django's admin has around everything, against no rule of
#: WCAG: the label of its search box is a picture.
OF_DJANGO = "label-title-only: #searchbar"
JUDGE = """async () => {
  const isOver = document.getAnimations().filter((each) => each instanceof CSSTransition);
  await Promise.all(isOver.map(({ finished }) => finished)); // colours on their way are none
  const { violations } = await axe.run(document, { resultTypes: ["violations"] });
  return violations
    .filter(({ impact }) => ["serious", "critical"].includes(impact))
    .flatMap(({ id, nodes }) => nodes.map(({ target }) => `${id}: ${target}`));
}"""
ADMIN = "/admin/"
MODELS = ["apikey", "gate", "incubator", "machine", "panel", "room", "run", "surface"]
#: How often somebody presses Tab at most until they are where they want to be.
MOST_TABS = 60

#: Values that come over a page, one after the other, and how often that may be read out.
VALUES, MOST_SAID = 50, 3
#: Keeps in ``window.said`` what live regions are read out: what changes in one that is seen, unless
#: it is busy (``aria-busy``); then it is read out when it no longer is.
HEAR = """() => {
  window.said = [];
  const LIVE = "[aria-live]:not([aria-live=off]), [role=status], [role=alert], [role=log]";
  for (const region of document.querySelectorAll(LIVE)) {
    new MutationObserver((changes) => {
      const isHeard = changes.some(({ target }) => {
        const place = target.nodeType === Node.ELEMENT_NODE ? target : target.parentElement;
        return place?.isConnected && !place.closest("[aria-busy=true], [hidden]");
      });
      if (isHeard) window.said.push(region.textContent.trim().slice(0, 60));
    }).observe(region, {
      subtree: true, childList: true, characterData: true, attributeFilter: ["aria-busy", "hidden"],
    });
  }
}"""
TRIGGER = """async (times) => {
  const { connectPanel } = await import("/static/mashin_surfaces/client.js");
  const panel = connectPanel("/ws/workshop");
  for (let n = 0; n < times; n += 1) await panel.trigger("add", { by: 1 });
  panel.close();
}"""
EVENTS = """
from mashin_surfaces.incubators import store
from mashin_surfaces.rooms.events import NewEvent
from mashin_surfaces.rooms.log import append
room = store.find("loud").pk
for n in range({times}):
    append(room, [NewEvent("event", '{{"event_type":"said","data":%d,"agent_id":"a"}}' % n)])
"""


@pytest.fixture(scope="module")
def used(project: LiveProject, session: Any) -> Any:
    """Who is signed in where the admin has something to list: a run at its gate, a key."""
    project.manage("shell", "-v", "0", "-c", START)
    project.api_key("reader", "machines:run")
    return session


# -- axe-core --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def axe(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The source of axe-core."""
    folder = tmp_path_factory.mktemp("axe")
    npm.install(folder, "axe-core@4.10.3")
    return Path(folder / "node_modules" / "axe-core" / "axe.min.js").read_text()


def as_it_is(page: Page) -> None:
    expect(page.locator("h1")).to_be_visible()


def answered(page: Page) -> None:
    test_page.connected(page)
    test_page.fill(page)
    page.get_by_role("button", name="Run").click()
    test_page.expect_plan(page)


def refused(page: Page) -> None:
    test_page.connected(page)
    test_page.fill(page, name="ab")
    page.get_by_role("button", name="Run").click()
    expect(page.get_by_role("alert")).to_be_visible()


def streams(page: Page) -> None:
    test_page.connected(page)
    page.get_by_label("To").fill("3")
    page.get_by_label("Ends").uncheck()
    page.get_by_role("button", name="Run").click()
    expect(page.locator("#result .number")).to_have_text("3")


def follows_live_values(page: Page) -> None:
    expect(page.locator("#live .chart canvas")).to_be_visible()


def waits_at_its_gate(page: Page) -> None:
    page.get_by_label("Amount").fill("10")
    page.get_by_role("button", name="Run").click()
    page.wait_for_url("**/checkout?run=*")
    expect(page.get_by_role("heading", name="Pay the total?")).to_be_visible()
    expect(page.locator("#run-graph a").first).to_be_visible()


def has_ended(page: Page) -> None:
    waits_at_its_gate(page)
    page.get_by_role("button", name="Approve").click()
    expect(page.locator("#run-says")).to_contain_text("completed")
    expect(page.locator("#run-result")).to_contain_text("31")


def panel_waits(page: Page) -> None:
    expect(page.locator("#panel")).to_have_attribute("data-live", "")
    page.locator('[data-tool="add"]').get_by_role("button", name="Run").click()
    expect(page.locator('[data-tool="add"] .outcome')).to_contain_text("done")
    asking = page.locator('[data-tool="ask"]')
    asking.get_by_label("Question").fill("Red or blue?")
    asking.get_by_role("button", name="Run").click()
    expect(page.locator("#panel-waiting article").first).to_be_visible()


def panel_refused(page: Page) -> None:
    expect(page.locator("#panel")).to_have_attribute("data-live", "")
    form = page.locator('[data-tool="anything"]')
    form.get_by_label("Arguments").fill("{name}")
    form.get_by_role("button", name="Run").click()
    expect(form.locator(".field-errors")).to_have_text("This is not JSON.")


def bus_used(page: Page) -> None:
    expect(page.locator("#bus")).to_have_attribute("data-live", "")
    page.locator("#publish").get_by_label("Event").fill("task.started")
    page.get_by_role("button", name="Publish").click()
    expect(page.locator("#log li").first).to_be_visible()


def bus_refused(page: Page) -> None:
    expect(page.locator("#bus")).to_have_attribute("data-live", "")
    page.locator("#publish").get_by_label("Data").fill("{n}")
    page.locator("#publish").get_by_label("Event").fill("task.started")
    page.get_by_role("button", name="Publish").click()
    expect(page.locator("#publish [aria-invalid]")).to_be_visible()


#: By what it is called: the path, and what somebody does there.
STATES: Mapping[str, tuple[str, Callable[[Page], None]]] = {
    "the index": ("/", as_it_is),
    "a form": ("/planner", as_it_is),
    "a form with its answer": ("/planner", answered),
    "a form with errors": ("/planner", refused),
    "a stream": ("/counter", streams),
    "live values": ("/dashboard", follows_live_values),
    "a run at its gate": ("/checkout", waits_at_its_gate),
    "a run that has ended": ("/checkout", has_ended),
    "a panel that waits": ("/workshop", panel_waits),
    "a panel's form with errors": ("/workshop", panel_refused),
    "a bus": ("/hive", bus_used),
    "a bus with errors": ("/hive", bus_refused),
    "what is not there": ("/checkout?run=nowhere", as_it_is),
    "the admin's dashboard": (ADMIN, lambda page: expect(page.locator("#content")).to_be_visible()),
}


@pytest.mark.parametrize("state", STATES)
def test_nothing_serious_is_found_in(
    open_page: OpenPage, axe: str, session: Any, state: str, complaints: list[str]
) -> None:
    path, come_to = STATES[state]
    page = open_page(path, storage_state=session, reduced_motion="reduce")
    come_to(page)
    assert judged(page, axe) == []
    complaints[:] = [text for text in complaints if "404" not in text]  # the page's own status


@pytest.mark.parametrize("model", [*MODELS, "surfaceaccess"])
def test_nothing_serious_is_found_in_the_admins_list(
    open_page: OpenPage, axe: str, used: Any, model: str
) -> None:
    path = f"{ADMIN}mashin_surfaces/{model}/"
    page = open_page(path, storage_state=used, reduced_motion="reduce")
    expect(page.locator("#changelist")).to_be_visible()
    assert [wrong for wrong in judged(page, axe) if not wrong.endswith(OF_DJANGO)] == []


def judged(page: Page, axe: str) -> list[str]:
    """What is wrong with it in light and dark."""
    page.evaluate(axe)
    found: list[str] = []
    for scheme in SCHEMES:
        page.emulate_media(color_scheme=scheme)
        found += (f"{scheme}: {wrong}" for wrong in page.evaluate(JUDGE))
    return found


# -- the keyboard alone ----------------------------------------------------------------------------


def tab_to(page: Page, wanted: Locator) -> None:
    """Press Tab until the element has the focus."""
    expect(wanted).to_be_visible()
    for _ in range(MOST_TABS):
        page.keyboard.press("Tab")
        if wanted.evaluate("(element) => element === document.activeElement"):
            return
    raise AssertionError(f"{MOST_TABS} times Tab do not lead to {wanted}.")


def test_the_keyboard_is_enough_for_a_form(open_page: OpenPage) -> None:
    page = open_page("/planner")
    test_page.connected(page)
    tab_to(page, page.get_by_role("link", name="Skip to content"))
    page.keyboard.press("Enter")
    tab_to(page, page.get_by_label("Name of the dinner"))
    page.keyboard.type("Harvest")
    tab_to(page, page.get_by_label("Guests"))
    page.keyboard.type("4")
    tab_to(page, page.get_by_label("Vegetarian"))
    page.keyboard.press("Space")
    tab_to(page, page.get_by_role("button", name="Run"))
    page.keyboard.press("Enter")
    expect(page.locator("#result .number").first).to_have_text("4")
    expect(page.locator("#result .badge")).to_have_text("Yes")


def test_the_keyboard_is_enough_to_start_a_run_and_approve_it(
    open_page: OpenPage, session: Any
) -> None:
    page = open_page("/checkout", storage_state=session)
    tab_to(page, page.get_by_label("Amount"))
    page.keyboard.type("10")
    page.keyboard.press("Enter")
    page.wait_for_url("**/checkout?run=*")
    tab_to(page, page.get_by_label("Feedback"))
    page.keyboard.type("Fine.")
    tab_to(page, page.get_by_role("button", name="Approve"))
    page.keyboard.press("Enter")
    expect(page.locator("#run-says")).to_contain_text("completed")
    expect(page.locator("#run-story")).to_contain_text("approved by root: Fine.")
    tab_to(page, page.locator('#run-graph a[href="#node-review"]'))
    page.keyboard.press("Enter")
    expect(page.locator("tr:target")).to_have_id("node-review")


def test_the_keyboard_is_enough_for_a_panel(open_page: OpenPage, session: Any) -> None:
    page = open_page("/workshop", storage_state=session)
    expect(page.locator("#panel")).to_have_attribute("data-live", "")
    add, ask = (page.locator(f'[data-tool="{name}"]') for name in ("add", "ask"))
    tab_to(page, add.get_by_label("By"))
    page.keyboard.type("3")
    tab_to(page, add.get_by_role("button", name="Run"))
    page.keyboard.press("Enter")
    expect(add.locator(".outcome")).to_contain_text("done")
    tab_to(page, ask.get_by_label("Question"))
    page.keyboard.type("By which key?")
    tab_to(page, ask.get_by_role("button", name="Run"))
    page.keyboard.press("Enter")
    waits = page.locator("#panel-waiting article", has_text="By which key?").last
    tab_to(page, waits.get_by_label("Answer", exact=True))
    page.keyboard.type("Tab")
    tab_to(page, waits.get_by_role("button", name="Answer", exact=True))
    page.keyboard.press("Enter")
    expect(ask.locator(".outcome")).to_contain_text("Tab")


def test_the_keyboard_is_enough_for_a_bus(open_page: OpenPage, session: Any) -> None:
    page = open_page("/hive", storage_state=session)
    expect(page.locator("#bus")).to_have_attribute("data-live", "")
    form = page.locator("#publish")
    tab_to(page, form.get_by_label("Event"))
    page.keyboard.type("typed")
    tab_to(page, form.get_by_label("Data"))
    page.keyboard.type("5")
    tab_to(page, form.get_by_role("button", name="Publish"))
    page.keyboard.press("Enter")
    expect(page.locator("#log li").first).to_contain_text("typed")
    tab_to(page, page.get_by_role("button", name="Pause"))
    page.keyboard.press("Enter")
    expect(page.locator("#bus-standing")).to_contain_text("paused")
    tab_to(page, page.get_by_role("button", name="Resume"))
    page.keyboard.press("Enter")
    expect(page.locator("#bus-standing")).to_contain_text("open")


# -- what is read out ------------------------------------------------------------------------------


def said(page: Page) -> list[str]:
    """What live regions were read out since ``HEAR``."""
    told: list[str] = page.evaluate("window.said")
    return told


def test_a_stream_is_read_out_when_it_has_ended(open_page: OpenPage) -> None:
    page = open_page("/counter")
    test_page.connected(page)
    page.evaluate(HEAR)
    page.get_by_label("To").fill(str(VALUES))
    page.get_by_role("button", name="Run").click()
    expect(page.locator("#result .number")).to_have_text(str(VALUES))
    expect(page.locator("#result")).not_to_have_attribute("aria-busy", "true")
    assert 1 <= len(said(page)) <= MOST_SAID, said(page)


def test_live_values_are_not_read_out(open_page: OpenPage, project: LiveProject) -> None:
    page = open_page("/board?board=quiet")
    test_live.following(page)
    page.evaluate(HEAR)
    test_live.publish(project, "quiet", *range(VALUES))
    test_live.reached(page, VALUES)
    assert said(page) == []


def test_what_happens_on_a_panel_is_hardly_read_out(open_page: OpenPage) -> None:
    page = open_page("/workshop")
    expect(page.locator("#panel")).to_have_attribute("data-live", "")
    page.evaluate(HEAR)
    page.evaluate(TRIGGER, VALUES)
    expect(page.locator("#log-count")).to_contain_text(str(2 * VALUES))
    assert len(said(page)) <= MOST_SAID, said(page)


def test_what_happens_on_a_bus_is_hardly_read_out(
    open_page: OpenPage, project: LiveProject
) -> None:
    project.manage("shell", "-v", "0", "-c", EVENTS.format(times=1))
    page = open_page("/hive?namespace=loud")
    expect(page.locator("#bus")).to_have_attribute("data-live", "")
    page.evaluate(HEAR)
    project.manage("shell", "-v", "0", "-c", EVENTS.format(times=VALUES))
    expect(page.locator("#log-count")).to_contain_text(str(VALUES))
    assert len(said(page)) <= MOST_SAID, said(page)
