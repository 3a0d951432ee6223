"""The browser client against a real server: what it asks, follows, resumes, and is refused."""

from __future__ import annotations

import asyncio
import base64
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from tests.client_js.conftest import Failed, Script
from tests.live import HOST
from tests.wire.conftest import Wire
from tests.wire.following import ask, at_rest, started

pytestmark = pytest.mark.slow

CONNECT = """
const { path, dialect, options } = given;
kept.client = library[`connect${dialect}`](path, options);
kept.states = [];
kept.client.connection.addEventListener("state", ({ detail }) => kept.states.push(detail));
kept.begun = given.first && until(kept.client, given.first); // heard before there is a socket
"""
FOLLOW = """
kept.pushes = [];
kept.topic = kept.client.subscribe(given.topic);
kept.topic.addEventListener("push", ({ detail: { offset, value } }) =>
  kept.pushes.push([offset, value.value]));
return await until(kept.topic, "subscribed");
"""
REACH = """
while (kept.topic.offset < given.offset) await until(kept.topic, "push");
return kept.pushes;
"""
WAIT_UNTIL = """
const { connection } = kept.client;
const isThere = ({ state }) => state === given.state;
if (!isThere(connection)) await until(connection, "state", isThere);
const { state, retryIn, reason } = connection;
return { state, retryIn, reason: reason && { ...reason, message: reason.message } };
"""
PUBLISH = """
from mashin_surfaces import publish
for value in {values!r}:
    publish("client_board", {{"value": value}}, {topic!r})
"""


async def connect(
    script: Script,
    site: Wire,
    dialect: str,
    path: str,
    token: str | None = None,
    *,
    first: str = "",
    **options: Any,
) -> None:
    """Have ``kept.client``; ``kept.states`` grows by how its connection stands."""
    given = {**options, **({"token": token} if token else {})}
    url = site.project.url(path)
    await script.run(CONNECT, dialect=dialect, path=url, options=given, first=first)


async def wait_until(script: Script, state: str) -> Any:
    """Wait for a state of the connection: what it is then."""
    return await script.run(WAIT_UNTIL, state=state)


async def publish(site: Wire, topic: str, *values: int) -> None:
    source = PUBLISH.format(values=values, topic=topic)
    await asyncio.to_thread(site.project.manage, "shell", "-c", source)


async def restart(site: Wire, script: Script | None = None) -> None:
    """Start the server again; a script's client need not wait for its next attempt."""
    await asyncio.to_thread(site.project.start)
    if script is not None:
        await script.run(
            """
            const { connection } = kept.client;
            if (connection.state === "waiting") connection.reconnect();
            """
        )


async def get(site: Wire, path: str, token: str) -> Any:
    answer = await site.get(path, headers={"Authorization": f"Bearer {token}"})
    assert answer.status_code == 200, answer.text
    return answer.json()


# -- machines --------------------------------------------------------------------------------------


async def test_questions_are_answered_each_by_its_own_answer(
    script: Script, site: Wire, token: str
) -> None:
    await connect(script, site, "Machine", "/ws/echo", token)
    told = await script.run(
        """
        const { client } = kept;
        const answers = await Promise.all(["a", "b", "c"].map((text) => client.ask({ text })));
        const refused = await client.ask({ text: "longer than it may be" }).catch((error) => error);
        return [answers, refused instanceof library.Refusal, refused.code, refused.details[0].path,
          await client.ask('{"text":"as it is"}')];
        """
    )
    assert told[0] == [{"text": "a"}, {"text": "b"}, {"text": "c"}]
    assert told[1:] == [True, "invalid_input", "/text", {"text": "as it is"}]


async def test_a_machine_that_streams_tells_each_result_and_promises_the_last(
    script: Script, site: Wire
) -> None:
    await connect(script, site, "Machine", "/ws/ticks")
    told = await script.run(
        """
        const all = [];
        const last = await kept.client.ask({ count: 3 }, ({ value }) => all.push(value));
        return [all, last, await kept.client.ask({ count: 2 })];
        """
    )
    assert told == [[1, 2, 3], {"value": 3}, {"value": 1}]


