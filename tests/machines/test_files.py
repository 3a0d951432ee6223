"""Files and the commands that read them: load_machines, check_machines, format_machines."""

from __future__ import annotations

import json
from io import StringIO
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command

from mashin_surfaces.machines.models import Machine

pytestmark = pytest.mark.django_db

GOOD = """\
machine {name}
  implements
    compute a {{b: 1}}
  expresses
    api
      path: "/{name}"
"""


def write(folder: Path, name: str, text: str | bytes) -> Path:
    path = folder / f"{name}.mashin"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def run(command: str, *args: object) -> tuple[int, list[str], list[str]]:
    """The exit code, and the lines on standard output and standard error."""
    out, err, code = StringIO(), StringIO(), 0
    try:
        call_command(command, *map(str, args), stdout=out, stderr=err, no_color=True)
    except SystemExit as exited:
        code = int(exited.code or 0)
    return code, out.getvalue().splitlines(), err.getvalue().splitlines()


def test_a_folder_is_loaded_and_loading_again_changes_nothing(tmp_path: Path) -> None:
    write(tmp_path, "one", GOOD.format(name="one"))
    (tmp_path / "inner").mkdir()
    write(tmp_path / "inner", "two", GOOD.format(name="two"))
    assert run("load_machines", tmp_path) == (0, ["two 1 created", "one 1 created"], [])
    assert run("load_machines", tmp_path) == (0, ["two 1 unchanged", "one 1 unchanged"], [])
    write(tmp_path, "one", GOOD.format(name="one").replace("b: 1", "b: 2"))
    assert run("load_machines", tmp_path / "one.mashin") == (0, ["one 2 updated"], [])


def test_nothing_is_loaded_when_one_file_is_wrong(tmp_path: Path) -> None:
    good = write(tmp_path, "good", GOOD.format(name="good"))
    bad = write(tmp_path, "wrong", "machine wrong\n  accepts\n    a as txt\n    b text\n")
    code, out, err = run("load_machines", good, bad)
    assert (code, out) == (1, [])
    assert err[0].startswith(f'{bad}:3:10: Found the type "txt", expected one of')
    assert err[1:] == [f'{bad}:4:7: Found "text", expected "as".', "Nothing was loaded."]
    assert not Machine.objects.exists()


def test_warnings_are_told_and_load(tmp_path: Path) -> None:
    path = write(tmp_path, "empty", "machine empty\n")
    assert run("load_machines", path) == (
        0,
        ["empty 1 created"],
        [f'{path}:1:1: warning: The machine "empty" has no implements: it answers {{}}.'],
    )


def test_two_files_cannot_have_one_path_or_one_name(tmp_path: Path) -> None:
    first = write(tmp_path, "a", GOOD.format(name="one"))
    second = write(tmp_path, "b", GOOD.format(name="two").replace("/two", "/one"))
    third = write(tmp_path, "c", GOOD.format(name="one").replace("/one", "/three"))
    assert run("load_machines", tmp_path) == (
        1,
        [],
        [
            f'{second}:6:13: The machine "one" ({first}) has the path /one already; give one of '
            "them another path.",
            f'{third}:1:9: A second machine "one"; the first is in {first}.',
            "Nothing was loaded.",
        ],
    )


def test_a_path_of_a_loaded_machine_or_of_the_project_is_refused_with_its_place(
    tmp_path: Path,
) -> None:
    run("load_machines", write(tmp_path, "one", GOOD.format(name="one")))
    new = write(tmp_path, "new", GOOD.format(name="new"))
    two = write(tmp_path, "two", GOOD.format(name="two").replace("/two", "/one"))
    site = write(tmp_path, "site", GOOD.format(name="site").replace("/site", "/admin/"))
    assert run("load_machines", new, two, site) == (
        1,
        [],
        [
            f'{two}:6:13: The machine "one" has the path /one already (http); give one of them '
            "another path.",
            f"{site}:6:13: The project serves /admin/ itself (admin:index); give the surface "
            "another path.",
            "Nothing was loaded.",
        ],
    )
    assert [machine.name for machine in Machine.objects.all()] == ["one"]


