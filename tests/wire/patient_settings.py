"""The reference project's settings, with looks at the database that are too rare to help."""

from __future__ import annotations

from project.settings import *  # noqa: F403  the project's settings are these settings
from project.settings import MASHIN_SURFACES

MASHIN_SURFACES = {**MASHIN_SURFACES, "MODULES": ["wire_effects"], "WATCH_INTERVAL": 600.0}