async def test_a_topic_goes_on_after_a_crash_nothing_is_missed_and_nothing_comes_twice(
    script: Script, site: Wire
) -> None:
    await connect(script, site, "Machine", "/ws/board")
    await script.run(FOLLOW, topic="crash")
    await publish(site, "crash", 1, 2, 3)
    await script.run(REACH, offset=3)
    site.project.kill()
    assert (await wait_until(script, "waiting"))["retryIn"] <= 30
    await publish(site, "crash", *range(4, 40))
    await restart(site)
    pushes = await script.run(REACH, offset=39)
    assert pushes == [[n, n] for n in range(1, 40)]


async def test_what_was_sent_when_the_connection_broke_is_lost_and_what_waits_is_sent(
    script: Script, site: Wire
) -> None:
    await connect(script, site, "Machine", "/ws/ticks")
    sent = script.run(
        """
        kept.seen = 0;
        const refused = await kept.client.ask({ count: 1, ends: false }, () => { kept.seen += 1; })
          .catch(({ code }) => code);
        return [refused, kept.seen];
        """
    )
    asking = asyncio.create_task(sent)
    await wait_until(script, "open")
    await script.run("while (!kept.seen) await new Promise((resolve) => setTimeout(resolve, 10));")
    site.project.kill()
    assert await asking == ["lost", 1]
    waiting = asyncio.create_task(
        script.run(
            """
            const asked = Array.from({ length: 34 }, () => kept.client.ask({ count: 1 }));
            const told = await Promise.allSettled(asked);
            return told.map(({ value, reason }) => value?.value ?? reason.code);
            """
        )
    )
    await restart(site, script)
    assert await waiting == [1] * 32 + ["busy"] * 2


async def test_what_can_t_be_got_rid_of_is_refused(script: Script, site: Wire) -> None:
    await connect(script, site, "Machine", "/ws/echo/open")
    await wait_until(script, "open")
    refused = await script.run(
        """
        const text = "x".repeat(600_000); // two of them are more than a megabyte
        const asked = [1, 2, 3].map(() => kept.client.ask({ text }));
        return (await Promise.allSettled(asked)).map(({ reason }) => [reason.code, reason.message]);
        """
    )
    assert refused[2] == ["busy", "Too many messages wait: send fewer."]
    assert "busy" not in (code for code, _message in refused[:2])


# -- attempts --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("chance", "seconds"), [("1 - 1e-9", [1, 2, 4, 8, 16, 30, 30]), ("0", [0] * 7)]
)
async def test_attempts_come_after_1_2_4_to_30_seconds_with_full_jitter(
    script: Script, chance: str, seconds: list[int]
) -> None:
    with socket.socket() as taken:  # nobody listens there
        taken.bind((HOST, 0))
        told = await script.run(
            f"""
            Math.random = () => {chance};
            const {{ setTimeout }} = globalThis; // a clock that is a thousand times as fast
            globalThis.setTimeout = (then, wait) => setTimeout(then, wait / 1000);
            const {{ connection }} = library.connectMachine(given.path);
            const waits = [];
            while (waits.length < {len(seconds)}) {{
              const isWaiting = ({{ state }}) => state === "waiting";
              waits.push((await until(connection, "state", isWaiting)).retryIn);
            }}
            connection.close();
            return waits;
            """,
            path=f"http://{HOST}:{taken.getsockname()[1]}/ws/echo",
        )
    assert told == pytest.approx(seconds, abs=0.001)


