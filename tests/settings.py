"""Settings of the tests: the reference project's, with a database of this run's own.

``DATABASE_URL`` chooses another one, so the same suite runs on PostgreSQL.
"""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from pathlib import Path

_folder = Path(tempfile.mkdtemp(prefix="mashin-tests-"))
_owner = os.getpid()


def _remove_folder() -> None:
    # A forked child inherits the exit handler, but not the folder.
    if os.getpid() == _owner:
        shutil.rmtree(_folder, ignore_errors=True)


atexit.register(_remove_folder)

os.environ["SECRET_KEY"] = "only-for-tests-only-for-tests-only-for-tests-only-for-tests"
os.environ["DEBUG"] = "0"
os.environ.setdefault("DATABASE_URL", f"sqlite:///{_folder / 'project.sqlite3'}")
os.environ.setdefault("MASHIN_ASK", "model")

from project.settings import *  # noqa: E402, F403  the project's settings are these settings
from project.settings import DATABASES  # noqa: E402

if DATABASES["default"]["ENGINE"] == "django.db.backends.sqlite3":
    # In memory, a second connection (the ledger's writer thread) would see another database.
    DATABASES["default"]["TEST"] = {"NAME": str(_folder / "tests.sqlite3")}

# Fast, and good enough for passwords that are not secret.
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
