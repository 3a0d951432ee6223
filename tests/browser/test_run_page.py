"""A run on the page of its machine in a real browser: started, followed, decided."""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic

import pytest
from playwright.sync_api import APIResponse, Locator, Page, Route, expect

from tests.live import LiveProject

from .conftest import PATIENCE, USER, OpenPage, come_back, signed_in

pytestmark = [pytest.mark.browser, pytest.mark.slow]

Shoot = Callable[[Page, str], None]
NODES = ["left", "right", "review", "total"]
#: Sends what is filled in twice, as two clicks do of which the second one comes before the answer:
#: where each of them led to.
SEND_TWICE = """async () => {
  const form = document.querySelector("form");
  const body = new URLSearchParams(new FormData(form));
  const send = () => fetch(form.action, { method: "POST", body });
  const answers = await Promise.all([send(), send()]);
  return answers.map(({ url }) => url);
}"""


@pytest.fixture(scope="module", autouse=True)
def _root(project: LiveProject) -> None:
    project.manage("shell", "-v", "0", "-c", USER)


def start(page: Page) -> str:
    """Start a run by the form; the path of its page."""
    page.get_by_label("Amount").fill("10")
    page.get_by_role("button", name="Run").click()
    page.wait_for_url("**/checkout?run=*")
    return "/" + page.url.split("/", 3)[3]


def node(page: Page, name: str) -> Locator:
    return page.locator(f'#run-graph a[href="#node-{name}"]')


def has_status(page: Page, name: str, status: str) -> None:
    expect(node(page, name)).to_have_attribute("data-status", status)


def follows(page: Page, state: str) -> None:
    expect(page.locator("#run-live")).to_have_attribute("data-state", state)


def test_who_approves_by_a_click_sends_the_run_on_before_everybodys_eyes(
    open_page: OpenPage, shoot: Shoot
) -> None:
    decider = signed_in(open_page, "/checkout", viewport={"width": 1280, "height": 900})
    path = start(decider)
    watcher = signed_in(open_page, path)
    stranger = open_page(path)
    follows(watcher, "live")
    follows(stranger, "gone")
    for page in (decider, watcher, stranger):
        expect(page.locator("#run-graph a")).to_have_count(len(NODES))
        has_status(page, "review", "paused")
        expect(page.get_by_role("heading", name="Pay the total?")).to_be_visible()
        page.evaluate("window.isSame = true")
    expect(stranger.get_by_role("link", name="Sign in to decide")).to_be_visible()
    expect(stranger.get_by_role("button")).to_have_count(0)
    shoot(decider, "run-page-waits")

    decider.get_by_label("Feedback").fill("Looks good.")
    decider.get_by_role("button", name="Approve").click()
    for page in (decider, watcher, stranger):
        for name in NODES:
            has_status(page, name, "completed")
        expect(page.locator("#run-says")).to_have_text("completed 4 of 4 steps are done.")
        expect(page.locator("#run-result")).to_contain_text("31")
        expect(page.locator("#run-story")).to_contain_text("Review: approved by root: Looks good.")
        expect(page.get_by_role("heading", name="Pay the total?")).to_have_count(0)
        expect(page).to_have_title("completed · Checkout")
    assert watcher.evaluate("window.isSame"), "it was not loaded anew"
    assert stranger.evaluate("window.isSame"), "it was not loaded anew"
    shoot(decider, "run-page-completed")


@pytest.mark.parametrize("has_script", [True, False])
def test_who_clicks_twice_has_started_one_run(
    open_page: OpenPage, project: LiveProject, has_script: bool
) -> None:
    page = signed_in(open_page, "/checkout", java_script_enabled=has_script)
    before = runs(project)
    page.get_by_label("Amount").fill("10")
    page.get_by_role("button", name="Run").dblclick()
    page.wait_for_url("**/checkout?run=*")
    assert runs(project) == before + 1


def test_a_form_that_is_sent_twice_at_once_leads_to_one_run(
    open_page: OpenPage, project: LiveProject
) -> None:
    page = signed_in(open_page, "/checkout")
    before = runs(project)
    page.get_by_label("Amount").fill("10")
    first, second = page.evaluate(SEND_TWICE)
    assert "/checkout?run=" in first
    assert second == first
    assert runs(project) == before + 1


def runs(project: LiveProject) -> int:
    """How many there are."""
    code = "from mashin_surfaces.models import Run; print(Run.objects.count())"
    return int(project.manage("shell", "-v", "0", "-c", code))


def test_the_forms_page_leads_to_runs_that_wait(open_page: OpenPage) -> None:
    page = signed_in(open_page, "/checkout")
    path = start(page)
    page.get_by_role("link", name="Start another run").click()
    page.locator(f'#recent-runs a[href="{path.removeprefix("/checkout")}"]').click()
    has_status(page, "review", "paused")


