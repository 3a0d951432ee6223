"""The dashboard on the admin's index: what happens now, what waits, what is wrong.

Every figure is one bounded look at an index, so the page is quick on a ledger of any size. Each
reader gets the figures whose lists they may open.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final

from asgiref.sync import async_to_sync
from django.db.models import QuerySet, Sum
from django.http import HttpRequest
from django.urls import reverse
from django.utils import timezone
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from ..incubators.models import Incubator
from ..ledger import recent
from ..ledger.verify import last_check
from ..panels.models import Suspension
from ..rooms.models import Room
from ..runs.models import Gate, Run
from ..server.health import readiness
from ..timers import process
from ..timers.models import ServerProcess
from ..timers.moments import before
from .accesses import chain_problem
from .chart import Chart, chart_of
from .gates import open_gates
from .markup import badge, grouped
from .tables import moment, table

#: Minutes that the chart shows.
MINUTES: Final = 60
#: Rows of a figure that are counted; more are "1,000+".
MOST_COUNTED: Final = 1_000
#: Processes that are named.
MOST_PROCESSES: Final = 50
DAY: Final = timedelta(days=1)
#: After that long a check of the whole ledger is old.
CHECKED_FOR: Final = 7 * DAY
_CHECKS: Final = {
    "database": gettext_lazy("Database"),
    "ledger": gettext_lazy("Ledger's writer"),
    "rooms": gettext_lazy("Channel layer"),
    "runs": gettext_lazy("Runs"),
}


@dataclass(frozen=True, slots=True)
class Figure:
    """One number. ``look``: that of a badge when it is more than nothing; ``url``: its list."""

    label: str
    value: str
    note: str = ""
    look: str = ""
    url: str = ""


@dataclass(frozen=True, slots=True)
class Dashboard:
    """What one reader gets; what they may not see is empty."""

    figures: list[Figure] = field(default_factory=list)
    chart: Chart | None = None
    refusals: SafeString | None = None
    has_ledger: bool = False
    processes: SafeString | None = None
    checks: list[tuple[str, SafeString]] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.figures)


def dashboard_of(request: HttpRequest, site: str) -> Dashboard:
    """``site``: the name of the admin site, for links."""
    reader = _Reader(request, site)
    now = timezone.now()
    figures: list[Figure] = []
    chart = refusals = processes = None
    checks: list[tuple[str, SafeString]] = []
    may_see_ledger = reader.may("surfaceaccess", "view")
    if reader.may("serverprocess", "view"):
        alive = _alive()
        processes, checks = _processes(alive), _checks()
        figures.append(_connections(alive))
    if may_see_ledger:
        counted = recent.accesses_by_minute(now, MINUTES)
        chart = chart_of(counted, now, recent.MOST_A_MINUTE)
        by_code = recent.refusals_by_code(now - timedelta(minutes=MINUTES))
        refusals = _refusals(by_code)
        figures += [_last_minute(counted), _refused(by_code, reader)]
    for models, figure in _FIGURES:
        if any(reader.may(model, "view", "change") for model in models):
            figures.append(figure(reader, now))
    if may_see_ledger:
        figures += [_ledger(reader), _checked(now)]
    return Dashboard(figures, chart, refusals, may_see_ledger, processes, checks)


class _Reader:
    """Who looks: what they may see, and where it is for them."""

    def __init__(self, request: HttpRequest, site: str) -> None:
        self._user: Any = request.user
        self._site = site

    def may(self, model: str, *verbs: str) -> bool:
        return any(self._user.has_perm(f"mashin_surfaces.{verb}_{model}") for verb in verbs)

    def list_of(self, model: str, query: str = "") -> str:
        url = reverse(f"admin:mashin_surfaces_{model}_changelist", current_app=self._site)
        return f"{url}?{query}" if query else url


# -- the figures ----------------------------------------------------------------------------------


def _connections(alive: QuerySet[ServerProcess]) -> Figure:
    total = alive.aggregate(total=Sum("connections"))["total"] or 0
    note = _("sockets and event streams, at the last beat of each process")
    return Figure(_("Connections now"), grouped(total), note)


def _last_minute(counted: list[int]) -> Figure:
    value = _up_to(counted[-1], recent.MOST_A_MINUTE)
    return Figure(_("Accesses, last minute"), value, _("messages, connects, pages, calls"))


def _refused(by_code: list[tuple[str, int]], reader: _Reader) -> Figure:
    times = sum(count for _code, count in by_code)
    return Figure(
        _("Not allowed, last hour"),
        _up_to(times, recent.MOST_REFUSED),
        _("refused or failed"),
        "warn" if times else "",
        reader.list_of("surfaceaccess", "outcome__exact=refused&day=today"),
    )


def _waiting(reader: _Reader, now: datetime) -> Figure:
    runs = set(open_gates().order_by().values_list("run", flat=True)[:MOST_COUNTED])
    return Figure(
        _("Runs waiting for a person"),
        _up_to(len(runs), MOST_COUNTED),
        _("at an open gate"),
        "warn" if runs else "",
        reader.list_of("gate"),
    )


def _failed(reader: _Reader, now: datetime) -> Figure:
    failed = Run.objects.filter(status=Run.Status.FAILED, started_at__gte=now - DAY)
    count = _counted(failed)
    return Figure(
        _("Failed runs, last day"),
        _up_to(count, MOST_COUNTED),
        _("of those that started in it"),
        "bad" if count else "",
        reader.list_of("run", "status__exact=failed"),
    )


def _stopped(reader: _Reader, now: datetime) -> Figure:
    rows = Incubator.objects.filter(room__status__in=(Room.Status.HALTED, Room.Status.PAUSED))
    statuses = list(rows.order_by().values_list("room__status", flat=True)[:MOST_COUNTED])
    halted = statuses.count(Room.Status.HALTED)
    return Figure(
        _("Incubators halted"),
        _up_to(halted, MOST_COUNTED),
        _("%d paused") % (len(statuses) - halted),
        "bad" if halted else "",
        reader.list_of("incubator", "status=halted"),
    )


def _suspended(reader: _Reader, now: datetime) -> Figure:
    rows = Suspension.objects.filter(status=Suspension.Status.OPEN).order_by()
    panels = set(rows.values_list("panel", flat=True)[:MOST_COUNTED])
    return Figure(
        _("Suspended panels"),
        _up_to(len(panels), MOST_COUNTED),
        _("a tool of theirs waits for an answer"),
        "warn" if panels else "",
        reader.list_of("panel"),
    )


def _ledger(reader: _Reader) -> Figure:
    """Whether the newest row holds, and who writes."""
    newest = recent.newest()
    if newest is None:
        return Figure(_("Ledger"), _("empty"))
    problem = chain_problem(newest)
    at = timezone.localtime(newest.at)
    return Figure(
        _("Ledger"),
        _("broken") if problem else _("holds"),
        problem
        or _("its newest row, of %(at)s; lanes written now: %(lanes)d")
        % {"at": f"{at:%Y-%m-%d %H:%M:%S}", "lanes": recent.lanes_now()},
        "bad" if problem else "good",
        reader.list_of("surfaceaccess"),
    )


def _checked(now: datetime) -> Figure:
    """What the last walk over the whole ledger has found, and what to do about it."""
    label, check = _("All rows of the ledger"), last_check()
    if check is None:
        advice = _("Run manage.py verify_ledger, and then each night.")
        return Figure(label, _("never checked"), advice, "warn")
    at = f"{timezone.localtime(check.at):%Y-%m-%d %H:%M}"
    if check.problem:
        return Figure(
            label,
            _("broken"),
            _("%(problem)s Found %(at)s: compare with a backup, then run manage.py verify_ledger.")
            % {"problem": check.problem, "at": at},
            "bad",
        )
    found = _("Rows: %(rows)s, lanes: %(lanes)s, checked %(at)s.") % {
        "rows": grouped(check.rows),
        "lanes": grouped(check.lanes),
        "at": at,
    }
    if now - check.at <= CHECKED_FOR:
        return Figure(label, _("hold"), found, "good")
    return Figure(
        label, _("held"), _("%s That is long ago: run manage.py verify_ledger.") % found, "warn"
    )


#: By the models whose readers get the figure.
_FIGURES: Final[tuple[tuple[tuple[str, ...], Callable[[_Reader, datetime], Figure]], ...]] = (
    ((Gate._meta.model_name or "",), _waiting),
    ((Run._meta.model_name or "",), _failed),
    ((Incubator._meta.model_name or "",), _stopped),
    (("panel",), _suspended),
)


def _counted(rows: QuerySet[Any]) -> int:
    return rows.order_by()[:MOST_COUNTED].count()


def _up_to(count: int, most: int) -> str:
    return f"{grouped(most)}+" if count >= most else grouped(count)


# -- tables ---------------------------------------------------------------------------------------


def _refusals(by_code: list[tuple[str, int]]) -> SafeString | None:
    if not by_code:
        return None
    return table((_("Code"), _("Times")), ((code, grouped(count)) for code, count in by_code))


def _alive() -> QuerySet[ServerProcess]:
    return ServerProcess.objects.filter(beat_at__gt=before(process.ALIVE))


def _processes(alive: QuerySet[ServerProcess]) -> SafeString | None:
    found = list(alive.order_by("started_at")[:MOST_PROCESSES])
    if not found:
        return None
    rows = ((str(each), moment(each.started_at), grouped(each.connections)) for each in found)
    return table((_("Process"), _("Since"), _("Connections")), rows)


def _checks() -> list[tuple[str, SafeString]]:
    """What must work, and what is slower than it should be, in the process that shows this."""
    found = async_to_sync(readiness)()
    shown = [
        (str(_CHECKS.get(name, name)), badge("good" if result == "ok" else "bad", result))
        for name, result in found.checks.items()
    ]
    for name in ("rooms", "runs"):
        problem = found.warnings.get(name)
        shown.append((str(_CHECKS[name]), badge("warn", problem) if problem else _fine()))
    return shown


def _fine() -> SafeString:
    return badge("good", "ok")
