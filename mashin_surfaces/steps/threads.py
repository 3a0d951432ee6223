"""The threads on which synchronous effects run."""

from __future__ import annotations

from ..conf import settings
from ..threads import Threads

effect_threads = Threads("mashin-effect", lambda: settings.EFFECT_THREADS)
