"""What others have written and pages load is what they have published, with its licence."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests import npm
from tests.client_js.conftest import CLIENT

pytestmark = pytest.mark.slow

UPLOT = CLIENT.parent / "vendor" / "uplot"
BANNER = "--banner:js=/* uPlot 1.6.32, MIT, https://github.com/leeoniya/uPlot */"


def test_uplot_is_the_published_module_minified(tmp_path: Path) -> None:
    programs = npm.install(tmp_path, "uplot@1.6.32", "esbuild@0.25.12")
    published = tmp_path / "node_modules" / "uplot"
    words = ("--minify", "--charset=utf8", BANNER)
    made = npm.run(programs / "esbuild", published / "dist" / "uPlot.esm.js", *words, cwd=tmp_path)
    assert (UPLOT / "uplot.esm.js").read_text() == made
    assert (UPLOT / "uplot.css").read_bytes() == (published / "dist" / "uPlot.min.css").read_bytes()
    assert (UPLOT / "LICENSE").read_bytes() == (published / "LICENSE").read_bytes()
