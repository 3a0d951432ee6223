"""What a run's effects cost: booked by the effects themselves, collected by who runs them.

What is collected goes with the context: into what an effect awaits, into its tasks, and onto the
thread of a synchronous one. What becomes of it (rows, budgets) is left to ``runs/``.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation

logger = logging.getLogger(__name__)

#: US dollars that one charge can be at most: what the cost account has digits for.
MOST = Decimal(10**9)
MOST_TOKENS = 2**31 - 1


@dataclass(frozen=True, slots=True)
class Charge:
    """``amount`` is US dollars; ``model`` is what was asked, where it was a model."""

    amount: Decimal
    model: str = ""
    input_tokens: int = 0
    output_tokens: int = 0


_collected: ContextVar[list[Charge] | None] = ContextVar("mashin_charges", default=None)


def charge(
    amount: Decimal | float | str,
    *,
    model: str = "",
    input_tokens: int = 0,
    output_tokens: int = 0,
) -> None:
    """Book what an effect has spent, in US dollars; as often as it spends.

    Counts where the effect is asked by a run; elsewhere there is no account, and nothing happens.
    Raises ``ValueError`` for an amount or a number of tokens that is none.
    """
    made = Charge(_dollars(amount), model, _tokens(input_tokens), _tokens(output_tokens))
    collected = _collected.get()
    if collected is None:
        logger.debug("Outside of a run %s US dollars are booked nowhere", made.amount)
    else:
        collected.append(made)


@contextmanager
def collecting(charges: list[Charge] | None = None) -> Iterator[list[Charge]]:
    """The list of what is charged within, in the order in which it comes; a new one, or this."""
    charges = [] if charges is None else charges
    token = _collected.set(charges)
    try:
        yield charges
    finally:
        _collected.reset(token)


def _dollars(amount: Decimal | float | str) -> Decimal:
    try:
        dollars = Decimal(str(amount))
    except InvalidOperation:
        dollars = Decimal("NaN")
    if isinstance(amount, bool) or not dollars.is_finite() or not 0 <= dollars <= MOST:
        raise ValueError(f"A charge is from 0 to {MOST} US dollars, this is {amount!r}.")
    return dollars


def _tokens(number: object) -> int:
    if isinstance(number, bool) or not isinstance(number, int) or not 0 <= number <= MOST_TOKENS:
        raise ValueError(f"Tokens are counted from 0 to {MOST_TOKENS}, this is {number!r}.")
    return number
