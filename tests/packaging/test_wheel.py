"""The wheel alone, in an empty environment and somebody else's project, does what it says."""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import httpx
import pytest
from websockets.asyncio.client import connect

from tests.live import LiveProject

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

ROOT = Path(__file__).resolve().parents[2]
MACHINE = """
machine adder "Adder"
  accepts
    a as number, is required
    b as number, is required
  responds with
    sum as number, is required
  implements
    compute total
      {sum: input.a + input.b}
  expresses
    websocket
      path: "/ws/add"
      auth: none
    api
      path: "/api/add"
      auth: none
    page
      path: "/add"
      auth: none
"""


def run(*words: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    """A command that knows nothing of the tests' environment."""
    private = {"PYTHONPATH", "DJANGO_SETTINGS_MODULE", "VIRTUAL_ENV"}
    env = {name: value for name, value in os.environ.items() if name not in private}
    return subprocess.run(
        [str(word) for word in words],
        cwd=cwd,
        env=env,
        capture_output=True,
        text=True,
        check=False,
    )


def must(*words: str | Path, cwd: Path) -> str:
    done = run(*words, cwd=cwd)
    assert done.returncode == 0, f"{words}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    build = ["-m", "build", "--wheel", "--no-isolation", "--outdir"]
    must(sys.executable, *build, folder, ROOT, cwd=folder)
    [made] = folder.glob("*.whl")
    return made


@pytest.fixture(scope="module")
def python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of an environment that holds the wheel and what it asks for, no more."""
    folder = tmp_path_factory.mktemp("environment")
    must(sys.executable, "-m", "venv", folder / "venv", cwd=folder)
    made = folder / "venv" / "bin" / "python"
    # The same versions as everywhere else: those of the lock, without its hashes.
    pins = re.findall(
        r"^([\w.-]+==[^\s;\\]+)", (ROOT / "requirements" / "base.txt").read_text(), re.MULTILINE
    )
    constraints = folder / "constraints.txt"
    constraints.write_text("\n".join(pins))
    install: list[str | Path] = [made, "-m", "pip", "install", "-q", "-c", constraints, wheel]
    # The files that `make` keeps for the next clone spare the network, where they are.
    cache = run(made, "-m", "pip", "cache", "dir", cwd=folder).stdout.strip()
    kept: list[str | Path] = ["--no-index", "--find-links", Path(cache) / "mashin-surfaces"]
    if run(*install, *kept, cwd=folder).returncode != 0:
        must(*install, cwd=folder)
    return made


@pytest.fixture(scope="module")
def project(python: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project as ``startproject`` makes it, with what the README says added to it."""
    folder = tmp_path_factory.mktemp("elsewhere")
    must(python, "-m", "django", "startproject", "shop", folder, cwd=folder)
    settings = folder / "shop" / "settings.py"
    settings.write_text(
        settings.read_text()
        + '\nINSTALLED_APPS += ["rest_framework", "mashin_surfaces"]\n'
        + 'ASGI_APPLICATION = "shop.asgi.application"\n'
    )
    asgi = folder / "shop" / "asgi.py"
    plain = "application = get_asgi_application()"
    assert plain in asgi.read_text()
    asgi.write_text(
        asgi.read_text().replace(
            plain,
            "from mashin_surfaces.asgi import with_surfaces\n"
            "application = with_surfaces(get_asgi_application())",
        )
    )
    urls = folder / "shop" / "urls.py"
    urls.write_text(
        urls.read_text()
        + "\nfrom django.urls import include\n"
        + 'urlpatterns += [path("", include("mashin_surfaces.urls"))]\n'
    )
    (folder / "adder.mashin").write_text(MACHINE)
    return folder


def test_the_wheel_holds_every_file_of_the_package(wheel: Path) -> None:
    tracked = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "mashin_surfaces"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    ).stdout.split("\n")
    wanted = {name for name in tracked if name and (ROOT / name).exists()}
    with zipfile.ZipFile(wheel) as archive:
        held = set(archive.namelist())
    assert {"mashin_surfaces/py.typed", "mashin_surfaces/migrations/0001_initial.py"} <= wanted
    assert any(name.endswith(".lark") for name in wanted)
    assert any(name.endswith(".html") for name in wanted)
    assert not wanted - held


def test_the_wheel_holds_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        tops = {name.split("/")[0] for name in archive.namelist()}
    assert len(tops) == 2
    assert tops == {"mashin_surfaces", *(top for top in tops if top.endswith(".dist-info"))}


def test_the_environment_lacks_nothing(python: Path) -> None:
    must(python, "-m", "pip", "check", cwd=python.parent)


def test_the_console_script_is_there(python: Path) -> None:
    assert "usage" in must(python.parent / "mashin-daphne", "--help", cwd=python.parent)


def test_the_checks_tell_a_new_project_only_of_sqlite(python: Path, project: Path) -> None:
    done = run(python, "manage.py", "check", cwd=project)
    assert done.returncode == 0, done.stderr
    told = re.findall(r"mashin_surfaces\.[EW]\d+", done.stderr)
    assert told == ["mashin_surfaces.W002"], done.stderr


async def test_a_new_project_serves_the_machine(
    python: Path, project: Path, tmp_path: Path
) -> None:
    live = LiveProject(
        tmp_path, root=project, python=str(python), machines=[project / "adder.mashin"]
    )

    async def ask() -> None:
        async with connect(live.websocket_url("/ws/add"), proxy=None) as socket:
            await socket.send('{"a": 1, "b": 2.5}')
            assert json.loads(await asyncio.wait_for(socket.recv(), 20)) == {"sum": 3.5}
        async with httpx.AsyncClient(trust_env=False, timeout=20) as client:
            answer = await client.post(live.url("/api/add"), json={"a": 2, "b": 2})
            assert (answer.status_code, answer.json()) == (200, {"sum": 4})
            page = await client.get(live.url("/add"))
            assert page.status_code == 200
            assert "Adder" in page.text
            for address in linked(page.text):
                static = await client.get(live.url(address))
                assert static.status_code == 200, address

    with live:
        await ask()
        assert "Traceback" not in live.log_text
    live.manage("verify_ledger")


def linked(page: str) -> list[str]:
    """The style sheets and scripts of a page."""
    return re.findall(r'(?:href|src)="(/static/[^"]+)"', page)
