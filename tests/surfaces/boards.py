"""Machines with every kind of door, for the tests of those who come and go."""

from __future__ import annotations

from typing import Any

from mashin_surfaces import effect

from .test_page import declare

BOARD = """
machine board
  accepts
    topic as text, is required
  responds with
    value as number, is required
  implements
    compute answer
      {value: 1}
  expresses
    websocket
      path: "/ws/board"
      auth: none, api_key
      subscribe: topic
    websocket
      path: "/ws/board/panel"
      dialect: panel
      auth: api_key
    websocket
      path: "/ws/board/runs"
      dialect: dag
      auth: api_key
    websocket
      path: "/ws/board/bus"
      dialect: incubator
      auth: api_key
    api
      path: "/api/board"
      method: "GET"
      auth: none, api_key
"""
COUNTER = """
machine counter
  accepts
    topic as text, is required
  responds with
    value as number, is required
  ensures
    permissions
      allowed to
        boards.*
  implements
    ask counted, from: "boards.count"
    compute answer
      {value: steps.counted.value}
  expresses
    websocket
      path: "/ws/counter"
      auth: none
    websocket
      path: "/ws/counter/fed"
      auth: none
      subscribe: topic
      every: "50ms"
"""
counted = 0


@effect("boards.count")
def count() -> dict[str, Any]:
    """Another number each time."""
    global counted  # noqa: PLW0603  the tests' own count
    counted += 1
    return {"value": counted}


__all__ = ["BOARD", "COUNTER", "declare"]
