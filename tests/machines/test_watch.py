"""Who watches the epochs hears of each that moved."""

from __future__ import annotations

from functools import partial

import pytest

from mashin_surfaces.machines.watch import Watcher, bump

pytestmark = pytest.mark.django_db(transaction=True)


def test_a_callback_that_fails_keeps_no_news_from_others_and_is_called_again() -> None:
    heard: list[str] = []

    def fail(epoch: str) -> None:
        heard.append(epoch)
        raise ConnectionError("what it needs is down")

    watcher = Watcher()
    for epoch in ("credentials", "definitions"):
        bump(epoch)
        watcher.on_change(epoch, partial(fail, epoch))
    for looks in (1, 2):
        with pytest.raises(ConnectionError):
            watcher.look()
        assert sorted(heard) == sorted(["credentials", "definitions"] * looks)
