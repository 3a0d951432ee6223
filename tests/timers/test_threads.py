"""Our own pools of threads."""

from __future__ import annotations

from mashin_surfaces.threads import Threads
from tests.forks import PATIENCE, forked, forks


@forks
def test_a_forked_process_has_threads_of_its_own() -> None:
    pool = Threads("test", lambda: 1)

    def work() -> None:
        assert pool.submit(lambda: 1).result(PATIENCE) == 1

    work()
    assert forked(work) == 0
    work()
    pool.close()
