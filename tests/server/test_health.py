"""Whether the process is alive and ready, as load balancers ask."""

from __future__ import annotations

import json
import threading

import pytest
from django.db import OperationalError
from django.test import AsyncRequestFactory

from mashin_surfaces.server import health


async def asked_ready() -> tuple[int, dict[str, object]]:
    response = await health.readyz(AsyncRequestFactory().get("/readyz"))
    return response.status_code, json.loads(response.content)


async def test_alive_as_long_as_it_answers() -> None:
    response = await health.healthz(AsyncRequestFactory().get("/healthz"))
    assert response.status_code == 200
    assert json.loads(response.content) == {"status": "ok"}
    assert "no-cache" in response.headers["Cache-Control"]


async def test_only_safe_methods_are_answered() -> None:
    assert (await health.healthz(AsyncRequestFactory().post("/healthz"))).status_code == 405


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that stands still fails no check."""
    monkeypatch.setattr(health, "DEADLINE", 60.0)


@pytest.mark.django_db(transaction=True)
async def test_ready_when_the_database_answers() -> None:
    assert await asked_ready() == (
        200,
        {"status": "ok", "checks": {"database": "ok", "ledger": "ok"}},
    )


@pytest.mark.django_db(transaction=True)
async def test_not_ready_when_a_check_fails_and_its_text_stays_in_the_log(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail() -> None:
        raise OperationalError("no route to db.internal")

    monkeypatch.setitem(health.CHECKS, "replica", fail)
    status, body = await asked_ready()
    assert status == 503
    assert body == {
        "status": "unavailable",
        "checks": {"database": "ok", "ledger": "ok", "replica": "OperationalError"},
    }
    assert "no route to db.internal" in caplog.text


async def test_a_check_that_hangs_is_late_and_not_started_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    goes_on, started = threading.Event(), []

    def hang() -> None:
        started.append(threading.current_thread().name)
        goes_on.wait(20)

    monkeypatch.setattr(health, "CHECKS", {"slow": hang})
    monkeypatch.setattr(health, "DEADLINE", 0.1)
    try:
        for _ in range(3):
            assert await asked_ready() == (
                503,
                {"status": "unavailable", "checks": {"slow": "late"}},
            )
        assert len(started) == 1
        monkeypatch.setattr(health, "DEADLINE", 20)
    finally:
        goes_on.set()
    assert (await asked_ready())[0] == 200
