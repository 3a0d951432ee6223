"""What effects charge reaches who runs them, wherever they run."""

from __future__ import annotations

import asyncio
from decimal import Decimal
from typing import Any

import pytest

from mashin_surfaces import charge, effect
from mashin_surfaces.machines.parser import parse
from mashin_surfaces.steps.effects import EffectRegistry, registry
from mashin_surfaces.steps.program import Program
from mashin_surfaces.steps.run import Run
from mashin_surfaces.steps.spending import Charge, collecting


@effect("spending.on_a_thread")
def on_a_thread() -> None:
    charge("0.001", model="small", input_tokens=12, output_tokens=3)


@effect("spending.in_tasks")
async def in_tasks() -> None:
    async def one(amount: float) -> None:
        await asyncio.sleep(0)
        charge(amount)

    await asyncio.gather(one(0.1), one(0.2))


async def ask(name: str) -> Any:
    source = f'machine m\n  implements\n    ask a, from: "{name}"\n'
    return await Program(parse(source).definition).run(Run({}, lambda effect: True))


async def test_a_synchronous_effect_charges_from_its_thread() -> None:
    with collecting() as charges:
        await ask("spending.on_a_thread")
    assert charges == [Charge(Decimal("0.001"), "small", 12, 3)]


async def test_an_asynchronous_effect_charges_from_all_its_tasks() -> None:
    with collecting() as charges:
        await ask("spending.in_tasks")
    assert sum(each.amount for each in charges) == Decimal("0.3")


async def test_who_runs_at_the_same_time_pays_for_itself() -> None:
    async def paying(times: int) -> int:
        with collecting() as charges:
            for _ in range(times):
                await ask("spending.on_a_thread")
        return len(charges)

    assert await asyncio.gather(*(paying(times) for times in range(8))) == list(range(8))


async def test_outside_of_a_run_nothing_is_booked(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("DEBUG", logger="mashin_surfaces.steps.spending"):
        charge(2)
        with collecting() as charges:
            pass
        charge(1)
    assert charges == []
    assert [record.message for record in caplog.records] == [
        "Outside of a run 2 US dollars are booked nowhere",
        "Outside of a run 1 US dollars are booked nowhere",
    ]


@pytest.mark.parametrize("amount", [-1, float("nan"), float("inf"), "a lot", 10**9 + 1, True])
def test_an_amount_is_one(amount: Any) -> None:
    with collecting() as charges, pytest.raises(ValueError, match="A charge is from 0 to"):
        charge(amount)
    assert charges == []


@pytest.mark.parametrize("tokens", [-1, 1.5, True, 2**31])
def test_tokens_are_counted(tokens: Any) -> None:
    with pytest.raises(ValueError, match="Tokens are counted"):
        charge(0, input_tokens=tokens)
    with pytest.raises(ValueError, match="Tokens are counted"):
        charge(0, output_tokens=tokens)


def test_an_effect_says_whether_it_may_be_done_twice() -> None:
    fresh = EffectRegistry()

    def send() -> None: ...

    assert fresh.register("read", send).idempotent
    assert not fresh.register("send", send, idempotent=False).idempotent
    effect("spending.once", idempotent=False)(send)
    once = registry.get("spending.once")
    assert once is not None
    assert not once.idempotent
