"""Sources without indentation, and sections on one line, mean what their keywords say."""

from __future__ import annotations

import pytest

from mashin_surfaces.exceptions import DefinitionError
from mashin_surfaces.machines.parser import parse

LIVE_METRICS = """\
machine live_metrics
  accepts
    metric_name as text
  responds with
    value as number
    timestamp as text
  ensures
    permissions
      allowed to
        reason
  implements
    ask latest, using: "anthropic:claude-haiku-4-5"
      with task "Retrieve the latest value for metric: ${input.metric_name}"
      returns
        value as number
        timestamp as text
      assuming
        value: 42.5
        timestamp: "2026-05-07T12:00:00Z"
  expresses
    websocket
      path: "/ws/metrics"
"""
LIVE_METRICS_ON_LINES = """\
machine live_metrics
accepts metric_name as text
responds with value as number timestamp as text
ensures permissions allowed to reason
implements ask latest, using: "anthropic:claude-haiku-4-5" with task "Retrieve the latest value \
for metric: ${input.metric_name}" returns value as number timestamp as text assuming value: 42.5 \
timestamp: "2026-05-07T12:00:00Z"
expresses websocket path: "/ws/metrics"
"""
DASHBOARD = """\
machine dashboard
expresses
api
path: "/api/metrics"
method: "GET"
websocket
path: "/ws/metrics"
page
path: "/dashboard"
title: "System Dashboard"
"""
SYSTEM_DASHBOARD = """\
machine system_dashboard
expresses page path: "/dashboard" title: "System Metrics" websocket path: "/ws/metrics"
"""


def without_indentation(source: str) -> str:
    return "\n".join(line.strip() for line in source.splitlines())


@pytest.mark.parametrize(
    "source",
    [
        without_indentation(LIVE_METRICS),
        LIVE_METRICS_ON_LINES,
        " ".join(LIVE_METRICS.split()),
        LIVE_METRICS_ON_LINES.replace("\n", "\n  ").replace("machine", "  machine"),
    ],
    ids=["no indentation", "a section on a line", "all on one line", "indented as one"],
)
def test_the_documented_example_is_the_same_machine_however_it_is_copied(source: str) -> None:
    assert parse(source).definition == parse(LIVE_METRICS).definition


def test_the_documented_dashboards() -> None:
    kinds = [
        [
            (surface.kind, getattr(surface, "path", ""))
            for surface in parse(source).definition.expresses
        ]
        for source in (DASHBOARD, SYSTEM_DASHBOARD)
    ]
    assert kinds == [
        [("api", "/api/metrics"), ("websocket", "/ws/metrics"), ("page", "/dashboard")],
        [("page", "/dashboard"), ("websocket", "/ws/metrics")],
    ]


def test_many_steps_without_indentation() -> None:
    source = """
    machine order
      accepts
        kind as text, is required, description "its kind: with: colons, and, commas"
        count as integer, default: 3
      responds with
        total as number
      achieves
        goal "answer"
        for example
          given {kind: "a"}
          expect {total: 1}
      ensures
        permissions
          allowed to
            shop.price, shop.stock
          not allowed to
            mail.*
        limits
          timeout: "1s"
          rate: "5/s"
      implements
        ask price, from: "shop.price"
          kind: input.kind ? input.kind : "none"
          count: input.count +
            1
          returns
            amount as number
          assuming
            amount: 2
        compute total
          let one = steps.price.amount
          {total: one * input.count}
      verifies
        test "one"
          given
            kind: "a"
          assuming price { amount: 1 }
          expect { total: 3 }
      expresses
        api
          path: "/api/order"
          auth: jwt, api_key
        websocket
          path: "/ws/order"
    """
    indented = "\n".join(line[4:] for line in source.splitlines()).strip()
    flat = without_indentation(indented)
    expected = parse(indented).definition.as_json()
    found = parse(flat).definition.as_json()
    # A line of an expression has no indentation to keep.
    expected["implements"]["steps"][0]["inputs"]["count"] = "input.count +\n1"
    assert found == expected


@pytest.mark.parametrize(
    ("lines", "same"),
    [
        (
            ("  accepts a as text, b as integer, min: 1",),
            ("  accepts", "    a as text", "    b as integer, min: 1"),
        ),
        (("  accepts a as text", "    b as text"), ("  accepts", "    a as text", "    b as text")),
        (
            ("  expresses websocket", '    path: "/ws"'),
            ("  expresses", "    websocket", '      path: "/ws"'),
        ),
        (
            ("  expresses", '    websocket path: "/ws", auth: jwt, none'),
            ("  expresses", "    websocket", '      path: "/ws"', "      auth: jwt, none"),
        ),
        (
            (
                "  implements", '    ask x, from: "e" a: 1 b: "q: r" returns c as text',
                "      assuming", "        c: 1",
            ),
            (
                "  implements", '    ask x, from: "e"', "      a: 1", '      b: "q: r"',
                "      returns", "        c as text", "      assuming", "        c: 1",
            ),
        ),
        (
            ("  implements", "    compute a {x: 1}", "    compute b", "      {y: 2}"),
            ("  implements", "    compute a", "      {x: 1}", "    compute b", "      {y: 2}"),
        ),
    ],
)  # fmt: skip
def test_one_line_is_the_block_that_it_means(lines: tuple[str, ...], same: tuple[str, ...]) -> None:
    one, other = ("\n".join(["machine x", *body]) for body in (lines, same))
    assert parse(one).definition == parse(other).definition


@pytest.mark.parametrize(
    ("keyword", "lines"),
    [
        ("decide route", ("decide route", "when input.a", "1", "otherwise", "2")),
        ("retry again", ("retry again, max: 3", "compute x", "1")),
        ("on failure", ("compute x", "1", "on failure", "compute y", "2")),
        ("flows", ("flows", "flow a", "compute x", "1")),
    ],
)
def test_blocks_that_nest_need_indentation(keyword: str, lines: tuple[str, ...]) -> None:
    source = "\n".join(["machine x", "implements", *lines, "expresses", "api", "pth: 1"])
    with pytest.raises(DefinitionError) as refused:
        parse(source)
    first, *others = refused.value.problems
    assert first.message.startswith(f'Found "{keyword}" without indentation.')
    assert "indentation is needed" in first.message
    assert source.splitlines()[first.line - 1].startswith(keyword)
    assert any("pth" in other.message for other in others), "the sections after it are still read"


def test_errors_point_into_the_text_as_it_was_written() -> None:
    source = (
        "machine x\nresponds with value as number timestamp as txt\n"
        'expresses api path: "/a" metod: "GET"'
    )
    with pytest.raises(DefinitionError) as refused:
        parse(source)
    places = [(problem.line, problem.column) for problem in refused.value.problems]
    lines = source.splitlines()
    assert places == [(2, lines[1].index("txt") + 1), (3, lines[2].index("metod") + 1)]
