"""The reference project's settings; a test may say more of panels."""

from __future__ import annotations

import json
import os

from project.settings import *  # noqa: F403  the project's settings are these settings
from project.settings import MASHIN_SURFACES

MASHIN_SURFACES = {
    **MASHIN_SURFACES,
    "MODULES": ["panel_tools"],
    "PANELS": json.loads(os.environ.get("PANELS", "{}")),
}
