"""The import contracts hold, and each of them would notice."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LINT = "from importlinter.cli import lint_imports_command as lint; lint()"


def judge(folder: Path) -> subprocess.CompletedProcess[str]:
    """What import-linter says of the package in a folder."""
    config = ROOT / "pyproject.toml"
    return subprocess.run(
        [sys.executable, "-c", LINT, "--config", str(config), "--no-cache"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_contracts_hold() -> None:
    verdict = judge(ROOT)
    assert verdict.returncode == 0, verdict.stdout + verdict.stderr


@pytest.mark.parametrize(
    ("module", "line", "contract"),
    [
        ("dialects/machine.py", "import asyncio", "Dialects know no Django"),
        ("dialects/machine.py", "from django.conf import settings", "Dialects know no Django"),
        ("dialects/machine.py", "from .. import conf", "Dialects know no Django"),
        ("dialects/machine.py", "from . import another", "Dialects do not import each other"),
        ("machines/registry.py", "from .. import commit", "Machines import no other package"),
        ("machines/registry.py", "from ..steps import effects", "Nothing below imports"),
        ("ledger/models.py", "from .. import governance", "Nothing below imports"),
        ("governance/govern.py", "from ..surfaces import routes", "Nothing below imports"),
        ("governance/govern.py", "import channels", "Governance and what is below it"),
        ("surfaces/api.py", "import psycopg", "What is behind an extra"),
        ("surfaces/api.py", "import websockets", "What is behind an extra"),
        ("surfaces/api.py", "from .. import client", "Nothing below imports"),
        ("client/errors.py", "from .. import exceptions", "The client is for small programs"),
        ("client/errors.py", "import django", "The client is for small programs"),
        ("steps/ask_effect.py", "def late():\n    import pydantic_ai", "What is behind an extra"),
    ],
)
def test_an_import_against_a_contract_is_noticed(
    tmp_path: Path, module: str, line: str, contract: str
) -> None:
    package = shutil.copytree(ROOT / "mashin_surfaces", tmp_path / "mashin_surfaces")
    (package / "dialects" / "another.py").touch()
    with (package / module).open("a") as file:
        file.write(f"\n{line}\n")
    verdict = judge(tmp_path)
    assert verdict.returncode == 1
    broken = [row for row in verdict.stdout.splitlines() if row.endswith("BROKEN")]
    assert any(row.startswith(contract) for row in broken) or contract in verdict.stdout, (
        verdict.stdout
    )
