"""What is done to a panel in the admin, carried out by real servers."""

from __future__ import annotations

import asyncio
import re
import sqlite3
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from html import unescape
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest

from tests.panels.conftest import Panels
from tests.panels.test_processes import Pair, two_servers
from tests.wire.conftest import DEADLINE

pytestmark = pytest.mark.slow

STAFF = """\
from django.contrib.auth.models import Permission, User
olga = User.objects.create_user("olga", password="olga", is_staff=True)
olga.user_permissions.add(Permission.objects.get(codename="change_panel"))
"""


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    """Two servers on one database, and olga, who may operate panels on their pages."""
    with two_servers(tmp_path_factory.mktemp("admin"), None) as servers:
        servers[0].project.manage("shell", "-c", STAFF)
        yield servers


@pytest.fixture(scope="module")
def staffed(panels: Panels) -> Panels:
    """The server of most tests, with olga."""
    panels.project.manage("shell", "-c", STAFF)
    return panels


class Operator:
    """Somebody who is signed in, on the page of one panel."""

    def __init__(self, browser: httpx.AsyncClient, page: str) -> None:
        self.browser = browser
        self.page = page

    async def look(self) -> str:
        """What the page says."""
        answer = await self.browser.get(f"{self.page}change/")
        assert answer.status_code == 200
        return unescape(answer.text)

    async def send(self, form: str, **fields: str) -> httpx.Response:
        """Send one of the page's forms; what it leads to."""
        token = self.browser.cookies["csrftoken"]
        posted = {"csrfmiddlewaretoken": token, **fields}
        answer = await self.browser.post(self.page + form, data=posted)
        assert answer.status_code == 200, answer.text
        return answer

    async def trigger(self, tool: str, args: str) -> tuple[str, str]:
        """Trigger a tool; its request id, and what the page says once it is carried out."""
        answer = await self.send("trigger/", tool=tool, args=args)
        query = parse_qs(urlsplit(str(answer.url)).query)
        async with asyncio.timeout(DEADLINE):
            while "It waits for a server process" in answer.text:
                answer = await self.browser.get(answer.url)
        return query["request"][0], unescape(answer.text)


@asynccontextmanager
async def signed_in(panels: Panels, panel: str) -> AsyncIterator[Operator]:
    """olga, by the login page."""
    with sqlite3.connect(panels.project.database_file, timeout=DEADLINE) as database:
        (id,) = database.execute(
            "select id from mashin_surfaces_room where kind = 'panel' and key = ?", [panel]
        ).fetchone()
    database.close()
    page = f"/admin/mashin_surfaces/panel/{id}/"
    async with httpx.AsyncClient(
        base_url=panels.project.url(""), follow_redirects=True, trust_env=False, timeout=DEADLINE
    ) as browser:
        operator = Operator(browser, page)
        await browser.get("/admin/login/")
        login = {"username": "olga", "password": "olga", "next": f"{page}change/"}
        operator.page = "/admin/"
        await operator.send("login/", **login)
        operator.page = page
        yield operator


async def test_a_tool_triggered_in_the_admin_is_carried_out_once_in_the_name_of_who_asked(
    pair: Pair,
) -> None:
    one, two = pair
    panel = await one.create(["add"])
    async with signed_in(one, panel) as olga, two.client(panel) as member:
        id, page = await olga.trigger("add", '{"by": 5}')
        assert '<span class="mashin-badge mashin-good">success</span>' in page
        assert '"returnValue": 5' in page
        patch, event = await member.hear(), await member.hear()
        assert (patch["type"], patch["by"], patch["requestId"]) == ("PATCH", "olga", id)
        assert (event["type"], event["requestId"]) == ("EVENT", id)
        again, _ = await olga.trigger("add", '{"by": 1}')
        assert (await member.until("EVENT"))[-1]["requestId"] == again != id
        assert await member.quiet() == []
    assert await two.state(panel) == {"count": 6}
    rows = one.triggers(panel)
    assert sorted(row["request_id"] for row in rows) == sorted([id, again])
    said = {(row["principal"], row["credential"], row["outcome"]) for row in rows}
    assert said == {("olga", "session", "allowed")}
    one.project.manage("verify_ledger")


async def test_what_a_tool_that_failed_says_is_shown(staffed: Panels) -> None:
    panel = await staffed.create(["fail"])
    async with signed_in(staffed, panel) as olga:
        _, page = await olga.trigger("fail", "")
    assert '<span class="mashin-badge mashin-bad">error</span>' in page
    assert '"code": "EXECUTION_ERROR"' in page
    assert "4711" not in page
    assert await staffed.state(panel) == {}
    (row,) = staffed.triggers(panel)
    assert (row["principal"], row["outcome"]) == ("olga", "failed")


@pytest.mark.parametrize(
    ("given", "kind", "status", "state"),
    [
        ('{"is": "red"}', "value", "success", {"asked": 1, "answer": {"is": "red"}}),
        ("out sick", "error", "error", {"asked": 1}),
    ],
)
async def test_a_persons_answer_in_the_admin_makes_the_tool_go_on(
    staffed: Panels, given: str, kind: str, status: str, state: object
) -> None:
    panel = await staffed.create(["ask"])
    async with signed_in(staffed, panel) as olga, staffed.client(panel) as ada:
        id = await ada.trigger("ask", {"question": "red?"})
        waits = (await ada.until("RESULT", requestId=id))[-1]["result"]["suspension"]
        assert "waits for person.ask, triggered by ada" in re.sub(r"\s+", " ", await olga.look())
        form = f"answer/{waits['suspensionId']}/"
        answer = await olga.send(form, given=given, **{"as": kind})
        assert "It is answered" in answer.text
        result = (await ada.until("RESULT", requestId=id))[-1]["result"]
        assert result["status"] == status
        assert (await ada.until("STATUS"))[-1]["status"] == "running"
        assert ada.fold == await staffed.state(panel) == state
        again = await olga.send(form, given=given, **{"as": kind})
        assert "answered already" in again.text
