"""A batch of works becomes one transaction; whoever spoils it is found and fails alone.

Used by the writer's thread only. Every work leaves with its outcome set, whatever happens: this
module never raises, and never calls something committed that is not.
"""

from __future__ import annotations

import logging
import select
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from django.db import InterfaceError, OperationalError, connections, transaction
from django.db.backends.base.base import BaseDatabaseWrapper

from ..conf import settings
from .checkpoints import Checkpoints
from .work import Sink, Work

logger = logging.getLogger(__name__)

Group = tuple[Sink[Any], list[Work]]


class Committer:
    """The writer's connection, and what is done with it."""

    def __init__(self, alias: str) -> None:
        self.alias = alias
        #: Why the last batch was not committed as a whole; None when it was.
        self.last_error: str | None = None
        self._told = False
        # Held here, a fork does not end the parent's connection with the thread that made it.
        self._connection: BaseDatabaseWrapper | None = None
        self._checkpoints: Checkpoints | None = None

    def commit(self, works: Sequence[Work]) -> None:
        """Commit what can be; each work has its ``result`` or its ``error`` afterwards."""
        self.last_error = None
        if any(work.companions for work in works):
            works = _with_companions(works)
        units = [work for work in works if work.sink is None]
        groups = _by_sink(works)
        if units or len(groups) > 1:
            groups = self._together(units, groups)
        for sink, members in groups:
            if any(work.companions for work in members):
                self._apart(members)
            else:
                self._items(sink, members)
        if self._checkpoints is not None:
            self._checkpoints.look()
        if self._told and self.last_error is None:
            self._told = False
            logger.warning("Works are committed again.")

    def close(self) -> None:
        """End the connection; the next batch opens another."""
        connection, self._connection = self._connection, None
        checkpoints, self._checkpoints = self._checkpoints, None
        if checkpoints is not None:
            checkpoints.close()
        if connection is None:
            return
        try:
            connection.close()
        except Exception as error:
            logger.info("The writer's connection was broken already: %s", error)
            connection.connection = None

    # -- transactions ---------------------------------------------------------------------------

    def _together(self, units: list[Work], groups: list[Group]) -> list[Group]:
        """Units and items in one transaction; returns the groups with a bad item in them."""
        committed = False
        spoiled: list[Group] = []
        written: list[Sink[Any]] = []
        left_out: set[int] = set()  # the ids of companions of works that are not written here

        def note() -> None:
            nonlocal committed
            committed = True

        try:
            connection = self._open()
            with transaction.atomic(using=self.alias):
                # The first hook to run: if another one raises, we know that COMMIT was done.
                transaction.on_commit(note, using=self.alias)
                if connection.vendor == "postgresql":  # one unit's row lock must not stop us all
                    with connection.cursor() as cursor:
                        patience = int(settings.LEDGER.WAIT * 1000)
                        cursor.execute(f"SET LOCAL lock_timeout = {patience}")
                for work in _wanted(units, left_out):
                    self._unit(connection, work)
                for sink, members in groups:
                    here = list(_wanted(members, left_out))
                    if not here:
                        continue
                    problem = self._group(connection, sink, here)
                    if problem is None:
                        written.append(sink)
                        continue
                    left_out.update(id(each) for work in here for each in work.companions)
                    if len(here) == 1:
                        self._bad(here[0], problem)
                    else:
                        spoiled.append((sink, here))
        except BaseException as error:
            if not committed:
                self._lost(error, units, groups)
                return []
            logger.exception("A hook that a unit left for after the commit failed.")
        for sink in written:
            sink.settle(committed=True)
        return spoiled

    def _apart(self, works: Sequence[Work]) -> None:
        """In halves, to find the bad one; each work with what is to be written with it."""
        half = (len(works) + 1) // 2
        for part in (works[:half], works[half:]):
            for sink, members in self._together([], _by_sink(_with_companions(part))):
                if any(work.companions for work in members):
                    self._apart(members)
                else:
                    self._items(sink, members)

    def _unit(self, connection: BaseDatabaseWrapper, work: Work) -> None:
        """One unit in its savepoint. Only a transaction that is lost with it is raised."""
        try:
            with transaction.atomic(using=self.alias):
                work.result = work.item(connection)
        except BaseException as error:
            if _is_lost(connection):
                raise
            work.error, work.result = error, None

    def _group(
        self, connection: BaseDatabaseWrapper, sink: Sink[Any], works: list[Work]
    ) -> Exception | None:
        """All items of a sink in a savepoint; what is raised when one of them is bad."""
        try:
            with transaction.atomic(using=self.alias):
                sink.write(connection, [work.item for work in works])
        except (OperationalError, InterfaceError):
            raise
        except Exception as problem:
            if _is_lost(connection):
                raise
            sink.settle(committed=False)
            return problem
        return None

    def _items(self, sink: Sink[Any], works: list[Work]) -> None:
        """The items of one sink in one transaction; when one is bad, in halves, to find it."""
        works = [work for work in works if not work.is_given_up]
        if not works:
            return
        items = [work.item for work in works]
        try:
            connection = self._open()
            at_once = getattr(sink, "write_at_once", None)
            with connection.wrap_database_errors:
                if at_once is None or not at_once(connection, items):
                    with transaction.atomic(using=self.alias):
                        sink.write(connection, items)
        except (OperationalError, InterfaceError) as error:
            self._lost(error, works, [(sink, works)])
        except BaseException as error:
            sink.settle(committed=False)
            if len(works) > 1:
                half = len(works) // 2
                self._items(sink, works[:half])
                self._items(sink, works[half:])
                return
            self._bad(works[0], error)
        else:
            sink.settle(committed=True)

    def _bad(self, work: Work, error: BaseException) -> None:
        """It is this item that the database does not take."""
        logger.error("An item can't be written: %s", error)
        self.last_error = str(error)
        work.fail(error)

    def _lost(self, error: BaseException, works: Sequence[Work], groups: Sequence[Group]) -> None:
        """The database is gone or locked, or COMMIT failed: nothing counts as written."""
        self.close()
        members = {id(work): work for work in works}
        for sink, of_sink in groups:
            sink.settle(committed=False)
            members.update((id(work), work) for work in of_sink)
        for work in members.values():
            work.fail(error)
        self.last_error = str(error)
        if not self._told:  # said once, not with every batch while it lasts
            logger.error("%d works are not committed: %s", len(members), error)
        self._told = True

    # -- the connection -------------------------------------------------------------------------

    def _open(self) -> BaseDatabaseWrapper:
        connection = self._connection
        if connection is not None and connection.connection is not None:
            if connection.queries_log:  # with DEBUG: thousands of statements, for nobody
                connection.queries_log.clear()
            if not _was_ended(connection):
                return connection
            self.close()
        connection = self._connection = connections[self.alias]
        connection.ensure_connection()
        if connection.vendor == "sqlite":
            # A unit that reads before it writes must hold the lock from the start, whatever the
            # project's settings say; and a lock is not waited for longer than anyone waits.
            connection.__dict__["transaction_mode"] = "IMMEDIATE"
            with connection.cursor() as cursor:
                cursor.execute(f"PRAGMA busy_timeout = {int(settings.LEDGER.WAIT * 1000)}")
                # What a savepoint needs to be undone goes, beyond 64 KiB, into a file that is made
                # and deleted each time.
                cursor.execute("PRAGMA temp_store = MEMORY")
            self._checkpoints = Checkpoints(connection)
        return connection


