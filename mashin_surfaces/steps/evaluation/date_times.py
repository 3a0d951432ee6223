"""``DateTime``: points in time are texts, RFC 3339 in UTC (``2026-05-07T12:00:00Z``)."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, Final

from .builtin import Table, entry
from .scope import EvaluationError, Scope, did_you_mean, quote
from .values import need_number, need_text

DATE_TIME: Final[Table] = {}
_UNITS: Final = {
    "millisecond": timedelta(milliseconds=1),
    "second": timedelta(seconds=1),
    "minute": timedelta(minutes=1),
    "hour": timedelta(hours=1),
    "day": timedelta(days=1),
    "week": timedelta(weeks=1),
}
_DAYS: Final = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_MONTHS: Final = (
    "January", "February", "March", "April", "May", "June", "July", "August", "September",
    "October", "November", "December",
)  # fmt: skip
_DIRECTIVE: Final = re.compile(r"%(.?)", re.DOTALL)
_NUMBERS: Final = frozenset("YmdHIMSfjy")


def rfc3339(moment: datetime) -> str:
    """In UTC with ``Z``; microseconds only where there are some."""
    return moment.astimezone(UTC).replace(tzinfo=None).isoformat() + "Z"


def _moment(value: Any, who: str) -> datetime:
    text = need_text(value, who)
    try:
        if len(text) == len("2026-05-07"):
            return datetime.combine(date.fromisoformat(text), time(), UTC)
        moment = datetime.fromisoformat(text)
        if moment.tzinfo is not None:
            return moment.astimezone(UTC)
    except (ValueError, OverflowError):
        pass
    raise EvaluationError(
        f'{who} needs a date and time with its offset, such as "2026-05-07T12:00:00Z", '
        f"not {quote(text)}."
    )


def _unit(value: Any, who: str) -> timedelta:
    text = need_text(value, who)
    unit = _UNITS.get(text.removesuffix("s"))
    if unit is None:
        raise EvaluationError(f"{who} has no unit {quote(text)}.{did_you_mean(text, _UNITS)}")
    return unit


@entry(DATE_TIME, "now", prefix="DateTime.")
def _now(scope: Scope) -> str:
    return rfc3339(scope.now)


@entry(DATE_TIME, "parse", 1, prefix="DateTime.")
def _parse(scope: Scope, text: Any) -> str:
    """The same moment in UTC; a date alone is its first moment."""
    return rfc3339(_moment(text, "DateTime.parse"))


@entry(DATE_TIME, "add", 3, prefix="DateTime.")
def _add(scope: Scope, moment: Any, amount: Any, unit: Any) -> str:
    who = "DateTime.add"
    start = _moment(moment, who)
    count = need_number(amount, who)
    try:
        return rfc3339(start + _unit(unit, who) * float(count))
    except OverflowError:
        raise EvaluationError(f"{who}: the years go from 1 to 9999.") from None


@entry(DATE_TIME, "diff", 2, 3, prefix="DateTime.")
def _diff(scope: Scope, later: Any, earlier: Any, unit: Any = "seconds") -> Any:
    """``later - earlier``, an integer when it is whole."""
    who = "DateTime.diff"
    difference = (_moment(later, who) - _moment(earlier, who)) / _unit(unit, who)
    return int(difference) if difference.is_integer() else difference


@entry(DATE_TIME, "format", 2, prefix="DateTime.")
def _format(scope: Scope, moment: Any, pattern: Any) -> str:
    """``%Y %y %m %d %H %I %M %S %f %j %p %a %A %b %B %Z %%`` as in C, in English."""
    who = "DateTime.format"
    text = need_text(pattern, who)
    scope.read(text)
    scope.grow_text(5 * len(text))  # "%A" becomes "Wednesday"
    return _DIRECTIVE.sub(_Directives(_moment(moment, who)), text)


class _Directives:
    """What a directive of a pattern stands for, whatever language the process runs in."""

    def __init__(self, moment: datetime) -> None:
        self.moment = moment

    def __call__(self, match: re.Match[str]) -> str:
        sign, moment = match.group(1), self.moment
        if sign in _NUMBERS and sign:
            return f"{moment.year:04}" if sign == "Y" else moment.strftime(f"%{sign}")
        day, month = _DAYS[moment.weekday()], _MONTHS[moment.month - 1]
        words = {
            "a": day[:3],
            "A": day,
            "b": month[:3],
            "B": month,
            "p": "AM" if moment.hour < 12 else "PM",
            "Z": "UTC",
            "%": "%",
        }
        if sign not in words:
            raise EvaluationError(f'DateTime.format has no "%{sign}".')
        return words[sign]
