"""The reference project, with little time for a node."""

from project.settings import *  # noqa: F403
from project.settings import MASHIN_SURFACES

MASHIN_SURFACES["RUNS"]["NODE_TIMEOUT"] = 20.0