# -- refusals --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "scope", "status", "code"),
    [
        ("/ws/echo", None, 401, "unauthenticated"),
        ("/ws/echo", "runs:view", 403, "forbidden"),
        ("/ws/nowhere", None, 404, "refused"),  # by Django, which has no more to say
        ("/panels/nowhere/ws", "panels", 404, "PANEL_NOT_FOUND"),
        ("/api/dags/nowhere/stream", "runs", 404, "not_found"),
    ],
)
async def test_why_an_upgrade_was_refused_is_learnt(
    script: Script, site: Wire, path: str, scope: str | None, status: int, code: str
) -> None:
    token = None if scope is None else site.token("eve", scope)
    await connect(script, site, "Machine", path, token)
    told = await wait_until(script, "refused")
    assert (told["reason"]["status"], told["reason"]["code"]) == (status, code)
    assert len(told["reason"]["message"]) > 10
    with pytest.raises(Failed, match=r"\w") as caught:
        await script.run("return await kept.client.ask({})")
    assert caught.value.error["code"] == code


async def test_a_connection_that_is_closed_answers_nothing_any_more(
    script: Script, site: Wire
) -> None:
    await connect(script, site, "Machine", "/ws/echo/open")
    await wait_until(script, "open")
    told = await script.run(
        """
        const ask = () => kept.client.ask({ text: "never" }).catch(({ code }) => code);
        const asked = ask();
        kept.client.close();
        return [await asked, await ask(), kept.states.at(-1).state];
        """
    )
    assert told == ["lost", "closed", "closed"]


async def test_a_new_token_goes_over_the_same_socket_and_in_panels_takes_another(
    script: Script, site: Wire
) -> None:
    long = site.token("ada", ttl="1h")
    short = site.token("ada", ttl="16s")
    told = await script.run(
        """
        const now = Date.now; // a clock that is ahead: another token is asked for long before
        Date.now = () => now() + 8000;
        const open = async (connect, path) => {
          const tokens = [given.short];
          const made = connect(given.origin + path, { token: () => tokens.shift() ?? given.long });
          const states = [];
          made.connection.addEventListener("state", ({ detail }) => states.push(detail.state));
          await until(made.connection, "state", ({ state }) => state === "open");
          return { made, states };
        };
        const machine = await open(library.connectMachine, "/ws/echo");
        const panel = await open(library.connectPanel, "/ws/panel");
        await until(panel.made.connection, "state", ({ state }) => state === "open");
        await new Promise((resolve) => setTimeout(resolve, given.expired - now()));
        return [await machine.made.ask({ text: "on" }), machine.states,
          (await panel.made.trigger("add", { by: 0 })).status, panel.states];
        """,
        origin=site.project.url(""),
        short=short,
        long=long,
        expired=1000 * (_expiry(short) + 1),
    )
    assert told[:2] == [{"text": "on"}, ["open"]]
    assert told[2:] == ["success", ["open", "connecting", "open"]]


def _expiry(token: str) -> int:
    claims = token.split(".")[1]
    return int(json.loads(base64.urlsafe_b64decode(claims + "=" * (-len(claims) % 4)))["exp"])


# -- silence ---------------------------------------------------------------------------------------


@asynccontextmanager
async def mute_wire(port: int) -> AsyncIterator[tuple[int, asyncio.Event]]:
    """A port that leads to another one, until the event is set: from then on those who are
    connected hear nothing more, and are not told."""
    is_mute = asyncio.Event()
    tasks: set[asyncio.Task[None]] = set()
    writers: set[asyncio.StreamWriter] = set()

    async def carry(
        source: asyncio.StreamReader, target: asyncio.StreamWriter, is_ours: asyncio.Event
    ) -> None:
        while data := await source.read(65536):
            if not is_ours.is_set():
                target.write(data)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        is_ours = asyncio.Event() if is_mute.is_set() else is_mute
        there, back = await asyncio.open_connection(HOST, port)
        writers.update((writer, back))
        for pair in ((reader, back), (there, writer)):
            tasks.add(asyncio.create_task(carry(*pair, is_ours)))

    server = await asyncio.start_server(serve, HOST, 0)
    try:
        yield server.sockets[0].getsockname()[1], is_mute
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for each in writers:
            each.transport.abort()  # whoever is at the other end may be gone, and never say so
        await asyncio.sleep(0)  # the loop closes their sockets


