"""The threads on which credentials are looked up."""

from __future__ import annotations

from ..threads import Threads

THREADS = 4

_threads = Threads("mashin-identity", lambda: THREADS)
run, submit, close = _threads.run, _threads.submit, _threads.close
