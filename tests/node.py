"""Node, for the clients of the seeds that are written in JavaScript."""

from __future__ import annotations

import shutil
import subprocess


def node_with_websocket() -> str | None:
    """Node where its WebSocket can be had: from 20 by an option, from 22 by itself."""
    node = shutil.which("node")
    if node is None:
        return None
    words = [node, "--experimental-websocket", "-p", "typeof WebSocket"]
    told = subprocess.run(words, capture_output=True, text=True, check=False)
    return node if told.stdout.strip() == "function" else None
