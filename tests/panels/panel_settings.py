"""The reference project's settings, with tools that end sooner."""

from __future__ import annotations

from project.settings import *  # noqa: F403  the project's settings are these settings
from project.settings import MASHIN_SURFACES

MASHIN_SURFACES = {**MASHIN_SURFACES, "MODULES": ["panel_tools"], "PANELS": {"TIMEOUT": 3.0}}
