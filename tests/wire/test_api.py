"""The API door, over HTTP to a real server."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

from tests.wire.conftest import Wire

pytestmark = pytest.mark.slow


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


async def test_the_output_comes_bare_and_is_recorded(wire: Wire) -> None:
    answer = await wire.request(
        "POST", "/api/wire/echo", headers=bearer(wire.token("ada")), json={"text": "hi", "times": 2}
    )
    assert answer.status_code == 200
    assert answer.json() == {"text": "hihi", "length": 4}
    row = wire.accesses(request_id=answer.headers["X-Request-ID"])[0]
    assert (row["outcome"], row["surface"]) == ("allowed", "api:/api/wire/echo")


async def test_the_client_names_the_request(wire: Wire) -> None:
    headers = {"X-Request-ID": "mine-17"}
    answer = await wire.request("POST", "/api/wire/open", headers=headers, json={"anything": 1})
    assert answer.headers["X-Request-ID"] == "mine-17"
    assert wire.accesses(request_id="mine-17")


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b"{", 400, "invalid_json"),
        (b"[]", 400, "invalid_json"),
        (b"", 400, "invalid_json"),
        (b'{"times": 2}', 422, "invalid_input"),
        (b'{"text": 5}', 422, "invalid_input"),
        (b'{"text": "x", "more": 1}', 422, "invalid_input"),
        (json.dumps({"text": "x" * 3_000_000}).encode(), 413, "too_large"),
    ],
)
async def test_a_bad_body_is_refused(wire: Wire, body: bytes, status: int, code: str) -> None:
    answer = await wire.request(
        "POST",
        "/api/wire/echo",
        headers={**bearer(wire.token("ada")), "Content-Type": "application/json"},
        content=body,
    )
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)


async def test_another_content_type_is_refused(wire: Wire) -> None:
    answer = await wire.request(
        "POST", "/api/wire/open", headers={"Content-Type": "text/csv"}, content=b"a,b"
    )
    assert answer.status_code == 400
    assert "application/json" in answer.json()["error"]["message"]


@pytest.mark.parametrize(
    ("kind", "status", "code"),
    [
        ("denied", 403, "permission_denied"),
        ("fail", 500, "execution_failed"),
        ("sleep", 504, "timeout"),
        ("wrong", 502, "invalid_output"),
    ],
)
async def test_a_machine_that_fails_has_its_status(
    wire: Wire, kind: str, status: int, code: str
) -> None:
    path = "/api/wire/late" if kind == "sleep" else "/api/wire/trouble"
    answer = await wire.request("POST", path, json={"kind": kind})
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)
    assert "4711" not in answer.text


async def test_credentials_are_wanted_and_scopes_checked(wire: Wire) -> None:
    post: dict[str, Any] = {"json": {"text": "hi"}}
    nobody = await wire.request("POST", "/api/wire/echo", **post)
    assert nobody.status_code == 401
    assert nobody.headers["WWW-Authenticate"] == "Bearer, Api-Key"
    weak = bearer(wire.token("weak", "nothing:at-all"))
    refused = await wire.request("POST", "/api/wire/echo", headers=weak, **post)
    assert refused.status_code == 403
    assert wire.accesses(principal="weak")[0]["code"] == "forbidden"
    narrow = bearer(wire.token("narrow", "machines:run:wire_echo"))
    assert (await wire.request("POST", "/api/wire/echo", headers=narrow, **post)).is_success
    wrong = bearer(wire.token("good")[:-8] + "AAAAAAAA")
    assert (await wire.request("POST", "/api/wire/open", headers=wrong, json={})).status_code == 401


async def test_another_method_is_405_and_says_which(wire: Wire) -> None:
    answer = await wire.request("DELETE", "/api/wire/open")
    assert answer.status_code == 405
    assert "POST" in answer.headers["Allow"]
    assert answer.json()["error"]["message"]


async def test_get_takes_the_query_string_by_type(wire: Wire) -> None:
    assert (await wire.get("/api/wire/limits?n=3")).json() == {"n": 3}
    answer = await wire.get("/api/wire/limits?n=three")
    assert answer.status_code == 422
    for _ in range(3):
        limited = await wire.get("/api/wire/limits?n=4")
    limited = await wire.get("/api/wire/limits?n=5")
    assert limited.status_code == 429
    assert int(limited.headers["Retry-After"]) > 0


async def test_a_browser_gets_the_browsable_api(wire: Wire) -> None:
    answer = await wire.request(
        "POST", "/api/wire/open", headers={"Accept": "text/html"}, json={"anything": 1}
    )
    assert answer.headers["Content-Type"].startswith("text/html")
    assert "Open to all" in answer.text


async def test_options_describes_the_surface(wire: Wire) -> None:
    answer = await wire.request("OPTIONS", "/api/wire/echo")
    assert answer.json()["accepts"]["required"] == ["text"]


async def test_what_is_no_surface_is_djangos_404(wire: Wire) -> None:
    answer = await wire.get("/api/wire/nowhere")
    assert isinstance(answer, httpx.Response)
    assert answer.status_code == 404
