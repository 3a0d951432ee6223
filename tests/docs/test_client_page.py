"""The examples of docs/client.md do what they say, against a real server."""

from __future__ import annotations

import ast
import asyncio
import re
from pathlib import Path
from types import CodeType
from typing import Any

import pytest

from tests.client.conftest import DEADLINE, Server, server
from tests.wire.following import at_rest, started

__all__ = ["server"]  # the fixture

pytestmark = pytest.mark.slow

PAGE = (Path(__file__).parents[2] / "docs" / "client.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


def test_there_is_an_example_for_each_dialect() -> None:
    assert len(EXAMPLES) == 4


async def names(server: Server) -> dict[str, Any]:
    """What the examples take as given."""
    run = await started(server.wire, server.token)
    await at_rest(server.wire, server.token, run, "review", "paused")
    return {
        "token": server.token,
        "panel_url": await server.panel(increment="panel.add"),
        "run_url": server.url(f"/api/dags/{run}/stream"),
    }


def compiled(example: str) -> CodeType:
    """With ``await`` at its top, as a notebook would have it."""
    flags = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
    code: CodeType = compile(example, "docs/client.md", "exec", flags=flags)
    return code


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda text: text.split()[3].rstrip(","))
async def test_an_example_does_what_it_says(server: Server, example: str) -> None:
    code = compiled(example.replace("ws://127.0.0.1:9000", server.url("")))
    async with asyncio.timeout(DEADLINE):
        await eval(code, await names(server))  # noqa: S307  our own page
