"""The reference project for the benchmarks: their machines' effects, logs that are not trimmed, and
the peers' tables beside ours, so that one process can write to both."""

from __future__ import annotations

from project import settings as project
from project.settings import *  # noqa: F403  a settings module is its names

INSTALLED_APPS = [*project.INSTALLED_APPS, "benchmarks.peers"]
MASHIN_SURFACES = {
    **project.MASHIN_SURFACES,
    "MODULES": ["benchmarks.effects"],
    "ROOMS": {"topic": {"COUNT": None, "AGE": None}},
    "RUNS": {"AUTH": ["none"]},
}
