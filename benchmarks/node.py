"""The peer on Node: the package ``ws``, installed for this run."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

from benchmarks.servers import ROOT, Peer
from benchmarks.session import Session


def room(session: Session) -> Peer:
    """The room peer; ``ws`` is installed into a folder of the session, the first time."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        raise SystemExit("The room peer needs Node: install it (nodejs.org), with npm.")
    folder = session.folder / "node"
    if not folder.exists():
        folder.mkdir()
        shutil.copy(ROOT / "benchmarks/peers/room.mjs", folder)
        (folder / "package.json").write_text("{}")
        subprocess.run(
            [npm, "install", "--no-audit", "--no-fund", "--loglevel=error", "ws"],
            cwd=folder, check=True, stdout=subprocess.DEVNULL,
        )  # fmt: skip
        session.versions["Node"] = _output(node, "--version").lstrip("v")
        installed: Path = folder / "node_modules/ws/package.json"
        session.versions["ws"] = json.loads(installed.read_text())["version"]
    return Peer("Node ws", "", (), (str(folder / "room.mjs"), "{port}"), program=node)


def _output(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
