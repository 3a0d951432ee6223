"""The namespaces and global functions, by name."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Any, Final

import orjson

from .builtin import Builtin, Table, entry
from .date_times import DATE_TIME, rfc3339
from .list_methods import unique
from .map_methods import MAP
from .mathematics import MATH, MATH_CONSTANTS
from .scope import ENTRY_SIZE, ITEM_SIZE, EvaluationError, Scope
from .text_methods import TEXT
from .values import (
    identity,
    is_true,
    key_text,
    measure,
    need_list,
    need_map,
    need_text,
    stringify,
    to_text,
)

GLOBALS: Final[Table] = {}
STRING: Final[Table] = {}
OBJECT: Final[Table] = {}
JSON: Final[Table] = {}
SET: Final[Table] = {}
UUID: Final[Table] = {}
NAMESPACES: Final[Mapping[str, Table]] = {
    "Math": MATH,
    "String": STRING,
    "Object": OBJECT,
    "JSON": JSON,
    "DateTime": DATE_TIME,
    "Set": SET,
    "UUID": UUID,
}
CONSTANTS: Final = {("Math", name): number for name, number in MATH_CONSTANTS.items()}
_KIND_OF: Final = {"String": (STRING, TEXT, need_text), "Object": (OBJECT, MAP, need_map)}


@entry(GLOBALS, "now")
def _now(scope: Scope) -> str:
    """The time of the run, the same at every call: RFC 3339 in UTC."""
    return rfc3339(scope.now)


# -- String and Object: the methods with their value in front -------------------------------------


def _as_function(space: str, name: str, method: Builtin) -> Builtin:
    need = _KIND_OF[space][2]
    function = method.function

    def call(scope: Scope, value: Any, *others: Any) -> Any:
        return function(scope, need(value, f"{space}.{name}"), *others)

    return Builtin(f"{space}.{name}", call, method.least, method.most)


for _space, (_table, _methods, _) in _KIND_OF.items():
    for _name, _method in _methods.items():
        _table[_name] = _as_function(_space, _name, _method)


@entry(STRING, "length", 1, prefix="String.")
def _length(scope: Scope, text: Any) -> int:
    return len(need_text(text, "String.length"))


@entry(STRING, "from", 1, prefix="String.")
def _text_of(scope: Scope, value: Any) -> str:
    return to_text(scope, value)


@entry(OBJECT, "merge", 1, None, "assign", prefix="Object.")
def _merge(scope: Scope, *maps: Any) -> dict[str, Any]:
    """A new map with the entries of all; the later ones win."""
    merged: dict[str, Any] = {}
    for each in maps:
        scope.spend(len(need_map(each, "Object.merge")))
        scope.grow(len(each) * ENTRY_SIZE)
        merged.update(each)
    return merged


@entry(OBJECT, "fromEntries", 1, prefix="Object.")
def _from_entries(scope: Scope, pairs: Any) -> dict[str, Any]:
    """A map of ``[key, value]`` pairs."""
    who = "Object.fromEntries"
    scope.spend(len(need_list(pairs, who)))
    scope.grow(len(pairs) * ENTRY_SIZE)
    made = {}
    for pair in pairs:
        if type(pair) is not list or len(pair) != 2:
            raise EvaluationError(f"{who} needs a list of [key, value] pairs.")
        made[key_text(pair[0])] = pair[1]
    return made


@entry(OBJECT, "delete", 2, prefix="Object.")
def _delete(scope: Scope, values: Any, key: Any) -> dict[str, Any]:
    """A new map without ``key``."""
    scope.spend(len(need_map(values, "Object.delete")))
    scope.grow(len(values) * ENTRY_SIZE)
    unwanted = key_text(key)
    return {key: value for key, value in values.items() if key != unwanted}


OBJECT["hasKey"] = Builtin("Object.hasKey", OBJECT["has"].function, 2, 2)


# -- JSON ---------------------------------------------------------------------------------------


@entry(JSON, "parse", 1, prefix="JSON.")
def _parse(scope: Scope, text: Any) -> Any:
    source = need_text(text, "JSON.parse")
    scope.read(source)
    scope.grow(len(source) * ITEM_SIZE // 2)  # "[1,1,1]" makes an item of two characters
    try:
        value = orjson.loads(source)
    except orjson.JSONDecodeError as error:
        raise EvaluationError(f"JSON.parse: this is not JSON: {error}.") from error
    measure(value)
    return value


@entry(JSON, "stringify", 1, 2, prefix="JSON.")
def _stringify(scope: Scope, value: Any, indent: Any = False) -> str:
    """The JSON text, on one line; with a true ``indent`` on many."""
    return stringify(scope, value, indent=is_true(indent))


# -- Set: lists in which each value is once -------------------------------------------------------


def _members(scope: Scope, values: Any, who: str) -> dict[Any, Any]:
    scope.spend(len(need_list(values, who)))
    scope.grow(len(values) * ENTRY_SIZE)
    return {identity(scope, value): value for value in values}


@entry(SET, "from", 1, 1, "toList", prefix="Set.")
def _set_from(scope: Scope, values: Any) -> list[Any]:
    return unique(scope, need_list(values, "Set.from"))


@entry(SET, "has", 2, prefix="Set.")
def _set_has(scope: Scope, values: Any, value: Any) -> bool:
    return identity(scope, value) in _members(scope, values, "Set.has")


@entry(SET, "add", 2, prefix="Set.")
def _set_add(scope: Scope, values: Any, value: Any) -> list[Any]:
    return unique(scope, [*need_list(values, "Set.add"), value])


@entry(SET, "delete", 2, prefix="Set.")
def _set_delete(scope: Scope, values: Any, value: Any) -> list[Any]:
    found = _members(scope, values, "Set.delete")
    found.pop(identity(scope, value), None)
    return list(found.values())


@entry(SET, "union", 2, prefix="Set.")
def _union(scope: Scope, left: Any, right: Any) -> list[Any]:
    return unique(scope, [*need_list(left, "Set.union"), *need_list(right, "Set.union")])


@entry(SET, "intersection", 2, prefix="Set.")
def _intersection(scope: Scope, left: Any, right: Any) -> list[Any]:
    others = _members(scope, right, "Set.intersection")
    found = _members(scope, left, "Set.intersection")
    return [value for key, value in found.items() if key in others]


@entry(SET, "difference", 2, prefix="Set.")
def _difference(scope: Scope, left: Any, right: Any) -> list[Any]:
    others = _members(scope, right, "Set.difference")
    found = _members(scope, left, "Set.difference")
    return [value for key, value in found.items() if key not in others]


@entry(SET, "size", 1, prefix="Set.")
def _size(scope: Scope, values: Any) -> int:
    return len(_members(scope, values, "Set.size"))


# -- UUID ---------------------------------------------------------------------------------------


@entry(UUID, "generate", 0, 0, "v4", prefix="UUID.")
def _generate(scope: Scope) -> str:
    """A random UUID, version 4 (RFC 9562)."""
    return str(uuid.UUID(int=scope.random.getrandbits(128), version=4))
