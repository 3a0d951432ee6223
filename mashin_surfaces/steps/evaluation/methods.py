"""The methods of each kind of value, by the Python type that holds it."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Final

from .builtin import Table
from .list_methods import LIST
from .map_methods import MAP
from .number_methods import NUMBER
from .text_methods import TEXT

METHODS: Final[Mapping[type, Table]] = {
    str: TEXT,
    list: LIST,
    dict: MAP,
    int: NUMBER,
    float: NUMBER,
    Decimal: NUMBER,
}
