"""Messages against declared fields: strict in, projected out, told all at once."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any
from uuid import UUID

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mashin_surfaces.exceptions import Code, DefinitionError, Refusal
from mashin_surfaces.machines.definition import Field, Type
from mashin_surfaces.machines.schemas import Schema, dumps


def field(name: str, kind: str | Type = "text", **modifiers: Any) -> Field:
    of_type = kind if isinstance(kind, Type) else Type.model_validate({"name": kind})
    return Field(name=name, type=of_type, **modifiers)


def refusal(action: Callable[[], Any]) -> Refusal:
    with pytest.raises(Refusal) as caught:
        action()
    return caught.value


def codes(action: Callable[[], Any]) -> dict[str, str]:
    """The error code at each path."""
    return {each["path"]: each["code"] for each in refusal(action).details or []}


# -- text to values -------------------------------------------------------------------------------

METRIC = Schema.of((field("name", required=True), field("limit", "integer", default=5)))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        '"text"',
        "{'a': 1}",
        '{"a": NaN}',
        '{"a": -Infinity}',
        '{"a": 1e999}',
        '{"a": "\\ud800"}',
        '\ufeff{"a": 1}',
        b'{"a": "\xff"}',
        b'\xff\xfe{\x00"\x00',
        '{"a": "\ud800"}',
        '{"a":' + "[" * 64 + "]" * 64 + "}",
        "[" * 100_000,
    ],
)
@pytest.mark.parametrize("kind", ["any", "decimal"])
def test_what_is_not_json_is_refused(text: str | bytes, kind: str) -> None:
    schema = Schema.of((field("a", kind),))
    assert refusal(lambda: schema.loads(text)).code is Code.INVALID_JSON


def test_json_may_be_nested_64_levels() -> None:
    text = '{"a":' + "[" * 63 + "]" * 63 + "}"
    assert Schema.of((field("a", "any"),)).check(METRIC.loads(text)) == json.loads(text)


def test_the_last_of_equal_keys_wins() -> None:
    assert METRIC.loads('{"name": "a", "name": "b"}') == {"name": "b"}


# -- input ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        ("text", '"é"', "é"),
        ("text", '""', ""),
        ("number", "1", 1),
        ("number", "1.5", 1.5),
        ("integer", "3.0", 3),
        ("integer", "-9007199254740992.0", -(2**53)),
        ("integer", "18446744073709551615", 2**64 - 1),
        ("decimal", "1.10", Decimal("1.10")),
        ("decimal", "100000000000000000000000001", Decimal(10**26 + 1)),
        ("boolean", "false", False),
        ("uuid", '"123E4567-E89B-42D3-A456-426614174000"', "123e4567-e89b-42d3-a456-426614174000"),
        ("date", '"2024-02-29"', "2024-02-29"),
        ("datetime", '"2026-05-07T12:00:00Z"', "2026-05-07T12:00:00Z"),
        ("datetime", '"2026-05-07T14:00:00.5+02:00"', "2026-05-07T12:00:00.500000Z"),
        ("list", '[1, "a", null]', [1, "a", None]),
        ("map", '{"a": [1.5]}', {"a": [1.5]}),
        ("any", "[{}]", [{}]),
    ],
)
def test_a_value_of_its_type_passes(kind: str, text: str, value: Any) -> None:
    schema = Schema.of((field("x", kind, required=True),))
    checked = schema.check(schema.loads(f'{{"x": {text}}}'))["x"]
    assert checked == value
    assert type(checked) is type(value)


@pytest.mark.parametrize(
    ("kind", "text", "code"),
    [
        ("text", "1", "wrong_type"),
        ("number", '"42"', "wrong_type"),
        ("number", "true", "wrong_type"),
        ("integer", "true", "wrong_type"),
        ("integer", "3.5", "wrong_type"),
        ("integer", "9007199254740994.0", "wrong_type"),
        ("integer", "18446744073709551616", "wrong_type"),
        ("integer", '"3"', "wrong_type"),
        ("decimal", '"1.10"', "wrong_type"),
        ("decimal", "true", "wrong_type"),
        ("boolean", "1", "wrong_type"),
        ("boolean", '"true"', "wrong_type"),
        ("uuid", '"123e4567e89b42d3a456426614174000"', "bad_format"),
        ("uuid", "5", "wrong_type"),
        ("date", '"2026-02-30"', "bad_format"),
        ("date", '"20260207"', "bad_format"),
        ("datetime", '"2026-05-07T12:00:00"', "bad_format"),
        ("datetime", '"2026-05-07"', "bad_format"),
        ("datetime", '"0001-01-01T00:00:00+10:00"', "bad_format"),
        ("datetime", "1715083200", "wrong_type"),
        ("list", "{}", "wrong_type"),
        ("map", "[]", "wrong_type"),
        ("number", "null", "wrong_type"),
    ],
)
def test_nothing_is_coerced_from_json(kind: str, text: str, code: str) -> None:
    schema = Schema.of((field("x", kind, required=True),))
    assert codes(lambda: schema.check(schema.loads(f'{{"x": {text}}}'))) == {"/x": code}


@pytest.mark.parametrize(
    ("declared", "good", "bad", "code"),
    [
        (field("x", "integer", min=1), 1, 0, "too_small"),
        (field("x", "number", max=1.5), 1.5, 1.6, "too_big"),
        (field("x", "decimal", min=0, max=1), Decimal("0.5"), Decimal("1.01"), "too_big"),
        (field("x", min_length=2), "ab", "a", "too_short"),
        (field("x", max_length=2), "äö", "abc", "too_long"),
        (field("x", "list", min_length=1), [1], [], "too_short"),
        (field("x", "list", max_length=1), [1], [1, 2], "too_long"),
        (field("x", "map", max_length=1), {"a": 1}, {"a": 1, "b": 2}, "too_long"),
        (field("x", pattern="^[A-Z]"), "Ab", "ab", "bad_pattern"),
        (field("x", choices=("a", "b")), "a", "c", "not_a_choice"),
        (field("x", "integer", choices=(1, 2)), 1, 3, "not_a_choice"),
        (field("x", "boolean", choices=(True,)), True, False, "not_a_choice"),
        (field("x", Type(name="enum", choices=("a", "b"))), "b", "c", "not_a_choice"),
        (field("x", Type(name="enum", choices=("1",))), "1", 1, "not_a_choice"),
        (field("x", format="email"), "a@example.org", "a@", "bad_format"),
        (field("x", format="uri"), "https://example.org/?q=1", "example.org", "bad_format"),
        (field("x", format="hostname"), "a-b.example", "-a.example", "bad_format"),
        (field("x", format="ipv4"), "192.0.2.1", "192.0.2.256", "bad_format"),
        (field("x", format="ipv6"), "2001:db8::1", "fe80::1%eth0", "bad_format"),
        (field("x", format="slug"), "a-b_1", "a b", "bad_format"),
        (field("x", Type(name="list", item=Type(name="integer"))), [1, 2], ["1"], "wrong_type"),
    ],
)
def test_modifiers_hold(declared: Field, good: Any, bad: Any, code: str) -> None:
    schema = Schema.of((declared,))
    assert schema.check({"x": good}) == {"x": good}
    assert list(codes(lambda: schema.check({"x": bad})).values()) == [code]


NESTED = Schema.of(
    (
        field("a", required=True),
        field("n", "number"),
        field(
            "o",
            Type(
                name="object",
                fields=(
                    field("b", "integer", required=True),
                    field("c", default="x"),
                    field("pin", secret=True, max_length=4),
                ),
            ),
        ),
        field("xs", Type(name="list", item=Type(name="object", fields=(
            field("y", "integer", required=True), field("key", secret=True),
        )))),
        field("password", secret=True, choices=("correct horse",)),
    )
)  # fmt: skip


def test_all_that_is_wrong_is_told_at_once_with_pointers() -> None:
    found = codes(
        lambda: NESTED.check(
            {"n": "1", "o": {"b": None, "zz": 1}, "xs": [{"y": 1}, {"y": "2"}], "u/~n": 1}
        )
    )
    assert found == {
        "/a": "missing",
        "/n": "wrong_type",
        "/o/b": "wrong_type",
        "/o/zz": "extra_forbidden",
        "/xs/1/y": "wrong_type",
        "/u~1~0n": "extra_forbidden",
    }


def test_messages_name_what_was_expected_and_the_type_of_what_was_found() -> None:
    caught = refusal(lambda: METRIC.check({"name": 1}))
    assert caught.code is Code.INVALID_INPUT
    assert caught.message == 'The input does not fit: "/name": Expected a text, found a number.'


def test_a_secret_is_never_repeated() -> None:
    caught = refusal(
        lambda: NESTED.check({"a": "", "password": "hunter2", "o": {"b": 1, "pin": "hunter2"}})
    )
    assert len(caught.details or []) == 2
    assert "hunter2" not in json.dumps(caught.as_dict("r"))


def test_secret_paths_are_pointers() -> None:
    assert NESTED.secret_paths == ("/o/pin", "/xs/*/key", "/password")


def test_null_of_an_optional_field_is_absent() -> None:
    assert METRIC.check({"name": "a", "limit": None}) == {"name": "a", "limit": 5}
    assert NESTED.check({"a": "", "n": None, "o": {"b": 1, "c": None}}) == {
        "a": "",
        "o": {"b": 1, "c": "x"},
    }


def test_null_is_a_value_of_a_required_any() -> None:
    assert Schema.of((field("x", "any", required=True),)).check({"x": None}) == {"x": None}


def test_an_unknown_key_with_null_is_still_unknown() -> None:
    assert codes(lambda: METRIC.check({"name": "a", "zz": None})) == {"/zz": "extra_forbidden"}


def test_a_default_list_is_each_message_s_own() -> None:
    schema = Schema.of((field("xs", "list", default=[1]),))
    schema.check({})["xs"].append(2)
    assert schema.check({}) == {"xs": [1]}


def test_many_errors_are_cut() -> None:
    schema = Schema.of((field("xs", Type(name="list", item=Type(name="integer"))),))
    assert len(refusal(lambda: schema.check({"xs": ["a"] * 1000})).details or []) == 50


def test_no_fields_take_an_empty_object() -> None:
    schema = Schema.of(())
    assert schema.check({}) == {}
    assert codes(lambda: schema.check({"a": 1})) == {"/a": "extra_forbidden"}


@pytest.mark.parametrize(
    ("declared", "words"),
    [
        (field("x", pattern="(?=a)"), "pattern"),
        (field("x", "integer", default="a"), "default"),
        (field("x", "integer", min=1, default=0), "default"),
        (field("x", "file"), "not supported yet"),
    ],
)
def test_a_field_that_cannot_be_is_a_definition_error(declared: Field, words: str) -> None:
    with pytest.raises(DefinitionError, match=words):
        Schema.of((declared,))


def test_open_values_beside_a_decimal_stay_plain() -> None:
    schema = Schema.of((field("d", "decimal"), field("m", "map"), field("n", "number")))
    checked = schema.check(schema.loads('{"d": 1.10, "m": {"a": [1.10]}, "n": 1.10}'))
    assert checked == {"d": Decimal("1.10"), "m": {"a": [1.1]}, "n": 1.1}
    assert [type(checked["n"]), type(checked["m"]["a"][0])] == [float, float]
    assert dumps(checked) == b'{"d":1.10,"m":{"a":[1.1]},"n":1.1}'


# -- query strings and forms ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("declared", "texts", "value"),
    [
        (field("x"), [" a "], " a "),
        (field("x", required=True), [""], ""),
        (field("x", "integer"), ["42"], 42),
        (field("x", "integer"), ["3.0"], 3),
        (field("x", "number"), [" -1.5e1 "], -15.0),
        (field("x", "decimal"), ["1.10"], Decimal("1.10")),
        (field("x", "boolean"), ["on"], True),
        (field("x", "boolean"), ["No"], False),
        (field("x", "list"), ["a", "b"], ["a", "b"]),
        (field("x", Type(name="list", item=Type(name="integer"))), ["1", "2"], [1, 2]),
        (field("x", "list"), ['[1, "b"]'], [1, "b"]),
        (field("x", "map"), ['{"a": 1}'], {"a": 1}),
        (field("x", "any"), ["null"], None),
        (field("x", "any", required=True), ["[1]"], [1]),
        (field("x", "date"), ["2026-05-07"], "2026-05-07"),
    ],
)
def test_texts_are_read_by_type(declared: Field, texts: list[str], value: Any) -> None:
    assert Schema.of((declared,)).coerce({"x": texts}).get("x") == value


@pytest.mark.parametrize(
    ("kind", "texts"),
    [
        ("integer", ["1_000"]),
        ("integer", ["1.5"]),
        ("integer", ["٣"]),
        ("number", ["nan"]),
        ("number", ["inf"]),
        ("number", ["1e999"]),
        ("number", ["0x10"]),
        ("boolean", ["maybe"]),
        ("text", ["a", "b"]),
        ("map", ["[]"]),
        ("map", ["{"]),
        ("list", ["[1"]),
    ],
)
def test_texts_that_mean_nothing_are_told(kind: str, texts: list[str]) -> None:
    schema = Schema.of((field("x", kind),))
    assert codes(lambda: schema.coerce({"x": texts})) == {"/x": "wrong_type"}


def test_an_empty_text_is_absent_unless_a_text_is_required() -> None:
    schema = Schema.of((field("n", "integer", required=True), field("t"), field("d", default="x")))
    assert codes(lambda: schema.coerce({"n": [""], "t": [""], "d": [""]})) == {"/n": "missing"}
    assert schema.coerce({"n": ["1"], "t": [""], "d": [""]}) == {"n": 1, "d": "x"}


def test_an_unknown_name_is_told_beside_the_others() -> None:
    assert codes(lambda: METRIC.coerce({"q": ["1"], "limit": ["many"]})) == {
        "/limit": "wrong_type",
        "/name": "missing",
        "/q": "extra_forbidden",
    }


# -- output ---------------------------------------------------------------------------------------

ANSWER = Schema.of(
    (
        field("value", "number", required=True),
        field("count", "integer"),
        field("price", "decimal"),
        field("at", "datetime"),
        field("day", "date"),
        field("id", "uuid"),
        field("note"),
        field("rows", Type(name="list", item=Type(name="object", fields=(field("a", "any"),)))),
        field("extra", "map"),
    )
)


def test_python_values_go_out_as_json_of_the_declared_fields() -> None:
    answer = ANSWER.check_output(
        {
            "value": Decimal("1.5"),
            "count": 3.0,
            "price": Decimal("1.50"),
            "at": datetime(2026, 5, 7, 14, tzinfo=timezone(timedelta(hours=2))),
            "day": date(2026, 5, 7),
            "id": UUID(int=5),
            "note": None,
            "rows": ({"a": (1, date(2026, 5, 7)), "b": 1},),
            "extra": {"at": datetime(2026, 5, 7, tzinfo=UTC)},
            "undeclared": object(),
        }
    )
    assert dumps(answer) == (
        b'{"value":1.5,"count":3,"price":1.50,"at":"2026-05-07T12:00:00Z","day":"2026-05-07",'
        b'"id":"00000000-0000-0000-0000-000000000005","rows":[{"a":[1,"2026-05-07"]}],'
        b'"extra":{"at":"2026-05-07T00:00:00Z"}}'
    )


def test_output_that_does_not_fit_is_the_machine_s_fault() -> None:
    caught = refusal(
        lambda: ANSWER.check_output(
            {
                "value": float("nan"),
                "count": 1.5,
                "at": datetime(2026, 5, 7),
                "note": 5,
                "rows": [{"a": object()}],
                "extra": {1: 2},
            }
        )
    )
    assert caught.code is Code.INVALID_OUTPUT
    assert {each["path"] for each in caught.details or []} == {
        "/value",
        "/count",
        "/at",
        "/note",
        "/rows/0/a",
        "/extra",
    }


@pytest.mark.parametrize("value", [None, [], "text", 5])
def test_output_is_an_object(value: Any) -> None:
    for schema in (ANSWER, Schema.of((), allow_any=True)):
        assert refusal(lambda: schema.check_output(value)).code is Code.INVALID_OUTPUT  # noqa: B023


def test_without_declared_fields_any_json_object_may_go_out() -> None:
    schema = Schema.of((), allow_any=True)
    assert schema.check_output({"a": (1, UUID(int=1))}) == {"a": [1, str(UUID(int=1))]}


@pytest.mark.parametrize(
    "value", [float("inf"), {1}, b"", object(), {1: 2}, 2**64, "\ud800", Decimal("NaN")]
)
def test_what_json_does_not_have_does_not_go_out(value: Any) -> None:
    schema = Schema.of((), allow_any=True)
    assert list(codes(lambda: schema.check_output({"a": [value]})).values()) == ["not_json"]


def test_a_value_that_holds_itself_does_not_go_out() -> None:
    loop: list[Any] = []
    loop.append(loop)
    schema = Schema.of((), allow_any=True)
    assert refusal(lambda: schema.check_output({"a": loop})).code is Code.INVALID_OUTPUT


# -- JSON Schema ----------------------------------------------------------------------------------


def test_the_json_schema_says_what_the_validator_does() -> None:
    schema = Schema.of(
        (
            field("name", required=True, label="Name", description="Who", max_length=9),
            field("n", "integer", min=1, max=9, default=5),
            field("at", "datetime"),
            field("pin", secret=True, format="slug"),
            field("e", Type(name="enum", choices=("a", "b"))),
            field("xs", Type(name="list", item=Type(name="number")), max_length=3),
        )
    )
    assert schema.json_schema() == {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "type": "object",
        "additionalProperties": False,
        "required": ["name"],
        "properties": {
            "name": {"type": "string", "title": "Name", "description": "Who", "maxLength": 9},
            "n": {"type": "integer", "minimum": 1, "maximum": 9, "default": 5},
            "at": {"type": "string", "format": "date-time"},
            "pin": {"type": "string", "pattern": "^[-a-zA-Z0-9_]+$", "writeOnly": True},
            "e": {"type": "string", "enum": ["a", "b"]},
            "xs": {"type": "array", "items": {"type": "number"}, "maxItems": 3},
        },
    }


# -- anything -------------------------------------------------------------------------------------

_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)
_NAMES = [each.name for each in (*ANSWER.fields, *NESTED.fields)]


def outcome(action: Callable[[], Any]) -> Any:
    """What comes back, or the refusal."""
    try:
        return action()
    except Refusal as caught:
        return caught


@given(st.one_of(st.binary(), st.text(), _JSON.map(json.dumps)))
def test_any_text_is_an_object_or_refused(text: str | bytes) -> None:
    for schema in (METRIC, ANSWER):
        found = outcome(lambda: schema.loads(text))  # noqa: B023 - called at once
        assert isinstance(found, dict) or found.code is Code.INVALID_JSON


@given(st.dictionaries(st.sampled_from(_NAMES) | st.text(), _JSON))
def test_any_object_is_checked_or_refused(data: dict[str, Any]) -> None:
    for schema in (METRIC, ANSWER, NESTED):
        found = outcome(lambda: schema.check(data))  # noqa: B023 - called at once
        assert isinstance(found, dict) or found.code is Code.INVALID_INPUT
        answer = outcome(lambda: schema.check_output(data))  # noqa: B023 - called at once
        if isinstance(answer, dict):
            assert set(orjson.loads(dumps(answer))) <= {each.name for each in schema.fields}
        else:
            assert answer.code is Code.INVALID_OUTPUT


@given(st.dictionaries(st.sampled_from(_NAMES) | st.text(), st.lists(st.text())))
def test_any_form_is_read_or_refused(pairs: dict[str, list[str]]) -> None:
    for schema in (METRIC, ANSWER, NESTED):
        found = outcome(lambda: schema.coerce(pairs))  # noqa: B023 - called at once
        assert isinstance(found, dict) or found.code is Code.INVALID_INPUT


@given(st.fixed_dictionaries({"value": st.floats(allow_nan=False, allow_infinity=False)}))
def test_what_went_out_comes_in_again(data: dict[str, Any]) -> None:
    assert ANSWER.check(ANSWER.loads(dumps(ANSWER.check_output(data)))) == data
