"""Lists and dashboard on large tables: what they ask, the database finds by indexes.

The plans of the database are looked at, not the clock: a look is bad when it goes through a whole
table, sorts one, or counts without an end.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any, Final

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from mashin_surfaces.admin.records import CappedPaginator
from mashin_surfaces.ledger.chain import first_id
from mashin_surfaces.models import ApiKey, Gate, Panel, Room, Run, SurfaceAccess

pytestmark = [pytest.mark.slow, pytest.mark.django_db]

ACCESSES: Final = 1_000_000
OTHERS: Final = 50_000
APP: Final = "/admin/mashin_surfaces/"
LARGE: Final = (Gate, Run, Panel, Room, SurfaceAccess, ApiKey)
TABLES: Final = tuple(model._meta.db_table for model in LARGE)

CASES: Final = [
    ("surfaceaccess", {}),
    ("surfaceaccess", {"p": "99"}),
    ("surfaceaccess", {"machine": "machine7"}),
    ("surfaceaccess", {"principal": "p7"}),
    ("surfaceaccess", {"outcome__exact": "refused"}),
    ("surfaceaccess", {"outcome__exact": "failed", "day": "today"}),
    ("room", {}),
    ("room", {"p": "99"}),
    ("room", {"kind__exact": "run"}),
    ("room", {"status__exact": "halted"}),
    ("room", {"machine": "machine7"}),
    ("room", {"q": "0000007"}),
    ("run", {}),
    ("run", {"p": "99"}),
    ("run", {"status__exact": "failed"}),
    ("run", {"machine": "machine7"}),
    ("run", {"q": "0000007"}),
    ("gate", {}),
    ("gate", {"p": "99"}),
    ("gate", {"status": "decided"}),
    ("panel", {}),
    ("panel", {"kind": "kind7"}),
    ("panel", {"machine": "machine7"}),
    ("panel", {"q": "p0000007"}),
    ("incubator", {}),
    ("incubator", {"q": "default"}),
    ("machine", {}),
    ("surface", {}),
    ("apikey", {}),
    ("apikey", {"q": "key0000007"}),
]


@pytest.fixture(scope="module")
def _rows(django_db_setup: None, django_db_blocker: Any) -> Iterator[None]:
    """The tables, filled by statements of the database's own; emptied in the end."""
    with django_db_blocker.unblock():
        _empty()
        _fill()
        yield
        _empty()


@pytest.fixture
def root(_rows: None, db: None) -> Client:
    client = Client()
    client.force_login(User.objects.create_superuser("root", password="root"))
    return client


def _empty() -> None:
    with connection.cursor() as cursor:
        for table in TABLES:
            cursor.execute(f"DELETE FROM {table}")


def _fill() -> None:
    is_postgresql = connection.vendor == "postgresql"
    now = timezone.now()
    numbers = (
        "generate_series(1, {}) AS numbers(n)"
        if is_postgresql
        else "(WITH RECURSIVE numbers(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers "
        "LIMIT {}) SELECT n FROM numbers)"
    )
    number = "lpad(n::text, 7, '0')" if is_postgresql else "printf('%07d', n)"
    # Ids of the last hour, as a ledger that is busy has them.
    begin = int(first_id(now).hex[:12], 16) - 3_500_000
    milliseconds = f"{begin} + n * {3_500_000 // ACCESSES}"
    id = (
        f"(lpad(to_hex({milliseconds}), 12, '0') || '7000' || lpad(to_hex(n), 16, '0'))::uuid"
        if is_postgresql
        else f"printf('%012x7000%016x', {milliseconds}, n)"
    )
    at = f"'{now.isoformat(' ')}'" + ("::timestamptz" if is_postgresql else "")
    moment = (
        f"{at} - n * interval '1 second'" if is_postgresql else f"datetime({at}, -n || ' seconds')"
    )
    false = "false" if is_postgresql else "0"
    name = f"'m' || {number}"
    room_columns = "(kind, key, machine, state, head, floor, epoch, status, created_at)"
    rooms = (
        f"INSERT INTO mashin_surfaces_room {room_columns} SELECT '{{}}', '{{}}' || {number}, "
        f"'machine' || (n / 1000), '{{{{}}}}', 0, 0, 'e', 'open', {moment} "
        f"FROM {numbers.format(OTHERS)}"
    )
    statements = [
        "INSERT INTO mashin_surfaces_surfaceaccess (id, at, event, surface_kind, surface, path, "
        "machine, revision, principal, credential, client, request_id, outcome, code, "
        "duration_us, input, output, steps, lane, seq, prev_hash, hash) "
        f"SELECT {id}, {at}, 'message', 'api', 'api:/x', '/x', 'machine' || (n / 4000), 1, "
        "'p' || (n / 1000), 'jwt', '', '', CASE WHEN n % 1000 = 0 THEN 'refused' ELSE 'allowed' "
        "END, CASE WHEN n % 1000 = 0 THEN 'rate_limited' ELSE '' END, 1, '', '', '', 'lane', n, "
        f"'', '' FROM {numbers.format(ACCESSES)}",
        rooms.format("run", ""),
        rooms.format("panel", "p"),
        "INSERT INTO mashin_surfaces_run (id, room_id, machine, revision, status, outcome, input, "
        "principal, client, seed, max_parallel, topology_version, spent, reserved, is_warned, "
        "parent_node, parent_index, depth, holder, fence, version, started_at) "
        "SELECT key, id, machine, 1, CASE WHEN n % 1000 = 0 THEN 'failed' ELSE 'completed' END, "
        f"'', '{{}}', 'ada', '', 1, 1, 1, 0, 0, {false}, '', 0, 0, '', 0, 0, {moment} FROM "
        "(SELECT *, CAST(key AS integer) AS n FROM mashin_surfaces_room WHERE kind = 'run') AS r",
        "INSERT INTO mashin_surfaces_gate (id, run_id, node, kind, gate_class, revision, shown, "
        "digest, event, status, is_taken, is_escalated, opened_at) SELECT id, id, 'n', 'step', "
        "'quality', 1, '{}', '', '', CASE WHEN status = 'failed' THEN 'open' ELSE 'decided' END, "
        f"{false}, {false}, started_at FROM mashin_surfaces_run",
        "INSERT INTO mashin_surfaces_panel (room_id, kind, title, machine, tools, metadata, "
        "created_by, created_at) SELECT id, 'kind' || (id % 50), '', machine, '[]', '{}', '', "
        "created_at FROM mashin_surfaces_room WHERE kind = 'panel'",
        "INSERT INTO mashin_surfaces_apikey (id, name, hash, scopes, created_at) "
        f"SELECT {name}, 'key' || {number}, '', '[]', {at} FROM {numbers.format(OTHERS)}",
    ]
    with connection.cursor() as cursor:
        if not is_postgresql:
            cursor.execute("PRAGMA cache_size = -200000")  # KiB: indexes grow in memory
        for statement in statements:
            cursor.execute(statement)
        cursor.execute("ANALYZE")


