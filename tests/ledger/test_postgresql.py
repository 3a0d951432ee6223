"""The ledger on a real PostgreSQL: it goes away under load, and no row that was told is missing."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import environ
import psycopg
import pytest
from django.core.management import call_command
from django.db import connections
from psycopg import sql

from mashin_surfaces.commit import writer
from mashin_surfaces.exceptions import Code, Refusal
from mashin_surfaces.ledger.models import SurfaceAccess
from mashin_surfaces.ledger.record import _database, record
from mashin_surfaces.ledger.sink import sink
from mashin_surfaces.ledger.verify import BadRow, lanes, verify
from tests.ledger.rows import access
from tests.servers import Postgres, postgres

ALIAS = "elsewhere"
TABLE = SurfaceAccess._meta.db_table
EVERY_ID = f"select id from {TABLE}"
PATIENCE = 30.0

pytestmark = [
    pytest.mark.slow,
    pytest.mark.django_db(transaction=True, databases=["default", ALIAS]),
]


class AllElsewhere:
    """A database router."""

    def db_for_write(self, model: Any, **hints: Any) -> str:
        return ALIAS


@pytest.fixture(scope="module")
def cluster(django_db_setup: None) -> Iterator[Postgres]:
    """A cluster that Django knows as a second database, migrated."""
    with postgres() as running:
        known = {"default": {}, ALIAS: dict(environ.Env.db_url_config(running.url))}
        connections.settings[ALIAS] = connections.configure_settings(known)[ALIAS]
        yield running
        del connections.settings[ALIAS]


@pytest.fixture
def ledger(cluster: Postgres, transactional_db: None, settings: Any) -> Iterator[str]:
    """The URL of the database that rows now go to, empty."""
    call_command("migrate", database=ALIAS, verbosity=0)
    settings.DATABASE_ROUTERS = [AllElsewhere()]
    _database.cache_clear()
    sink.begin_lane()
    yield cluster.url
    writer(ALIAS).close()
    connections[ALIAS].close()
    _database.cache_clear()
    sink.begin_lane()


def stored(url: str) -> set[str]:
    with psycopg.connect(url) as connection:
        return {row[0].hex for row in connection.execute(EVERY_ID)}


def broken() -> list[BadRow]:
    """What is wrong in any lane."""
    try:
        return [bad for lane in lanes() if (bad := verify(lane)) is not None]
    finally:
        connections[ALIAS].close()


async def test_rows_are_there_when_record_returns_and_the_chain_holds(ledger: str) -> None:
    rows = [access(duration_us=number) for number in range(300)]
    await record(rows[0])
    assert await asyncio.to_thread(stored, ledger) == {rows[0].id}
    await asyncio.gather(*(record(row) for row in rows[1:]))
    assert await asyncio.to_thread(stored, ledger) == {row.id for row in rows}
    assert await asyncio.to_thread(broken) == []


async def test_a_text_that_postgresql_does_not_take_is_refused_alone(ledger: str) -> None:
    rows = [access(input="a\x00b" if number == 7 else "") for number in range(20)]
    results = await asyncio.gather(*(record(row) for row in rows), return_exceptions=True)
    assert [number for number, result in enumerate(results) if result is not None] == [7]
    assert len(await asyncio.to_thread(stored, ledger)) == 19
    assert await asyncio.to_thread(broken) == []


async def test_a_server_that_dies_under_load_is_refused_and_then_used_again(
    ledger: str, cluster: Postgres
) -> None:
    recorded: set[str] = set()
    refused: list[Refusal] = []
    changed = asyncio.Condition()
    over = asyncio.Event()

    async def client() -> None:
        while not over.is_set():
            row = access()
            try:
                await record(row)
                recorded.add(row.id)
            except Refusal as refusal:
                refused.append(refusal)
            async with changed:
                changed.notify_all()

    async def until(holds: Any) -> None:
        async with asyncio.timeout(PATIENCE), changed:
            await changed.wait_for(holds)

    clients = [asyncio.create_task(client()) for _ in range(50)]
    await until(lambda: len(recorded) > 500)
    await asyncio.to_thread(cluster.stop, crash=True)
    await until(lambda: len(refused) > 100)
    await asyncio.to_thread(cluster.start)
    before = len(recorded)
    await until(lambda: len(recorded) > before + 500)
    over.set()
    await asyncio.wait_for(asyncio.gather(*clients), PATIENCE)

    assert {refusal.code for refusal in refused} == {Code.LEDGER_UNAVAILABLE}
    assert recorded <= await asyncio.to_thread(stored, ledger)
    assert await asyncio.to_thread(broken) == []


async def test_a_restart_in_a_quiet_moment_costs_one_refusal_at_most(
    ledger: str, cluster: Postgres
) -> None:
    await record(access())
    await asyncio.to_thread(cluster.stop)
    await asyncio.to_thread(cluster.start)
    with suppress(Refusal):
        await record(access())
    row = access()
    await record(row)
    assert row.id in await asyncio.to_thread(stored, ledger)


async def test_a_server_that_does_not_answer_is_refused_after_the_deadline(
    ledger: str, settings: Any
) -> None:
    settings.MASHIN_SURFACES = {"LEDGER": {"WAIT": 0.3}}
    await record(access())
    blocker = psycopg.connect(ledger)
    blocker.execute(sql.SQL("lock table {} in access exclusive mode").format(sql.Identifier(TABLE)))
    try:
        with pytest.raises(Refusal):
            await asyncio.wait_for(record(access()), PATIENCE)
    finally:
        blocker.close()
    settings.MASHIN_SURFACES = {}
    row = access()
    await record(row)
    assert row.id in await asyncio.to_thread(stored, ledger)
