"""Any machine definition that the language can say, as a hypothesis strategy."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from mashin_surfaces.machines.definition import (
    Achieves,
    Action,
    ApiSurface,
    AskEffect,
    AskMachine,
    AskModel,
    Branch,
    Compute,
    Decide,
    Ensures,
    Example,
    Field,
    Flow,
    Gate,
    GateOption,
    GotoFlow,
    Implements,
    Launch,
    LaunchMany,
    Limits,
    MachineDefinition,
    OtherSurface,
    PageSurface,
    Permissions,
    Recall,
    Remember,
    Retry,
    RunFlow,
    StateField,
    Step,
    Test,
    Tool,
    Type,
    WaitFor,
    WebsocketSurface,
)

KEYWORDS = [
    "accepts", "as", "is", "text", "default", "min", "secret", "ask", "compute", "decide", "when",
    "returns", "assuming", "with", "after", "from", "using", "none", "call", "true", "null",
    "given", "expect", "test", "flow", "state", "tools", "required", "schema", "allowed", "steps",
]  # fmt: skip

names = st.one_of(
    st.sampled_from(KEYWORDS), st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,10}", fullmatch=True)
)
slugs = st.from_regex(r"[a-z][a-z0-9_]{0,10}", fullmatch=True)
#: Any text that can be kept: no NUL, no half characters.
texts = st.text(
    st.one_of(
        st.sampled_from("\"\\$\n\t/{}'`#: ,"),
        st.characters(exclude_categories=["Cs"], exclude_characters="\x00"),
    ),
    max_size=12,
)
some_texts = st.lists(texts, max_size=2).map(tuple)
words = st.one_of(names, texts)
integers = st.integers(-(2**63) + 1, 2**63 - 1)
floats = st.floats(allow_nan=False, allow_infinity=False)
numbers = st.one_of(st.integers(-1000, 1000).map(float), floats)
json_values = st.recursive(
    st.one_of(st.none(), st.booleans(), integers, floats, texts),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.one_of(names, texts), inner, max_size=3)
    ),
    max_leaves=6,
)
json_objects = st.dictionaries(st.one_of(names, texts), json_values, max_size=3)
seconds = st.one_of(
    st.sampled_from([0.2, 1.0, 30.0, 60.0, 90.0, 3600.0, 86400.0, 604800.0]),
    st.floats(0, 366 * 86400, exclude_min=True),
)
expressions = st.sampled_from(
    [
        "1", "input.a", '"x: ${input.a + "}"} y"', "{a: 1, b: [2, 3]}", "steps.a?.b ?? null",
        "input.a is at least 3 and not input.b", "[1,\n 2,\n   3]", "input.a // the first\n  + 2",
        "{\n  a: 1, // one\n\n  b: 2\n}", "input.a ? 1 : 2", "'single'", "(x => x + 1)(2)",
        "input.items\n  .map(item => item.name)\n  .join(\", \")", "-1", "true",
    ]
)  # fmt: skip
bodies = st.one_of(
    expressions,
    st.sampled_from(
        [
            "let a = input.x\nlet b = a + 1\n{total: b}",
            "// only a comment first\nlet a = 1\n\n\n{a: a}",
            "  {\na: 1}",
            "let a = {\n  b: 1\n}\na.b",
            "input.x\n    .y",
        ]
    ),
)
templates = st.lists(
    st.one_of(
        texts.filter(lambda text: "$" not in text and "\\" not in text),
        st.sampled_from(["${input.a}", '${"q" + input.b}', "\\${plain}", "${{a: 1}.a}", " "]),
    ),
    max_size=4,
).map("".join)
capabilities = st.lists(
    st.one_of(st.sampled_from(["reason", "http.get", "mail.*", "*", "@mashin/x", "call"]), words),
    max_size=3,
).map(tuple)


def parts(kind: type[Any], required: dict[str, Any], optional: dict[str, Any]) -> Any:
    """Instances of a part with any of its optional attributes given or left out."""

    @st.composite  # and not ``map``: its representation would hold all those inside
    def part(draw: st.DrawFn) -> Any:
        return kind(**draw(st.fixed_dictionaries(required, optional=optional)))

    return part()


def unique(values: Any, key: str = "name", most: int = 3) -> Any:
    return st.lists(values, max_size=most, unique_by=lambda item: getattr(item, key)).map(tuple)


scalar_types = st.sampled_from(
    ["text", "number", "integer", "decimal", "boolean", "uuid", "date", "datetime", "list", "map",
     "enum", "any", "file", "object"]
).map(lambda name: Type(name=name))  # type: ignore[arg-type]  # fmt: skip
types = st.recursive(
    st.one_of(
        scalar_types,
        st.lists(texts, min_size=1, max_size=3).map(
            lambda choices: Type(name="enum", choices=tuple(choices))
        ),
    ),
    lambda inner: st.one_of(
        inner.map(lambda item: Type(name="list", item=item)),
        unique(st.deferred(lambda: fields_of(inner))).map(
            lambda fields: Type(name="object", fields=fields)
        ),
    ),
    max_leaves=4,
)


def fields_of(kinds: Any) -> Any:
    return parts(
        Field,
        {"name": names, "type": kinds},
        {
            "required": st.just(True),
            "default": json_values,
            "description": texts.filter(bool),
            "label": texts.filter(bool),
            "min": numbers,
            "max": numbers,
            "min_length": st.integers(0, 100),
            "max_length": st.integers(0, 100),
            "pattern": texts,
            "format": st.sampled_from(["email", "uri", "hostname", "ipv4", "ipv6", "slug"]),
            "choices": st.lists(json_values, min_size=1, max_size=3).map(tuple),
            "secret": st.just(True),
        },
    ).filter(lambda field: not (field.type.name == "enum" and field.choices))


fields = unique(fields_of(types))
inputs = st.dictionaries(words, expressions, max_size=3)
step_base = {"name": names}
settings = {
    "after": st.lists(names.filter(lambda name: name != "none"), max_size=2).map(tuple),
    "optional": st.just(True),
    "when": expressions,
    "estimate": st.floats(0, 1e9),
    "retry_on_crash": st.booleans(),
}
results = {"returns": fields.filter(bool), "assuming": json_objects}
gate_options = st.one_of(
    texts.filter(bool).map(GateOption.model_validate),
    parts(
        GateOption,
        {"id": texts.filter(bool)},
        {
            "label": texts,
            "decision": st.sampled_from(["approve", "modify", "reject"]),
            "branch_to": texts,
        },
    ),
)
simple_steps: Any = st.one_of(
    parts(
        AskModel,
        step_base,
        {
            "model": texts.filter(bool),
            "role": templates.filter(bool),
            "task": templates.filter(bool),
            "tools": st.lists(words, min_size=1, max_size=2).map(tuple),
            "temperature": st.floats(0, 2),
            "max_tokens": st.integers(1, 10**6),
            **results,
            **settings,
        },
    ),
    parts(
        AskEffect,
        {**step_base, "source": texts},
        {"inputs": inputs, "mode": words} | results | settings,
    ),
    parts(AskMachine, {**step_base, "machine": texts}, {"assuming": json_objects} | settings),
    parts(Action, {**step_base, "type": words}, {"inputs": inputs} | results | settings),
    parts(Compute, {**step_base, "body": bodies}, settings),
    parts(RunFlow, {**step_base, "flow": names}, settings),
    parts(GotoFlow, {**step_base, "flow": names}, settings),
    parts(
        WaitFor,
        step_base,
        {
            "event": texts,
            "callback": st.just(True),
            "timeout": seconds,
            "on_timeout": st.one_of(
                st.sampled_from(["fail", "continue"]), names.map(lambda name: f"flow({name})")
            ),
            "channel": texts,
            "fields": fields.filter(bool),
            "assuming": json_objects,
            **settings,
        },
    ),
    parts(
        Launch,
        {**step_base, "machine": texts},
        {"inputs": inputs, "assuming": json_objects} | settings,
    ),
    parts(
        LaunchMany,
        {**step_base, "machine": texts, "items": expressions},
        {
            "input_key": texts.filter(lambda text: text != "item"),
            "extra_input": expressions,
            "max_concurrency": st.integers(1, 9),
            "collect": st.just(True),
            "assuming": json_objects,
            **settings,
        },
    ),
    parts(
        Gate,
        step_base,
        {
            "title": templates.filter(bool),
            "question": templates.filter(bool),
            "context": templates.filter(bool),
            "options": st.lists(gate_options, min_size=1, max_size=2).map(tuple),
            "assuming": json_objects,
            "gate_class": st.sampled_from(["irreversible", "quality", "calibration"]),
            "timeout": seconds,
            **settings,
        },
    ),
    parts(Remember, step_base, {"options": inputs} | settings),
    parts(Recall, step_base, {"options": inputs} | settings),
)


def branches(steps: Any) -> Any:
    contents = st.one_of(
        st.lists(steps, min_size=1, max_size=2).map(lambda items: {"steps": tuple(items)}),
        expressions.map(lambda text: {"value": text}),
    )
    whens = st.lists(st.tuples(expressions, contents), min_size=1, max_size=2)
    return st.tuples(whens, st.one_of(st.none(), contents)).map(
        lambda pair: (
            *(Branch(when=when, **content) for when, content in pair[0]),
            *((Branch(**pair[1]),) if pair[1] else ()),
        )
    )


steps: Any = st.recursive(
    simple_steps,
    lambda inner: st.one_of(
        parts(Decide, {**step_base, "branches": branches(inner)}, settings),
        parts(
            Retry,
            {**step_base, "step": inner},
            {
                "max": st.integers(1, 100),
                "backoff": st.sampled_from(["none", "linear", "exponential"]),
                "delay": st.integers(0, 10_000).map(float),
                **settings,
            },
        ),
    ),
    max_leaves=3,
)
step_lists = st.lists(steps, max_size=3).map(tuple)
flows = unique(
    parts(
        Flow,
        {"name": names, "steps": st.lists(steps, min_size=1, max_size=2).map(tuple)},
        {"on_failure": st.lists(steps, min_size=1, max_size=1).map(tuple)},
    ),
    most=2,
)
tools = unique(
    st.one_of(
        parts(
            Tool,
            {
                "name": names,
                "source": texts,
                "trigger": st.sampled_from(["every", "cron", "on", "changes"]),
                "trigger_value": texts,
            },
            {
                "needs": st.lists(words, min_size=1, max_size=2).map(tuple),
                "parallel": st.just(True),
                "estimate": st.floats(0, 1e9),
                "estimate_tokens": st.integers(0, 10**9),
            },
        ),
        parts(Tool, {"name": names, "source": texts}, {"trigger": st.just("manual")}),
    )
)
door = {
    "auth": st.lists(
        st.sampled_from(["session", "jwt", "api_key", "none"]), min_size=1, max_size=4, unique=True
    ).map(tuple),
    "scopes": st.lists(st.one_of(st.just("machines:run"), words), min_size=1, max_size=2).map(
        tuple
    ),
    "grant": st.lists(words, max_size=2).map(tuple),
    "rate": texts,
}
surfaces = st.lists(
    st.one_of(
        parts(
            WebsocketSurface,
            {"path": texts},
            {
                "dialect": st.sampled_from(["machine", "panel", "dag", "incubator"]),
                "idle_timeout": seconds,
                "max_message": st.integers(1024, 10**6),
                "subscribe": names,
                "every": seconds,
                "push": st.sampled_from(["changes", "all"]),
                "concurrency": st.integers(1, 256),
                **door,
            },
        ),
        parts(
            ApiSurface,
            {"path": texts},
            {"method": st.sampled_from(["GET", "POST", "PUT", "PATCH", "DELETE"]), **door},
        ),
        parts(PageSurface, {"path": texts}, {"title": texts, "layout": texts, **door}),
        parts(
            OtherSurface,
            {"kind": st.sampled_from(["webhook", "a2a", "mcp", "publishes", "subscribes"])},
            {"options": json_objects},
        ),
    ),
    max_size=3,
).map(tuple)

definitions = parts(
    MachineDefinition,
    {"name": slugs},
    {
        "title": texts,
        "accepts": fields,
        "responds": fields,
        "achieves": parts(
            Achieves,
            {},
            {
                "goals": st.lists(words, max_size=2).map(tuple),
                "succeeds_when": some_texts,
                "never": some_texts,
                "examples": st.lists(
                    parts(Example, {"given": json_objects, "expect": json_objects}, {}), max_size=2
                ).map(tuple),
            },
        ),
        "ensures": parts(
            Ensures,
            {},
            {
                "permissions": parts(
                    Permissions,
                    {},
                    {
                        "allowed": capabilities,
                        "denied": capabilities,
                        "requires_approval": capabilities,
                        "authority": st.dictionaries(words, words, max_size=2),
                    },
                ),
                "limits": parts(
                    Limits,
                    {},
                    {
                        "timeout": seconds,
                        "rate": texts,
                        "concurrency": st.integers(1, 1000),
                        "max_cost": st.floats(0, 1e9),
                        "max_tokens": st.integers(0, 10**9),
                        "warn_at": st.floats(0, 1e9),
                        "max_parallel": st.integers(1, 256),
                    },
                ),
                "guards": st.dictionaries(words, json_objects, max_size=2),
                "needs": st.dictionaries(words, words, max_size=2),
            },
        ),
        "implements": parts(
            Implements,
            {},
            {
                "steps": step_lists,
                "on_failure": step_lists,
                "flows": flows,
                "state": unique(
                    parts(StateField, {"name": names, "type": types}, {"default": json_values})
                ),
            },
        ),
        "tools": tools,
        "verifies": st.lists(
            parts(
                Test,
                {"name": texts, "given": json_objects, "expect": json_objects},
                {"assuming": st.dictionaries(words, json_objects, max_size=2)},
            ),
            max_size=2,
        ).map(tuple),
        "expresses": surfaces,
    },
)

__all__ = ["Step", "definitions"]
