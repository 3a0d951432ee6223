"""The client as those get it who build pages with it: small, and with types that are true."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests import npm
from tests.client_js.conftest import CLIENT
from tests.live import ROOT

pytestmark = pytest.mark.slow

MOST_BYTES = 12_000
STATIC = CLIENT.parent
MODULE = """
import { connectPanel, connectRun, Refusal } from "./client.js";

const panel = connectPanel<{ count: number }>("/panels/p/ws", { token: async () => "t" });
panel.addEventListener("patch", ({ detail }) => detail.mutations.map(({ key }) => key.length));
const count: number = panel.state.count;
panel.trigger("add", { by: 1 }).then(({ status }) => status === "suspended");
connectRun("/api/dags/r/stream").addEventListener("error", ({ detail }) =>
  detail instanceof Refusal ? detail.retryAfter : detail.node_id);

// @ts-expect-error: keys are texts
panel.addEventListener("patch", ({ detail }) => detail.mutations.map(({ key }) => key.size));
// @ts-expect-error: there is no such event
panel.addEventListener("patches", () => {});
// @ts-expect-error: a typo
panel.trigger("add", { by: 1 }, { expext: 1 });
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("npm")


def test_it_has_less_than_12_kilobytes_when_it_is_minified(folder: Path) -> None:
    programs = npm.install(folder, "esbuild@0.25")
    words = ("--minify", "--format=esm", "--target=es2022")
    assert len(npm.run(programs / "esbuild", CLIENT, *words, cwd=folder).encode()) < MOST_BYTES


def test_it_needs_no_other_module() -> None:
    assert not re.search(r"^\s*import\b|\bimport\(|require\(", CLIENT.read_text(), re.MULTILINE)


def test_its_types_can_be_built_upon_and_refuse_what_is_wrong(folder: Path) -> None:
    programs = npm.install(folder, "typescript@5.9", "@types/react@19")
    for name in ("client.d.ts", "react.d.ts"):
        (folder / name).write_text((STATIC / name).read_text())
    words = (
        "--noEmit", "--strict", "--target", "es2022", "--lib", "es2022,dom", "--module", "es2022",
        "--moduleResolution", "bundler", "--skipLibCheck", "false",
    )  # fmt: skip
    (folder / "page.ts").write_text(MODULE)
    npm.run(programs / "tsc", *words, "page.ts", "react.d.ts", cwd=folder)


def test_the_documentation_names_every_function_that_there_is() -> None:
    page = (ROOT / "docs" / "browser.md").read_text()
    for source in ("client.js", "react.js"):
        text = (STATIC / source).read_text()
        for name in re.findall(r"^export (?:const|function|class) (\w+)", text, re.MULTILINE):
            assert f"{name}" in page, name
