"""What a held scope covers."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mashin_surfaces.identity.scopes import EVERYTHING, MOST_ANSWERS, NOTHING, Scopes

#: Few letters, so that they meet often.
names = st.text("ab:", min_size=1, max_size=8)
globs = st.text("ab:*", min_size=1, max_size=8)


@pytest.mark.parametrize(
    ("held", "wanted"),
    [
        ("machines:run", "machines:run"),
        ("machines:run", "machines:run:echo"),
        ("machines", "machines:run:echo"),
        ("*", "machines:run:echo"),
        ("machines:*", "machines:run:echo"),
        ("*:echo", "machines:run:echo"),
        ("machines:*:echo", "machines:run:echo"),
        ("m*:r*:e*o", "machines:run:echo"),
        ("**", "anything"),
        ("a*a", "aa"),
    ],
)
def test_a_held_scope_covers(held: str, wanted: str) -> None:
    assert Scopes([held]).covers(wanted)


@pytest.mark.parametrize(
    ("held", "wanted"),
    [
        ("machines:run", "machines:runner"),
        ("machines:run:echo", "machines:run"),
        ("machines:run:", "machines:run"),
        ("machines:*", "machines"),
        ("*:echo", "machines:run:echoes"),
        ("a*a", "a"),
        ("a*b*a", "aba:"),
        ("ab*ba", "aba"),
        ("machines.run", "machinesXrun"),
        ("MACHINES:run", "machines:run"),
    ],
)
def test_a_held_scope_does_not_cover(held: str, wanted: str) -> None:
    assert not Scopes([held]).covers(wanted)


def test_no_scope_covers_nothing_and_the_star_everything() -> None:
    assert not NOTHING.covers("machines:run")
    assert EVERYTHING.covers("machines:run")


@given(held=globs, wanted=names)
def test_stars_match_as_the_regular_expression_would(held: str, wanted: str) -> None:
    pattern = ".*".join(map(re.escape, held.split("*")))
    by_glob = re.fullmatch(pattern, wanted) is not None
    assert Scopes([held]).covers(wanted) == (by_glob or wanted.startswith(f"{held}:"))


@given(held=st.lists(globs, max_size=4), wanted=names)
def test_a_set_covers_what_one_of_its_scopes_covers(held: list[str], wanted: str) -> None:
    assert Scopes(held).covers(wanted) == any(Scopes([one]).covers(wanted) for one in held)


@given(held=st.lists(globs, max_size=4), more=globs, wanted=names)
def test_more_scopes_never_cover_less(held: list[str], more: str, wanted: str) -> None:
    assert Scopes([*held, more]).covers(wanted) >= Scopes(held).covers(wanted)


@given(held=st.lists(globs, max_size=4))
def test_equal_sets_are_one_key_whatever_they_were_asked(held: list[str]) -> None:
    asked = Scopes(held)
    asked.covers("a:b")
    assert {asked: 1}[Scopes(reversed(held))] == 1


def test_a_glob_that_would_make_a_regular_expression_backtrack_is_answered() -> None:
    assert not Scopes(["a*" * 2000 + "b"]).covers("a" * 4000)


def test_answers_stay_right_when_more_was_asked_than_is_remembered() -> None:
    scopes = Scopes(["a:*"])
    for number in range(MOST_ANSWERS + 10):
        assert scopes.covers(f"a:{number}")
        assert not scopes.covers(f"b:{number}")
    assert scopes.covers("a:0")


@pytest.mark.parametrize("bad", ["", "two words", "line\nbreak", 7, None, ["a"]])
def test_what_is_no_scope_is_refused(bad: object) -> None:
    with pytest.raises(ValueError, match="is no scope"):
        Scopes([bad])


def test_one_text_is_one_scope() -> None:
    assert Scopes("machines:run").names == {"machines:run"}
