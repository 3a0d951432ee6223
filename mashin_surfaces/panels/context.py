"""What a tool is given: the state as a mapping that records, and what else it may do.

Nothing that a tool does here reaches anybody before its run is committed, except ``progress``.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Iterator, MutableMapping
from fnmatch import fnmatchcase
from typing import Any

from ..exceptions import Code, Refusal
from ..identity.principal import Principal
from ..machines.schemas import dumps
from ..rooms.events import Mutation
from ..rooms.storable import storable

#: What one run may do.
MOST_MUTATIONS = 1_000
MOST_EVENTS = 100
#: Seconds that a suspension lasts when the tool says nothing, and at most.
SUSPENSION_TIMEOUT = 3600.0
LONGEST_SUSPENSION = 30 * 86_400.0


class Suspended(BaseException):
    """Ends a run that waits; no tool should catch it."""

    def __init__(self, extension: str, method: str, call: list[Any], timeout: float) -> None:
        super().__init__(f"{extension}.{method}")
        self.extension = extension
        self.method = method
        self.call = call
        self.timeout = timeout


class SuspensionFailed(Exception):
    """The answer to ``suspend`` is an error; its text is what was answered."""


class SuspensionExpired(SuspensionFailed):
    """Nobody answered in time."""


class RecordedState(MutableMapping[str, Any]):
    """A panel's state for one run: what it reads is its own, what it changes is told at the end."""

    def __init__(self, state: dict[str, Any], may: Callable[[str], None]) -> None:
        self._may = may
        self.restart(state)

    def restart(self, state: dict[str, Any]) -> None:
        """Go on with another state; what was changed so far is forgotten."""
        self._before = state
        self._now = dict(state)
        self._touched: dict[str, None] = {}

    def __getitem__(self, key: str) -> Any:
        value = self._now[key]
        if isinstance(value, dict | list) and key not in self._touched:
            value = self._now[key] = copy.deepcopy(value)  # it may be changed in place
            self._touched[key] = None
        return value

    def __setitem__(self, key: str, value: Any) -> None:
        if not isinstance(key, str):
            raise TypeError(f"The keys of the state are text, not {type(key).__name__}.")
        self._may(f"state:write:{key}")
        self._touched[key] = None
        self._now[key] = value

    def __delitem__(self, key: str) -> None:
        self._may(f"state:write:{key}")
        del self._now[key]
        self._touched[key] = None

    def __iter__(self) -> Iterator[str]:
        return iter(self._now)

    def __len__(self) -> int:
        return len(self._now)

    def mutations(self) -> list[Mutation]:
        """The changes, one for each key, in the order in which they were begun.

        Raises ``Refusal`` (permission_denied) for what was changed in place and may not be.
        """
        found: list[Mutation] = []
        for key in self._touched:
            if key not in self._now:
                if key in self._before:
                    found.append({"op": "delete", "key": _spelled(key)})
            else:
                value = storable(self._now[key])
                if key not in self._before or not _is_same(self._before[key], value):
                    self._may(f"state:write:{key}")
                    storable(key)
                    found.append({"op": "set", "key": _spelled(key), "value": value})
        if len(found) > MOST_MUTATIONS:
            raise Refusal(Code.TOO_LARGE, f"A run changes at most {MOST_MUTATIONS} keys.")
        return found


def _spelled(key: str) -> str:
    """A top-level key in a mutation, where what begins with a slash is a JSON Pointer."""
    return "/" + key.replace("~", "~0").replace("/", "~1") if key.startswith("/") else key


def _is_same(one: Any, other: Any) -> bool:
    """Whether two values are one JSON: for Python ``1 == True == 1.0``."""
    return bool(one == other) and dumps(one) == dumps(other)


class Context:
    """The first argument of a tool."""

    def __init__(
        self,
        state: dict[str, Any],
        *,
        args: dict[str, Any],
        principal: Principal,
        capabilities: tuple[str, ...] | None,
        answers: list[dict[str, Any]],
        committed: dict[str, Any],
        tell: Callable[[str, Any], None],
    ) -> None:
        self.args = args
        self.principal = principal
        #: The agent in whose name an incubator runs the tool; panels have none.
        self.agent: str | None = None
        self.events: list[dict[str, Any]] = []
        self.view_commands: list[dict[str, Any]] = []
        self._capabilities = capabilities
        self._answers = answers
        self._given = 0
        self._committed = committed
        self._tell = tell
        self.state = RecordedState(state if answers else committed, self._may)

    def _may(self, capability: str) -> None:
        """Raise ``Refusal`` (permission_denied) for what the tool's capabilities do not have."""
        held = self._capabilities
        if held is not None and not any(fnmatchcase(capability, each) for each in held):
            raise Refusal(
                Code.PERMISSION_DENIED, f'This tool does not have the capability "{capability}".'
            )

    def emit(self, name: str, payload: Any = None) -> None:
        """An event for everybody who follows the panel."""
        self._may(f"events:emit:{name}")
        if len(self.events) >= MOST_EVENTS:
            raise Refusal(Code.TOO_LARGE, f"A run emits at most {MOST_EVENTS} events.")
        at = time.time_ns() // 1_000_000
        self.events.append({"name": str(name), "payload": storable(payload), "timestamp": at})

    def view(self, view_id: str, command: str, params: dict[str, Any] | None = None) -> None:
        """A command for the sender's view; it comes with the result."""
        self._may(f"view:update:{view_id}")
        made = {"viewId": str(view_id), "command": str(command), "params": storable(params or {})}
        self.view_commands.append(made)

    def progress(self, status: str, data: Any = None) -> None:
        """Tell the sender at once how far it is; not kept anywhere."""
        self._tell(str(status), storable(data))

    async def suspend(
        self,
        extension: str,
        method: str,
        args: list[Any],
        timeout: float = SUSPENSION_TIMEOUT,  # noqa: ASYNC109  how long it waits in the database
    ) -> Any:
        """Wait for an extension or a person; the answer, or ``SuspensionFailed``.

        The run ends here, and what it did so far is committed. When the answer comes, maybe days
        later and in another process, the tool runs again from its beginning: up to here it sees
        what it saw, what it changes and emits is not told again, and from here on it works on the
        state as it is then. So what stands before this must give the same each time.
        """
        self._may(f"ext:{extension}")
        if self._given < len(self._answers):
            answer = self._answers[self._given]
            self._given += 1
            self.events.clear()
            self.view_commands.clear()
            is_last = self._given == len(self._answers)
            self.state.restart(self._committed if is_last else answer.get("state", {}))
            if answer.get("expired"):
                raise SuspensionExpired(answer["error"])
            if "error" in answer:
                raise SuspensionFailed(answer["error"])
            return copy.deepcopy(answer.get("value"))
        call = storable(list(args))
        storable(self.args)  # they are kept, too
        raise Suspended(str(extension), str(method), call, min(timeout, LONGEST_SUSPENSION))

    def claim(self, resource: str, ttl_ms: int | None = None) -> None:
        """Incubators have claims; panels do not."""
        raise Refusal(Code.EXECUTION_FAILED, "A panel has no claims: they belong to incubators.")

    release = claim
