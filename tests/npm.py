"""Packages from npm, for tests that build or check what browsers are given."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

#: Seconds that the registry gets.
PATIENCE = 120


def install(folder: Path, *packages: str) -> Path:
    """Install packages (``name@version``) into a folder; the folder of their programs.

    The test is skipped, with the reason, where npm or its registry can't be had.
    """
    npm = shutil.which("npm")
    if npm is None:
        pytest.skip("There is no npm here: install Node.")
    words = [npm, "install", "--no-audit", "--no-fund", "--no-save", *packages]
    try:
        done = subprocess.run(
            words, cwd=folder, capture_output=True, text=True, timeout=PATIENCE, check=False
        )
    except subprocess.TimeoutExpired:
        pytest.skip(f"npm has not answered within {PATIENCE} s.")
    if done.returncode != 0:
        pytest.skip(f"npm can't install {', '.join(packages)}: {done.stderr[-300:]}")
    return folder / "node_modules" / ".bin"


def run(program: Path, *words: str | Path, cwd: Path) -> str:
    """What a program that ended well wrote to standard output."""
    done = subprocess.run(
        [program, *map(str, words)], cwd=cwd, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    return done.stdout
