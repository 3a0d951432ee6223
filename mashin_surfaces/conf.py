"""The app's settings: one dictionary ``MASHIN_SURFACES``; every key, its default, its meaning.

Read as ``conf.settings.ASK``. Values are checked by ``checks.py``; a key that is not here is
reported there. ``override_settings`` works: the values are read anew after ``setting_changed``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, is_dataclass, replace
from typing import Any, Literal

from django.conf import settings as django_settings
from django.core.signals import setting_changed


@dataclass(frozen=True, slots=True)
class JwtSettings:
    #: The keys that tokens may be signed with, each ``{"alg", "key", "kid"?, "private_key"?}``:
    #: ``alg`` one of HS256/384/512, RS/ES/PS 256/384/512, EdDSA; ``key`` the shared secret, or the
    #: public key as PEM. Empty: one HS256 key derived from SECRET_KEY. The first key that can
    #: sign is used by ``issue_credential``.
    KEYS: Sequence[Mapping[str, str]] = ()
    #: Required ``aud`` and ``iss`` when set.
    AUDIENCE: str | None = None
    ISSUER: str | None = None
    #: Seconds of clock difference that are forgiven.
    LEEWAY: float = 0


@dataclass(frozen=True, slots=True)
class LedgerSettings:
    #: What a caller gets when the access row can't be written: "refuse" (``ledger_unavailable``
    #: and no result) or "answer" (the result without a row, logged as an error).
    ON_FAILURE: Literal["refuse", "answer"] = "refuse"
    #: What a row keeps of input and output: a keyed "digest", the "full" JSON, or "none".
    CONTENT: Literal["digest", "full", "none"] = "digest"
    #: Units of work that may wait for a commit in one process; more wait at the door.
    QUEUE: int = 10_000
    #: Seconds that an access waits for its row before it is ``ledger_unavailable``.
    WAIT: float = 10.0


@dataclass(frozen=True, slots=True)
class RetentionSettings:
    #: The last so many events are kept; None: all.
    COUNT: int | None = None
    #: Events are kept for so many seconds; None: for ever.
    AGE: float | None = None


@dataclass(frozen=True, slots=True)
class RoomsSettings:
    #: What the logs of rooms keep, by kind: ``{"topic": {"COUNT": 1_000, "AGE": 3_600}}``. An
    #: event goes when either says so. Topics without events and members go a day after their birth.
    topic: RetentionSettings = RetentionSettings(COUNT=10_000, AGE=7 * 86_400)
    panel: RetentionSettings = RetentionSettings(COUNT=10_000, AGE=30 * 86_400)
    run: RetentionSettings = RetentionSettings()
    incubator: RetentionSettings = RetentionSettings(COUNT=100_000)


@dataclass(frozen=True, slots=True)
class PanelSettings:
    #: Where ``/panels`` begins: "" is the site's root.
    PREFIX: str = ""
    #: Kinds of credentials that panels take.
    AUTH: Sequence[Literal["session", "jwt", "api_key", "none"]] = ("session", "jwt", "api_key")
    #: Messages a second that a principal may send to a panel, as ``"20/s burst 40"``; None: any.
    RATE: str | None = None
    #: Seconds that a tool may run.
    TIMEOUT: float = 30.0
    #: Triggers of one connection that may wait; more are ``BUSY``.
    MAX_WAITING: int = 64
    #: Bytes of one frame, of a request to make a panel, and of a panel's state.
    MAX_MESSAGE: int = 256 * 1024
    MAX_STATE: int = 1024 * 1024
    #: Connections to one panel.
    MAX_MEMBERS: int = 10_000
    #: Seconds without a frame after which a connection is closed.
    IDLE_TIMEOUT: float = 3600.0
    #: What becomes of a member that is too slow: "close" it with 4408, or "coalesce" its patches.
    SLOW: Literal["close", "coalesce"] = "close"


@dataclass(frozen=True, slots=True)
class RunSettings:
    #: Where the HTTP interface and the sockets of runs begin.
    PREFIX: str = "/api/dags"
    #: Kinds of credentials that runs take.
    AUTH: Sequence[Literal["session", "jwt", "api_key", "none"]] = ("session", "jwt", "api_key")
    #: Messages a second that a principal may send to runs, as ``"20/s burst 40"``; None: any.
    RATE: str | None = None
    #: "process": nodes run in the process that works on the run. "celery": in Celery's workers.
    RUNNER: Literal["process", "celery"] = "process"
    #: Nodes of one run at once, when neither the machine nor the caller says it.
    MAX_PARALLEL: int = 8
    #: Runs on which one process works at once; others wait for it, or another.
    MAX_RUNS: int = 500
    #: Nodes of one run, and children of one ``launch_many``.
    MAX_NODES: int = 10_000
    MAX_CHILDREN: int = 1_000
    #: Seconds that one attempt of a node may take.
    NODE_TIMEOUT: float = 120.0
    #: Seconds for which a gate is open when it says nothing.
    GATE_TIMEOUT: float = 86_400.0
    #: What happens when the budget is spent: a person is asked, or the run ends.
    ON_BUDGET: Literal["gate", "fail"] = "gate"
    #: The share of the budget at which a warning is told.
    WARN_AT: float = 0.8
    #: Bytes of one frame or request.
    MAX_MESSAGE: int = 1024 * 1024
    #: Seconds without a frame after which a connection is closed.
    IDLE_TIMEOUT: float = 3600.0


@dataclass(frozen=True, slots=True)
class IncubatorSettings:
    #: Where the HTTP interface begins: ``<PREFIX>/<namespace>/state`` and so on.
    PREFIX: str = "/api"
    #: Kinds of credentials that it takes over HTTP; sockets have those of their surface.
    AUTH: Sequence[Literal["session", "jwt", "api_key", "none"]] = ("session", "jwt", "api_key")
    #: Seconds between two ``metrics`` messages.
    METRICS_EVERY: float = 10.0
    #: Seconds that a tool may run.
    TIMEOUT: float = 30.0
    #: Calls of parallel tools that one process runs at once in a namespace; more wait.
    MAX_PARALLEL: int = 16
    #: Calls of one connection that may wait, and calls that wait for an event.
    MAX_WAITING: int = 64
    #: Keys of a namespace's state, its claims, and bytes of one value.
    MAX_KEYS: int = 10_000
    MAX_CLAIMS: int = 10_000
    MAX_VALUE: int = 256 * 1024
    #: Namespaces.
    MAX_NAMESPACES: int = 1_000


@dataclass(frozen=True, slots=True)
class Settings:
    #: "model": ``ask … using`` calls the provider. "assume": it answers with the step's
    #: ``assuming`` values, shown as "assumed" on pages, in the admin and in the ledger.
    ASK: Literal["model", "assume"] = "model"
    #: Modules with effects and tools, besides ``machines.py`` of every installed app.
    MODULES: Sequence[str] = ()
    #: Scopes that every signed-in user holds.
    USER_SCOPES: Sequence[str] = ("machines:run",)
    #: Scopes that a Django permission or a group gives to its users:
    #: ``{"perm:app.codename": ["machines:*"], "group:Operators": ["*"]}``. Superusers hold all.
    SCOPES: Mapping[str, Sequence[str]] = field(default_factory=dict)
    #: Origins (``https://app.example``) from which a session cookie is taken, besides our own.
    ALLOWED_ORIGINS: Sequence[str] = ()
    #: Addresses or networks of proxies whose ``X-Forwarded-For`` is believed.
    TRUSTED_PROXIES: Sequence[str] = ()
    JWT: JwtSettings = field(default_factory=JwtSettings)
    LEDGER: LedgerSettings = field(default_factory=LedgerSettings)
    ROOMS: RoomsSettings = field(default_factory=RoomsSettings)
    #: Seconds that a machine may run when its ``limits`` say nothing.
    TIMEOUT: float = 30.0
    #: Threads for synchronous effects, in each process.
    EFFECT_THREADS: int = 8
    PANELS: PanelSettings = field(default_factory=PanelSettings)
    RUNS: RunSettings = field(default_factory=RunSettings)
    INCUBATORS: IncubatorSettings = field(default_factory=IncubatorSettings)
    #: Threads that read rooms' logs, in each process.
    ROOM_THREADS: int = 4
    #: Topics that one websocket may be subscribed to.
    MAX_TOPICS: int = 100
    #: Messages of one websocket that may wait for the one that runs; more are ``busy``.
    MAX_WAITING: int = 32
    #: Seconds that a websocket may refuse to take an answer before it is closed with 4408.
    SEND_TIMEOUT: float = 30.0
    #: Seconds between looks at the database for changed machines and revoked credentials.
    WATCH_INTERVAL: float = 0.5


def read(values: Mapping[str, Any]) -> tuple[Settings, list[str]]:
    """Settings from a dictionary, and the names of the keys that mean nothing."""
    unknown: list[str] = []

    def laid_over(defaults: Any, given: Mapping[str, Any], prefix: str) -> Any:
        names = {item.name for item in fields(defaults)}
        unknown.extend(f"{prefix}{key}" for key in given if key not in names)
        known = {key: value for key, value in given.items() if key in names}
        for key, value in known.items():
            default = getattr(defaults, key)
            if is_dataclass(default) and isinstance(value, Mapping):
                known[key] = laid_over(default, value, f"{prefix}{key}.")
        return replace(defaults, **known)

    settings: Settings = laid_over(Settings(), values, "")
    return settings, unknown


class _Current:
    """The settings of now. What was read once is an ordinary attribute until settings change."""

    def __getattr__(self, name: str) -> Any:
        values, _ = read(getattr(django_settings, "MASHIN_SURFACES", {}))
        value = self.__dict__[name] = getattr(values, name)
        return value


def _forget(*, setting: str, **_: Any) -> None:
    if setting == "MASHIN_SURFACES":
        settings.__dict__.clear()


setting_changed.connect(_forget)
settings: Settings = _Current()  # type: ignore[assignment]  # reads like the dataclass, lazily