def _by_sink(works: Sequence[Work]) -> list[Group]:
    """Items of one sink together, in the order of arrival; sinks in the order of their turns."""
    found: dict[int, Group] = {}
    for work in works:
        sink = work.sink
        if sink is None:
            continue
        group = found.get(id(sink))
        if group is None:
            group = found[id(sink)] = (sink, [])
        group[1].append(work)
    return sorted(found.values(), key=_turn)


def _with_companions(works: Iterable[Work]) -> list[Work]:
    return [each for work in works for each in (work, *work.companions)]


def _wanted(works: Iterable[Work], left_out: set[int]) -> Iterator[Work]:
    """Those whose waiters were not told that they failed; what belongs to the others is left out.

    Each is asked when its turn comes: what was before it may have taken long.
    """
    for work in works:
        if work.is_given_up:
            left_out.update(id(each) for each in work.companions)
        elif id(work) not in left_out:
            yield work


def _turn(group: Group) -> int:
    return group[0].turn


def _is_lost(connection: BaseDatabaseWrapper) -> bool:
    """Whether the savepoint could not be rolled back: then the whole transaction is gone."""
    return connection.needs_rollback or connection.closed_in_transaction


def _was_ended(connection: BaseDatabaseWrapper) -> bool:
    """Whether the PostgreSQL server ended the connection while it was idle, as a restart does.

    Costs one poll of the socket (1 µs), and saves the first batch after a restart.
    """
    raw: Any = connection.connection
    protocol = getattr(raw, "pgconn", None)
    if protocol is None or not hasattr(select, "poll"):
        return False
    try:
        socket = select.poll()
        socket.register(protocol.socket, select.POLLIN)
        while socket.poll(0):
            protocol.consume_input()
    except Exception as error:
        logger.info("PostgreSQL ended the writer's connection; it opens another: %s", error)
        return True
    return False
