"""Makes ``.venv`` and installs one of the locks into it: ``python3 requirements/install.py test``.

Needs nothing but Python. Done before for this lock: returns at once. The files come through pip
as this machine has it set up, and are kept in a folder in pip's cache, so the next clone needs
no network. (pip's own cache alone does not do: it asks the index about every package.)
"""

import argparse
import contextlib
import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

OLDEST = (3, 11)
HERE = Path(__file__).resolve().parent
VENV = HERE.parent / ".venv"
PYTHON = VENV / "bin" / "python"

try:
    import fcntl
except ImportError:  # Windows: two installations at once are not kept apart there
    fcntl = None  # type: ignore[assignment,unused-ignore]


@contextlib.contextmanager
def locked(path):
    """One process at a time; the others wait."""
    with open(str(path), "a") as file:
        if fcntl is not None:
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def pip(*arguments, **options):
    """Run the pip of ``.venv``."""
    environment = dict(os.environ, PIP_ROOT_USER_ACTION="ignore", PIP_DISABLE_PIP_VERSION_CHECK="1")
    environment.pop("PIP_REQUIRE_VIRTUALENV", None)
    command = [str(PYTHON), "-m", "pip", *arguments]
    return subprocess.run(command, env=environment, check=False, **options)


def make_venv():
    """A new ``.venv``, unless there is one whose interpreter still starts."""
    if PYTHON.exists():
        probe = [str(PYTHON), "-c", f"import sys; sys.exit(sys.version_info[:2] < {OLDEST})"]
        if subprocess.run(probe, check=False, stderr=subprocess.DEVNULL).returncode == 0:
            return
        print("Making .venv anew: its Python is gone or too old.", flush=True)
    command = [sys.executable, "-m", "venv", "--clear", str(VENV)]
    if subprocess.run(command, check=False).returncode != 0:
        shutil.rmtree(str(VENV), ignore_errors=True)
        sys.exit(
            "Python could not make the virtual environment .venv. On Debian and Ubuntu, install "
            "the package python3-venv, then try again."
        )


def wheelhouse():
    """Where this project keeps the files it installed; None when pip has no cache."""
    answer = pip("cache", "dir", stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    if answer.returncode != 0:
        return None
    folder = Path(answer.stdout.decode().strip()) / "mashin-surfaces"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return None
    return folder if os.access(str(folder), os.W_OK) else None


def install(lock, key):
    """Install a lock: from the files that are kept, else through the index."""
    needs = ["--require-hashes", "-r", str(lock)]
    kept = wheelhouse()
    if kept is None:
        return pip("install", "-q", *needs).returncode
    offline = ["install", "-q", "--no-index", "--find-links", str(kept), *needs]
    complete = kept / (key + ".complete")
    with locked(kept / "lock"):
        if complete.exists():
            if pip(*offline, stderr=subprocess.DEVNULL).returncode == 0:
                return 0
            complete.unlink()
        fetched = pip("download", "-q", "--dest", str(kept), *needs).returncode
        if fetched == 0:
            complete.touch()
            return pip(*offline).returncode
    return fetched


def main():
    names = sorted(path.stem for path in HERE.glob("*.txt"))
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("name", choices=names, help="the lock in requirements/")
    name = parser.parse_args().name
    lock = HERE / (name + ".txt")
    with locked(HERE.parent / ".venv.lock"):
        make_venv()
        version = subprocess.check_output([str(PYTHON), "-c", "import sys; print(sys.version)"])
        key = hashlib.sha256(lock.read_bytes() + version).hexdigest()[:32]
        stamp = VENV / (".installed-" + name)
        if stamp.exists() and stamp.read_text() == key:
            return 0
        print(f"Installing requirements/{name}.txt into .venv …", flush=True)
        failed = install(lock, key)
        if failed:
            print(
                "The installation failed: what pip says above tells why. Without a network, it "
                "works where the same files were installed before, or with PIP_FIND_LINKS naming "
                "a folder that holds them.",
                file=sys.stderr,
            )
            return failed
        stamp.write_text(key)
    return 0


if __name__ == "__main__":
    if sys.version_info[:2] < OLDEST:
        sys.exit(
            f"Python {OLDEST[0]}.{OLDEST[1]} or later is needed, and {sys.executable} is "
            f"{sys.version_info[0]}.{sys.version_info[1]}. Install a newer one, then say which: "
            "make PYTHON=python3.12 …"
        )
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit("Interrupted; what is missing is installed the next time.")