# -- what is asked --------------------------------------------------------------------------------


def asked(client: Client, address: str, query: dict[str, str]) -> list[str]:
    """The queries of one page that touch a large table."""
    with CaptureQueriesContext(
        connection,
    ) as queries:
        assert client.get(address, query).status_code == 200
    texts = [each["sql"] for each in queries.captured_queries]
    return [sql for sql in texts if sql.startswith("SELECT") and any(t in sql for t in TABLES)]


def problems(sql: str) -> list[str]:
    """What is wrong with the plan of a query."""
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            # It may prefer to go through a table whose first rows fit: then it ends soon.
            cursor.execute("SET LOCAL enable_seqscan = off")
            cursor.execute(f"EXPLAIN (FORMAT JSON) {sql}")
            (found,) = cursor.fetchone()
            plan = (json.loads(found) if isinstance(found, str) else found)[0]["Plan"]
            return _in_plan(plan)
        cursor.execute(f"EXPLAIN QUERY PLAN {sql}")
        lines = [row[3] for row in cursor.fetchall()]
    return [line for line in lines if _is_bad(line, sql)]


def _is_bad(line: str, sql: str) -> bool:
    """Of SQLite: a scan is good that ends at a limit, in the order of an index."""
    if "TEMP B-TREE FOR ORDER BY" in line:
        return " UNION " not in sql and "GROUP BY" not in sql  # what was found is sorted at will
    scanned = re.match(r"SCAN (\w+)", line)
    return scanned is not None and _table(scanned[1], sql) in TABLES and "LIMIT" not in sql


def _table(name: str, sql: str) -> str:
    """The table of a name in a plan, which may be an alias."""
    found = re.search(rf'"(\w+)" {name}\b', sql)
    return found[1] if found else name


def _in_plan(plan: dict[str, Any]) -> list[str]:
    """Of PostgreSQL: no whole table is read, nor sorted."""
    kind, rows = plan["Node Type"], plan["Plan Rows"]
    found = []
    if kind == "Seq Scan" and plan["Relation Name"] in TABLES:
        found.append(f"Seq Scan on {plan['Relation Name']} {plan.get('Filter', '')}")
    if kind == "Sort" and rows > CappedPaginator.most:
        found.append(f"Sort of {rows} rows")
    return found + [each for part in plan.get("Plans", ()) for each in _in_plan(part)]


@pytest.mark.parametrize(("name", "query"), CASES, ids=str)
def test_no_list_goes_through_a_large_table(root: Client, name: str, query: dict[str, str]) -> None:
    sqls = asked(root, f"{APP}{name}/", query)
    for sql in sqls:
        assert "COUNT(*)" not in sql or "LIMIT 10001" in sql or "GROUP BY" in sql, sql
        assert problems(sql) == [], sql


def test_the_dashboard_goes_through_no_large_table(root: Client) -> None:
    sqls = asked(root, "/admin/", {})
    assert len(sqls) >= 6, "minutes, codes, the newest row, lanes, gates, runs"
    for sql in sqls:
        assert problems(sql) == [], sql
    found = {each.label: each.value for each in root.get("/admin/").context["dashboard"].figures}
    assert found["Runs waiting for a person"] == "50"
    refused = int(found["Not allowed, last hour"].replace(",", ""))
    assert 500 < refused <= 1_000, "some are older by now"


@pytest.mark.usefixtures("_rows")
def test_a_look_through_a_whole_table_would_be_seen() -> None:
    """The judge can tell: these are what the lists must not do."""
    for sql in (
        "SELECT * FROM mashin_surfaces_surfaceaccess WHERE client = 'x'",
        "SELECT * FROM mashin_surfaces_room ORDER BY epoch LIMIT 100",
        "SELECT COUNT(*) FROM mashin_surfaces_run WHERE outcome = 'x'",
    ):
        assert problems(sql), sql
