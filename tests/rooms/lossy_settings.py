"""The tests' settings, with a channel layer that is as bad as one may be."""

from __future__ import annotations

import os

from tests.settings import *  # noqa: F403  the tests' settings are these settings

CHANNEL_LAYERS = {
    "default": {
        "BACKEND": "tests.rooms.lossy.LossyLayer",
        "CONFIG": {"hosts": [os.environ["REDIS_URL"]]},
    }
}
