"""Two server processes on one database, with or without Valkey between them, and what a client
may rely on whatever happens to them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from tests.incubators.conftest import ENVIRONMENT, HERE, Frame, Hive
from tests.live import LiveProject
from tests.servers import postgres, valkey

Pair = tuple[Hive, Hive]


@contextmanager
def two_servers(folder: Path, kind: str) -> Iterator[Pair]:
    """``kind``: words of ``sqlite``, ``postgresql``, ``valkey``."""
    with ExitStack() as stack:
        url = None
        if "postgresql" in kind:
            cluster = stack.enter_context(postgres({"max_connections": "200"}))
            url = cluster.create_database("hive")
        env = dict(ENVIRONMENT)
        if "valkey" in kind:
            env["REDIS_URL"] = stack.enter_context(valkey()).url
        for name in "ab":
            (folder / name).mkdir()
        machines = [HERE / "machines"]
        one = LiveProject(folder / "a", env=env, machines=machines, database_url=url)
        two = LiveProject(
            folder / "b", env=env, database_url=url or f"sqlite:///{one.database_file}"
        )
        stack.enter_context(one)
        two.start()
        stack.callback(two.stop)
        yield Hive(one), Hive(two)


class Follower:
    """Rule 1 for one agent over all its connections: every entry once, in order, none left out;
    one ``replay_done``, where it belongs. ``last``: the id up to which it has everything."""

    def __init__(self) -> None:
        self.last = 0
        self.epoch = ""
        self.events: dict[int, Frame] = {}
        self._begin()

    def _begin(self) -> None:
        self._is_live = False
        self._awaits_done = False
        self._first_is_free = False

    def query(self) -> dict[str, Any]:
        """What a new connection asks for."""
        self._begin()
        if not self.epoch:
            self._first_is_free = True  # everything that is kept, wherever that begins
            return {"since": 0}
        return {"since": self.last, "epoch": self.epoch}

    def take(self, frame: Frame) -> None:
        """One frame, as it came."""
        kind = frame["type"]
        assert not self._awaits_done or kind == "replay_done", frame
        if kind == "gap":
            assert not self._is_live
            assert frame["epoch"] != self.epoch, "everything of this epoch was there"
            self.epoch, self.last = frame["epoch"], frame["to"]
            self.events.clear()
        elif kind == "state":
            assert frame["cursor"] == self.last
        elif kind == "replay_done":
            self._done(frame)
        elif kind == "reset":
            assert frame["epoch"] != self.epoch
            self.epoch, self._awaits_done = frame["epoch"], True
            self.events.clear()
        elif kind == "dance_tools":
            assert self._is_live
        elif "id" in frame:
            self._entry(frame)

    def _done(self, frame: Frame) -> None:
        if self._awaits_done:  # of a reset
            assert frame["cursor"] >= self.last
            self.last = frame["cursor"]
        else:
            assert not self._is_live, "a second replay_done"
            if self._first_is_free:
                self.last = frame["cursor"]
            assert frame["cursor"] == self.last
        self.epoch = self.epoch or frame["epoch"]
        assert frame["epoch"] == self.epoch
        self._is_live, self._awaits_done, self._first_is_free = True, False, False

    def _entry(self, frame: Frame) -> None:
        if self._first_is_free:
            self._first_is_free = False
        else:
            assert frame["id"] == self.last + 1, (self.last, frame)
        self.last = frame["id"]
        if frame["type"] == "event":
            self.epoch = self.epoch or frame["epoch"]
            assert frame["epoch"] == self.epoch
            self.events[frame["id"]] = frame
