"""What is done in the admin reaches agents on their sockets, and what they are is shown there."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import pytest

from tests.incubators.conftest import Hive
from tests.wire.conftest import DEADLINE

pytestmark = pytest.mark.slow

STAFF = """\
from django.contrib.auth.models import Permission, User
olga = User.objects.create_user("olga", password="olga", is_staff=True)
for codename in ("change_incubator", "delete_incubator", "view_serverprocess"):
    olga.user_permissions.add(Permission.objects.get(codename=codename))
"""


@pytest.fixture(scope="module")
def staffed(hive: Hive) -> Hive:
    """The server, with olga, who may control and reset namespaces on their pages."""
    hive.project.manage("shell", "-c", STAFF)
    return hive


class Operator:
    """Somebody who is signed in, on the page of one namespace."""

    def __init__(self, browser: httpx.AsyncClient, page: str) -> None:
        self.browser = browser
        self.page = page

    async def send(self, form: str, **fields: str) -> str:
        """Send one of the page's forms; the page that it leads to."""
        token = self.browser.cookies["csrftoken"]
        posted = {"csrfmiddlewaretoken": token, **fields}
        answer = await self.browser.post(self.page + form, data=posted)
        assert answer.status_code == 200, answer.text
        return answer.text


@asynccontextmanager
async def signed_in(hive: Hive, namespace: str) -> AsyncIterator[Operator]:
    """olga, by the login page."""
    with sqlite3.connect(hive.project.database_file, timeout=DEADLINE) as database:
        (id,) = database.execute(
            "select id from mashin_surfaces_room where kind = 'incubator' and key = ?", [namespace]
        ).fetchone()
    database.close()
    page = f"/admin/mashin_surfaces/incubator/{id}/"
    async with httpx.AsyncClient(
        base_url=hive.project.url(""), follow_redirects=True, trust_env=False, timeout=DEADLINE
    ) as browser:
        await browser.get("/admin/login/")
        login = {"username": "olga", "password": "olga", "next": f"{page}change/"}
        await Operator(browser, "/admin/").send("login/", **login)
        yield Operator(browser, page)


async def test_control_in_the_admin_reaches_a_connected_agent(staffed: Hive) -> None:
    namespace = staffed.fresh()
    worker = staffed.token("worker", "bus:observe", "bus:publish", "bus:act")
    async with staffed.agent(namespace, worker) as agent:
        await agent.until("replay_done")
        async with signed_in(staffed, namespace) as olga:
            assert "It is halted" in await olga.send("control/", command="halt", reason="enough")
            told = await agent.until("control")
            assert (told["command"], told["reason"], told["by"]) == ("halt", "enough", "olga")
            assert (await agent.refused("publish", event="task.done"))["code"] == "halted"
            await olga.send("control/", command="resume")
            assert (await agent.until("control"))["command"] == "resume"
            await agent.say("publish", event="task.done")
            await agent.until("event", event_type="task.done")


async def test_a_claim_freed_in_the_admin_is_another_agents_to_take(staffed: Hive) -> None:
    namespace = staffed.fresh()
    ada, bob = staffed.token("ada"), staffed.token("bob")
    async with staffed.agent(namespace, ada) as first, staffed.agent(namespace, bob) as second:
        await first.say("claim", resource="file.txt")
        fence = (await second.until("claim_changed", status="claimed"))["fence"]
        async with signed_in(staffed, namespace) as olga:
            await olga.send("free/", resource="file.txt", fence=str(fence))
        freed = await second.until("claim_changed", status="released")
        assert (freed["resource"], freed["owner"]) == ("file.txt", "ada")
        await second.say("claim", resource="file.txt")
        taken = await first.until("claim_changed", owner="bob")
        assert taken["fence"] > fence


async def test_the_dashboard_counts_the_sockets_of_all_processes(staffed: Hive) -> None:
    namespace, token = staffed.fresh(), staffed.token("ada")
    async with staffed.agent(namespace, token) as agent, staffed.agent(namespace, token):
        await agent.until("replay_done")
        async with signed_in(staffed, namespace) as olga, asyncio.timeout(DEADLINE):
            page = ""
            while "<strong>2</strong>" not in page:  # said with the process's next beat
                page = (await olga.browser.get("/admin/")).text
    assert "Connections now" in page


async def test_a_reset_in_the_admin_is_told_to_every_member(staffed: Hive) -> None:
    namespace = staffed.fresh()
    async with staffed.agent(namespace, staffed.token("ada")) as agent:
        epoch = (await agent.until("replay_done"))["epoch"]
        await agent.say("set_state", key="a", value=1)
        await agent.until("state_changed")
        async with signed_in(staffed, namespace) as olga:
            assert "cleared for good" in await olga.send("reset/")
            assert "It is reset" in await olga.send("reset/", post="yes")
        told = await agent.until("reset")
        assert told["by"] == "olga"
        assert (await agent.until("replay_done"))["epoch"] == told["epoch"] != epoch
    staffed.project.manage("verify_ledger")