def test_a_server_may_restart_under_the_page(
    open_page: OpenPage, project: LiveProject, complaints: list[str]
) -> None:
    page = signed_in(open_page, "/checkout")
    path = start(page)
    follows(page, "live")
    has_status(page, "review", "paused")
    page.evaluate("window.isSame = true")
    project.kill()
    follows(page, "lost")
    expect(page.locator("#run-live")).to_be_visible()
    expect(page.get_by_role("heading", name="Pay the total?")).to_be_visible()
    project.start()
    come_back(page)
    follows(page, "live")
    decider = signed_in(open_page, path)
    decider.get_by_role("button", name="Approve").click()
    for name in NODES:
        has_status(page, name, "completed")
    expect(page.locator("#run-says")).to_have_text("completed 4 of 4 steps are done.")
    for sentence in ("Left: done.", "Right: done.", "Review: approved by root", "Total: done."):
        expect(page.locator("#run-story")).to_contain_text(sentence)
    assert page.evaluate("window.isSame"), "it was not loaded anew"
    complaints.clear()  # of refused connections


def withhold(page: Page, address: str) -> Callable[[], object]:
    """What is there is not to be had, until it is given."""
    given: list[bool] = []
    page.route(address, lambda route: route.continue_() if given else route.abort())
    return lambda: given.append(True)


def test_who_can_t_look_at_the_page_when_a_run_ends_looks_again(
    open_page: OpenPage, complaints: list[str]
) -> None:
    page = signed_in(open_page, "/checkout")
    path = start(page)
    follows(page, "live")
    has_status(page, "review", "paused")
    give = withhold(page, "**/checkout?run=*")
    signed_in(open_page, path).get_by_role("button", name="Approve").click()
    for name in NODES:
        has_status(page, name, "completed")
    for _ in range(2):  # the second one is no look that something has asked for
        page.wait_for_event("requestfailed", timeout=PATIENCE)
    give()
    expect(page.locator("#run-says")).to_have_text("completed 4 of 4 steps are done.")
    complaints.clear()  # of what was not to be had


def test_an_answer_that_was_long_on_its_way_does_not_take_a_newer_one_s_place(
    open_page: OpenPage,
) -> None:
    page = signed_in(open_page, "/checkout")
    path = start(page)
    follows(page, "live")
    has_status(page, "review", "paused")
    held: list[tuple[Route, APIResponse]] = []

    def answer(route: Route) -> None:
        if held:
            route.continue_()
        else:
            held.append((route, route.fetch()))

    page.route("**/checkout?run=*", answer)
    decider = signed_in(open_page, path)
    with page.expect_request("**/checkout?run=*"):
        decider.get_by_role("button", name="Pause").click()
    expect(decider.get_by_role("button", name="Resume")).to_be_visible()
    decider.get_by_role("button", name="Resume").click()
    decider.get_by_role("button", name="Approve").click()
    says = page.locator("#run-says")
    expect(says).to_have_text("completed 4 of 4 steps are done.")
    [(route, old)] = held
    with page.expect_event("requestfinished"):
        route.fulfill(response=old)
    page.evaluate("fetch(location.href).then((answer) => answer.text())")  # so it was read, too
    expect(says).to_have_text("completed 4 of 4 steps are done.")


def test_what_lays_out_the_graph_may_come_late_and_shows_the_run_as_it_is_by_then(
    open_page: OpenPage, complaints: list[str]
) -> None:
    page = signed_in(open_page, "/checkout")
    give = withhold(page, "**/dagre.esm.js*")
    start(page)
    follows(page, "live")
    page.get_by_role("button", name="Approve").click()
    expect(page.locator("#run-says")).to_have_text("completed 4 of 4 steps are done.")
    expect(page.locator("#run-graph")).to_be_hidden()
    give()
    for name in NODES:
        has_status(page, name, "completed")
    complaints.clear()  # of what was not to be had


def test_without_a_script_a_run_is_started_rejected_and_left(open_page: OpenPage) -> None:
    page = signed_in(open_page, "/checkout", java_script_enabled=False)
    start(page)
    expect(page.locator("#run-graph")).to_be_hidden()
    expect(page.locator("#run-nodes tbody tr")).to_have_count(len(NODES))
    until_it_says(page, "Somebody has to decide.")
    page.get_by_text("Cancel …").click()
    expect(page.get_by_role("button", name="Yes, cancel it")).to_be_visible()
    page.get_by_label("A rejection").select_option("ends the run")
    page.get_by_role("button", name="Reject").click()
    until_it_says(page, "cancelled")
    expect(page.get_by_role("button")).to_have_count(0)


def until_it_says(page: Page, text: str) -> None:
    """Without a script somebody loads the page again until it says so."""
    deadline = monotonic() + PATIENCE / 1000
    while text not in page.locator("#run-says").inner_text():
        assert monotonic() < deadline, f"The page never said: {text}"
        page.reload()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 400, 320])
def test_the_page_fits_its_window(
    open_page: OpenPage, width: int, scheme: str, shoot: Shoot
) -> None:
    size = {"width": width, "height": 900}
    page = signed_in(open_page, "/checkout", viewport=size, color_scheme=scheme)
    start(page)
    follows(page, "live")
    has_status(page, "review", "paused")
    expect(page.get_by_role("button", name="Approve")).to_be_visible()
    shoot(page, f"run-page-{scheme}-{width}")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