async def test_a_connection_that_died_silently_is_found_out_and_followed_on(
    script: Script, site: Wire
) -> None:
    async with mute_wire(site.project.port) as (port, is_mute):
        options = {"heartbeat": 6}
        url = f"http://{HOST}:{port}/ws/board"
        await script.run(CONNECT, dialect="Machine", path=url, options=options)
        await script.run(FOLLOW, topic="silent")
        is_mute.set()
        told = await wait_until(script, "waiting")
        assert told["reason"]["message"] == "The server was silent."
        await publish(site, "silent", 1)
        assert await script.run(REACH, offset=1) == [[1, 1]]


# -- panels ----------------------------------------------------------------------------------------


async def a_panel(site: Wire, token: str, *tools: str) -> str:
    """The address of a new panel's socket."""
    made = [
        {"name": name, "handler": f"client.{name}", "trigger": {"type": "manual"}} for name in tools
    ]
    body = {"kind": "test", "tools": made, "initialState": {"count": 0}}
    headers = {"Authorization": f"Bearer {token}"}
    answer = await site.request("POST", "/panels", content=json.dumps(body), headers=headers)
    return f"/panels/{answer.json()['id']}/ws"


async def test_triggers_are_carried_out_once_though_the_server_is_killed_under_them(
    script: Script, site: Wire, token: str
) -> None:
    path = await a_panel(site, token, "add")
    await connect(script, site, "Panel", path, token, first="connected")
    await script.run(
        """
        kept.offsets = [];
        kept.client.addEventListener("entry", ({ detail }) => kept.offsets.push(detail.offset));
        kept.done = [];
        await kept.begun;
        kept.asked = Promise.all(Array.from({ length: 30 }, () =>
          kept.client.trigger("add", { by: 2 }).then((result) => kept.done.push(result))));
        while (kept.done.length < 3) await until(kept.client, "result");
        """
    )
    site.project.kill()
    await restart(site, script)
    told = await script.run(
        """
        await kept.asked;
        while (kept.client.offset < 60) await until(kept.client, "entry");
        const values = kept.done.map(({ returnValue }) => returnValue).sort((a, b) => a - b);
        return [values, kept.client.state, kept.offsets, kept.client.tools];
        """
    )
    assert told[0] == list(range(2, 61, 2))
    assert told[1] == {"count": 60} == (await get(site, path.replace("/ws", ""), token))["state"]
    assert told[2] == list(range(1, 61))
    assert told[3] == ["add"]


async def test_a_suspended_trigger_tells_what_it_waits_for_and_ends_when_it_is_answered(
    script: Script, site: Wire, token: str
) -> None:
    await connect(script, site, "Panel", await a_panel(site, token, "ask"), token)
    told = await script.run(
        """
        const { client } = kept;
        let resumed;
        const progress = ({ suspension }) => {
          if (suspension) resumed = client.resume(suspension.suspensionId, "blue");
        };
        const result = await client.trigger("ask", { question: "red or blue?" }, { progress });
        const wrong = await client.resume("nothing", 1).catch(({ code }) => code);
        return [result.returnValue, await resumed, client.state.answer, wrong,
          await client.trigger("nothing").catch(({ code }) => code)];
        """
    )
    assert told == ["blue", None, "blue", "SUSPENSION_NOT_FOUND", "TOOL_NOT_FOUND"]


# -- runs ------------------------------------------------------------------------------------------