def test_an_effect_that_nobody_registered_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path, "x", 'machine x\n  implements\n    ask a, from: "no.such.effect"\n')
    code, _, err = run("load_machines", path)
    assert code == 1
    assert err[0].startswith(f'{path}:3:18: no effect "no.such.effect" is registered; ')


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"machine x\n  \xff", "2:3: The file is not UTF-8: found the byte 0xFF."),
        (b"x" * 300_000, "1:1: A source has at most 256 KiB, this has more."),
        (
            b"\xef\xbb\xbfmachine x y",
            '1:11: Found "y", expected a text in quotes or the end of the line. '
            "Texts stand in double quotes.",
        ),
    ],
)
def test_files_that_are_no_sources(tmp_path: Path, content: bytes, problem: str) -> None:
    path = write(tmp_path, "x", content)
    assert run("load_machines", path)[2][0] == f"{path}:{problem}"


def test_what_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(CommandError, match="There is no file or folder"):
        call_command("load_machines", str(tmp_path / "nowhere"))
    with pytest.raises(CommandError, match=r"There is no \.mashin file in the folder"):
        call_command("load_machines", str(tmp_path))


def test_check_machines_tells_and_loads_nothing(tmp_path: Path) -> None:
    write(tmp_path, "good", GOOD.format(name="good"))
    assert run("check_machines", tmp_path) == (0, ["1 machine checked, 0 with errors."], [])
    bad = write(tmp_path, "wrong", "machine wrong\n  accepts\n    b text\n")
    assert run("check_machines", tmp_path) == (
        1,
        ["2 machines checked, 1 with errors."],
        [f'{bad}:3:7: Found "text", expected "as".'],
    )
    assert not Machine.objects.exists()


def test_check_machines_for_programs(tmp_path: Path) -> None:
    bad = write(tmp_path, "wrong", "machine wrong\n  accepts\n    b text\n")
    code, out, _ = run("check_machines", "--json", bad)
    assert code == 1
    assert json.loads("\n".join(out)) == [
        {
            "file": str(bad),
            "line": 3,
            "column": 7,
            "severity": "error",
            "message": 'Found "text", expected "as".',
        }
    ]


def test_check_machines_without_a_path_checks_what_is_loaded(tmp_path: Path) -> None:
    run("load_machines", write(tmp_path, "good", GOOD.format(name="good")))
    assert run("check_machines") == (0, ["1 machine checked, 0 with errors."], [])
    Machine.objects.update(source="machine good\n  accept\n")
    code, _, err = run("check_machines")
    assert code == 1
    assert err[0].startswith('good:2:3: Found "accept", expected a section')


def test_format_machines_rewrites_what_is_not_canonical(tmp_path: Path) -> None:
    path = write(tmp_path, "x", "machine x\naccepts a as text // why\n")
    assert run("format_machines", "--check", path) == (1, [f"{path} would change"], [])
    assert run("format_machines", path) == (0, [f"{path} changed"], [])
    assert path.read_text() == "machine x\n  accepts  // why\n    a as text\n"
    assert run("format_machines", "--check", path) == (0, [], [])


def test_format_machines_leaves_what_is_wrong(tmp_path: Path) -> None:
    path = write(tmp_path, "x", "machine x y")
    code, _, err = run("format_machines", path)
    assert (code, path.read_text()) == (1, "machine x y")
    assert err[0].startswith(f'{path}:1:11: Found "y"')


@pytest.mark.parametrize("command", ["load_machines", "check_machines", "format_machines"])
def test_help_shows_an_example(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        call_command(command, "--help")
    assert f"manage.py {command} project/machines" in capsys.readouterr().out


def test_a_tool_from_nowhere_is_a_warning_and_one_from_a_machine_beside_it_is_none(
    tmp_path: Path,
) -> None:
    metrics = write(tmp_path, "metrics", "machine metrics\n  implements\n    compute a 1\n")
    tools = 'machine panel\n  tools\n    read from "metrics"\n    move from "game.move"\n'
    panel = write(tmp_path, "panel", tools)
    told = (
        f'{panel}:4:5: warning: The tool "move" comes from "game.move", which is neither a '
        "registered Python tool nor a machine."
    )
    assert run("load_machines", metrics, panel) == (
        0,
        ["metrics 1 created", "panel 1 created"],
        [told],
    )
    assert run("load_machines", panel)[2] == [told], "the other one is in the database"
    assert run("check_machines")[2] == [told.replace(str(panel), "panel")]
