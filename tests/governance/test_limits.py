"""Rates, concurrency, permissions and the error table."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mashin_surfaces.exceptions import Code, Refusal
from mashin_surfaces.governance import door, limits
from mashin_surfaces.governance.errors import TABLE, outcome_of
from mashin_surfaces.governance.limits import Concurrency, RateLimit
from mashin_surfaces.governance.permissions import PermissionSet
from mashin_surfaces.machines.definition import Permissions
from mashin_surfaces.machines.parser import parse
from mashin_surfaces.machines.quantities import Rate
from mashin_surfaces.machines.registry import CompiledMachine

#: Seconds within which anything happens.
DEADLINE = 30.0


class Clock:
    """Time that a test moves."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(limits, "monotonic", made)
    return made


def refused(limit: RateLimit, principal: str) -> float | None:
    """Seconds to wait, None when one more was let through."""
    try:
        limit.take(principal)
    except Refusal as refusal:
        return refusal.retry_after if refusal.code is Code.RATE_LIMITED else -1
    return None


def test_a_burst_passes_and_then_the_rate_rules(clock: Clock) -> None:
    limit = RateLimit(Rate(2.0, 3))
    assert [refused(limit, "ada") for _ in range(3)] == [None] * 3
    assert refused(limit, "ada") == pytest.approx(0.5)
    clock.now += 0.5
    assert refused(limit, "ada") is None
    assert refused(limit, "ada") == pytest.approx(0.5)


def test_one_principal_does_not_use_up_anothers(clock: Clock) -> None:
    limit = RateLimit(Rate(1.0, 1))
    assert refused(limit, "ada") is None
    assert refused(limit, "bob") is None
    assert refused(limit, "ada") is not None


def test_two_threads_that_come_to_a_machine_first_have_the_same_limits(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    both = Barrier(2)

    class MadeTogether(door.GovernedMachine):
        def __init__(self, compiled: CompiledMachine) -> None:
            super().__init__(compiled)
            both.wait(DEADLINE)

    monkeypatch.setattr(door, "GovernedMachine", MadeTogether)
    source = "machine m\n  implements\n    compute out\n      {a: 1}\n"
    compiled = CompiledMachine.of(parse(source).definition)
    with ThreadPoolExecutor(2) as threads:
        one, other = threads.map(door.governed, [compiled, compiled])
    assert one is other


def test_the_number_of_buckets_is_bounded(clock: Clock) -> None:
    limit = RateLimit(Rate(1.0, 1), capacity=10)
    for number in range(1000):
        limit.take(f"visitor {number}")
    assert len(limit._buckets) == 10


@given(st.lists(st.floats(0, 5), max_size=60))
def test_never_more_than_burst_and_rate_allow(pauses: list[float]) -> None:
    clock, limit, passed = Clock(), RateLimit(Rate(2.0, 5)), 0
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(limits, "monotonic", clock)
        for pause in pauses:
            clock.now += pause
            passed += refused(limit, "x") is None
    assert passed <= 5 + 2.0 * (clock.now - 1000.0) + 1e-6


def test_no_more_run_at_once_than_may() -> None:
    concurrency = Concurrency(2)
    with concurrency, concurrency:
        with pytest.raises(Refusal) as refusal, concurrency:
            pass
        assert refusal.value.code is Code.BUSY
    with concurrency:
        pass


@pytest.mark.parametrize(
    ("allowed", "denied", "effect", "verdict"),
    [
        (("mail.send",), (), "mail.send", True),
        (("mail.*",), (), "mail.send", True),
        (("mail.*",), ("mail.send",), "mail.send", False),
        (("mail.*",), ("mail.send",), "mail.read", True),
        (("*",), ("mail.*",), "mail.read", False),
        ((), (), "mail.send", False),
        (("mail",), (), "mail.send", False),
        (("MAIL.send",), (), "mail.send", False),
    ],
)
def test_a_denial_beats_a_grant_and_the_rest_is_denied(
    allowed: tuple[str, ...], denied: tuple[str, ...], effect: str, verdict: bool
) -> None:
    permissions = PermissionSet(Permissions(allowed=allowed, denied=denied))
    assert permissions.allows(effect) is verdict
    assert permissions.allows(effect) is verdict


def test_every_code_stands_in_the_table() -> None:
    assert set(TABLE) == set(Code)
    assert all(400 <= meaning.status < 600 or meaning.status == 202 for meaning in TABLE.values())
    assert all(meaning.close is None or 4000 <= meaning.close < 5000 for meaning in TABLE.values())


def test_an_outcome_says_whether_the_machine_ran() -> None:
    assert outcome_of(None) == "allowed"
    assert outcome_of(Code.FORBIDDEN) == "refused"
    assert outcome_of(Code.TIMEOUT) == "failed"