async def test_a_run_is_folded_as_the_server_has_it_also_over_a_crash(
    script: Script, site: Wire, token: str
) -> None:
    run = await started(site, token, machine="client_run")
    await at_rest(site, token, run, "review", "paused")
    await connect(script, site, "Run", f"/api/dags/{run}/stream", token, first="snapshot")
    first = await script.run(
        """
        kept.offsets = [];
        kept.client.addEventListener("entry", ({ detail }) => kept.offsets.push(detail.offset));
        kept.begin = (await kept.begun).offset;
        return kept.client.snapshot;
        """
    )
    assert [gate["node_id"] for gate in first["open_gates"]] == ["review"]
    site.project.kill()
    deciding = asyncio.create_task(
        script.run(
            """
            const { client } = kept;
            const revision = client.snapshot.open_gates[0].presentation.revision;
            await client.decide({ node_id: "review", decision: "approve", revision });
            while (!client.snapshot.outcome) await until(client, "change");
            const late = await client.decide({ node_id: "review", decision: "reject" })
              .catch(({ code }) => code);
            return [client.snapshot, kept.offsets, kept.begin, late];
            """
        )
    )
    await restart(site, script)
    folded, offsets, begin, late = await deciding
    answer = await ask(site, "GET", f"/{run}", token)
    there = answer.json()
    assert (folded["outcome"], folded["results"]["total"]) == ("completed", {"total": 31})
    assert folded["run"]["status"] == there["run"]["status"] == "completed"
    for part in ("edges", "open_gates", "cost", "topology_version", "offset", "epoch"):
        assert folded[part] == there[part], part
    statuses = {name: (node["status"], node["needs"]) for name, node in folded["nodes"].items()}
    assert statuses == {n: (node["status"], node["needs"]) for n, node in there["nodes"].items()}
    assert offsets == list(range(begin + 1, folded["offset"] + 1))
    assert late == "gate_closed"


# -- incubators ------------------------------------------------------------------------------------


async def test_an_agent_acts_once_and_hears_all_once_also_over_a_crash(
    script: Script, site: Wire, token: str
) -> None:
    options = {"namespace": "crash", "agentId": "one"}
    await connect(script, site, "Incubator", "/ws/hive", token, first="replay_done", **options)
    await script.run(
        """
        const { client } = kept;
        kept.entries = [];
        client.addEventListener("entry", ({ detail }) => kept.entries.push(detail));
        await kept.begun;
        kept.first = [await client.publish("task", { n: 1 }),
          await client.setState("k", 1, { ifVersion: 0 }),
          await client.claim("disk"), await client.call("add", { by: 2 }),
          await client.call("fail").catch(({ code }) => code),
          await client.setState("k", 2, { ifVersion: 0 }).catch(({ code }) => code)];
        kept.woken = client.wait({ types: ["turn.*"] });
        """
    )
    site.project.kill()
    waiting = asyncio.create_task(
        script.run(
            """
            const { client } = kept;
            const other = client.publish("task", { n: 2 });
            await Promise.all([other, client.call("add"), client.release("disk")]);
            return kept.first;
            """
        )
    )
    await restart(site, script)
    published, version, fence, added, failed, conflict = await waiting
    assert (version, fence, added, conflict) == (1, 1, 2, "conflict")
    assert isinstance(failed, str)
    await site.request(
        "POST", "/api/crash/events", content=json.dumps({"type": "turn.one", "data": {}}),
        headers={"Authorization": f"Bearer {token}"},
    )  # fmt: skip
    told = await script.run(
        """
        const { client } = kept;
        const { event_type } = await kept.woken;
        const tools = client.tools.map(({ name }) => name);
        return [event_type, kept.entries, client.state, client.claims, tools];
        """
    )
    assert told[0] == "turn.one"
    ids = [entry["id"] for entry in told[1]]
    assert ids == list(range(published, published + len(ids)))
    tasks = [entry["data"] for entry in told[1] if entry.get("event_type") == "task"]
    assert tasks == [{"n": 1}, {"n": 2}]
    assert told[2] == {"k": 1, "count": 3}
    assert (told[3], told[4]) == ({}, ["add", "fail"])
