"""The page: what a person without a script meets, and what the ledger says of it."""

from __future__ import annotations

import re
from http import HTTPStatus
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.db.models import F
from django.test import Client, override_settings
from pytest_django import Settings

import mashin_surfaces
from mashin_surfaces.machines.definition import OtherSurface
from mashin_surfaces.machines.parser import parse
from mashin_surfaces.machines.registry import DEFINITIONS, registry
from mashin_surfaces.models import Epoch, Machine, Surface, SurfaceAccess
from mashin_surfaces.surfaces.routes import routes

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.usefixtures("no_machines_left"),
]

GREETER = """
machine greeter "The greeter"
  accepts
    name as text, is required, min_length: 3, max_length: 100, label "Your name", DESCRIBED
    times as integer, min: 1, max: 5, default: 2
    weight as decimal
    loud as boolean
    colour as enum("red", "blue"), default: "blue"
    day as date
    at as datetime
    words as list(text)
    code_word as text, secret
  responds with
    greeting as text
    times as integer
    weight as decimal
    loud as boolean
    colour as text
    words as list(text)
    people as list(object{name as text, age as integer})
    more as map
  implements
    compute greet
      {...input, greeting: "Hello,\\n<i>${input.name}</i>", people: PEOPLE, more: {a: 1, b: [2]}}
  expresses
    page
      path: "/greet"
      auth: AUTH
"""
CLASSIFIER = """
machine classifier
  accepts
    text as text
  responds with
    label as text
  ensures
    permissions
      allowed to
        reason
  implements
    ask answer, using: "anthropic:some-model"
      with task "Classify ${input.text}"
      returns
        label as text
      assuming
        label: "bug"
  expresses
    page
      path: "/classify"
      auth: none
"""  # fmt: skip
METRICS = """
machine live_metrics
  accepts
    metric_name as text
  responds with
    value as number
  implements
    compute answer
      {value: 1.5}
  expresses
    websocket
      path: "/ws/metrics"
      auth: SOCKET
    page
      path: "/dashboard"
      title: "System Dashboard"
      auth: PAGE
"""


@pytest.fixture
def user() -> Any:
    return get_user_model().objects.create_user("ada", password="secret")


def declare(source: str) -> None:
    """Have the machine live in this process."""
    definition = parse(source).definition
    machine = Machine.objects.create(
        name=definition.name, title=definition.title, definition=definition.as_json(), source=source
    )
    for surface in definition.expresses:
        assert not isinstance(surface, OtherSurface)
        options = surface.model_dump(mode="json", exclude_unset=True, exclude={"kind", "path"})
        Surface.objects.create(
            machine=machine,
            kind=surface.kind,
            protocol="websocket" if surface.kind == "websocket" else "http",
            path=surface.path,
            options=options,
        )
    Epoch.objects.get_or_create(name=DEFINITIONS)
    Epoch.objects.filter(name=DEFINITIONS).update(number=F("number") + 1)
    registry.forget()
    routes.prepare()
    registry.refresh()


def greeter(auth: str = "none") -> None:
    described = 'description "As friends say it."'
    people = '[{name: "Ada", age: 36}]'
    source = GREETER.replace("DESCRIBED", described).replace("PEOPLE", people)
    declare(source.replace("AUTH", auth))


def html(response: Any) -> str:
    text: str = response.content.decode()
    return text


def control(response: Any, name: str) -> str:
    """The HTML of one field."""
    found = re.search(rf'<div [^>]*data-field="{name}">.*?</div>', html(response), re.DOTALL)
    assert found is not None
    return found[0]


def token_of(response: Any) -> str:
    found = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', html(response))
    assert found is not None
    return found[1]


def rows() -> list[tuple[str, str, str, str]]:
    return list(
        SurfaceAccess.objects.order_by("lane", "seq").values_list(
            "event", "outcome", "code", "principal"
        )
    )


# -- the form -----------------------------------------------------------------------------------


def test_the_form_has_a_control_for_every_field(client: Client) -> None:
    greeter()
    response = client.get("/greet")
    assert response.status_code == HTTPStatus.OK
    assert "<h1>The greeter</h1>" in html(response)
    assert "Your name" in control(response, "name")
    assert "As friends say it." in control(response, "name")
    assert 'maxlength="100" required' in control(response, "name")
    times = control(response, "times")
    assert 'type="number"' in times
    assert 'step="1"' in times
    assert 'min="1"' in times
    assert 'max="5"' in times
    assert 'value="2"' in times
    assert "required" not in times
    assert 'step="any"' in control(response, "weight")
    assert 'type="checkbox"' in control(response, "loud")
    assert '<option value="blue" selected>' in control(response, "colour")
    assert 'type="date"' in control(response, "day")
    assert "2026-11-21T09:30:00Z" in control(response, "at")
    assert "<textarea" in control(response, "words")
    assert "As JSON, for example [&quot;text&quot;]" in control(response, "words")
    assert 'type="password"' in control(response, "code_word")


def test_the_query_fills_the_form_in(client: Client) -> None:
    greeter()
    query = "name=Eve%22%3E&times=4&loud=true&colour=red&words=a&words=b&code_word=sesame"
    response = client.get(f"/greet?{query}")
    assert 'value="Eve&quot;&gt;"' in control(response, "name")
    assert 'value="4"' in control(response, "times")
    assert " checked" in control(response, "loud")
    assert '<option value="red" selected>' in control(response, "colour")
    assert "[&quot;a&quot;, &quot;b&quot;]</textarea>" in control(response, "words")
    assert "sesame" not in html(response)


def test_the_titles_are_those_of_the_surface(client: Client) -> None:
    declare(METRICS.replace("SOCKET", "none").replace("PAGE", "none"))
    response = client.get("/dashboard")
    assert "<title>System Dashboard</title>" in html(response)
    assert 'name="metric_name"' in html(response)
    assert "Metric name" in html(response)


def test_a_view_is_recorded(client: Client) -> None:
    greeter()
    response = client.get("/greet")
    assert rows() == [("view", "allowed", "", "anonymous")]
    access = SurfaceAccess.objects.get()
    assert access.surface == "page:/greet"
    assert response["X-Request-ID"] == access.request_id
    assert access.request_id in html(response)
    assert "no-store" in response["Cache-Control"]


def test_head_is_answered_without_a_body(client: Client) -> None:
    greeter()
    response = client.head("/greet")
    assert response.status_code == HTTPStatus.OK
    assert response.content == b""


@pytest.mark.parametrize("method", ["put", "patch", "delete", "options"])
def test_other_methods_are_refused_and_recorded(client: Client, method: str) -> None:
    greeter()
    response = getattr(client, method)("/greet")
    assert response.status_code == HTTPStatus.METHOD_NOT_ALLOWED
    assert response["Allow"] == "GET, HEAD, POST"
    assert rows() == [("message", "refused", "unknown_message", "anonymous")]


# -- running ------------------------------------------------------------------------------------


def test_a_posted_form_runs_the_machine_and_shows_the_result(client: Client) -> None:
    greeter()
    response = client.post(
        "/greet",
        {
            "name": "Eve & co",
            "times": "03",
            "weight": "1.50",
            "loud": "true",
            "colour": "red",
            "words": '["x", "y"]',
            "day": "",
            "at": "",
            "code_word": "sesame",
        },
    )
    assert response.status_code == HTTPStatus.OK
    shown = html(response)
    assert '<span class="text">Hello,\n&lt;i&gt;Eve &amp; co&lt;/i&gt;</span>' in shown
    assert '<span class="number">3</span>' in shown
    assert '<span class="number">1.50</span>' in shown
    assert '<span class="badge true">Yes</span>' in shown
    assert re.search(r"<ul><li><span class=\"text\">x</span>\s*</li><li>", shown)
    assert '<th scope="col">Name</th><th scope="col">Age</th>' in shown
    assert "<summary>1 part</summary>" in shown
    assert 'value="Eve &amp; co"' in control(response, "name")
    assert "sesame" not in shown
    assert rows() == [("message", "allowed", "", "anonymous")]


def test_blank_controls_are_absent_and_boxes_without_a_tick_are_false(client: Client) -> None:
    greeter()
    response = client.post("/greet", {"name": "Eve", "times": "", "colour": "", "words": ""})
    shown = html(response)
    assert '<span class="number">2</span>' in shown
    assert '<span class="text">blue</span>' in shown
    assert '<span class="badge false">No</span>' in shown


def test_errors_stand_beside_their_fields_and_what_was_typed_stays(client: Client) -> None:
    greeter()
    response = client.post("/greet", {"name": "E", "times": "9", "words": "[x", "extra": "1"})
    assert response.status_code == HTTPStatus.UNPROCESSABLE_ENTITY
    for name in ("name", "times", "words"):
        assert 'aria-invalid="true"' in control(response, name)
        assert re.search(r'class="field-errors" id="field-\w+-errors"><span>.+</span>',
                         control(response, name))  # fmt: skip
    assert 'value="E"' in control(response, "name")
    assert 'value="9"' in control(response, "times")
    assert "[x</textarea>" in control(response, "words")
    assert "<span>" not in control(response, "day")
    assert "Please correct the marked fields." in html(response)
    assert re.search(r'<ul id="problem-list"><li>extra: .+</li></ul>', html(response))
    assert 'id="result" aria-labelledby="result-heading" hidden' in html(response)
    assert rows() == [("message", "refused", "invalid_input", "anonymous")]


def test_line_ends_are_what_the_machine_expects(client: Client) -> None:
    greeter()
    response = client.post("/greet", {"name": "Eve\r\nAda"})
    assert "&lt;i&gt;Eve\nAda&lt;/i&gt;" in html(response)


@pytest.mark.parametrize(
    ("body", "content_type", "status"),
    [
        ('{"name": "Eve"}', "application/json", HTTPStatus.BAD_REQUEST),
        ("name=Eve", "text/plain", HTTPStatus.BAD_REQUEST),
        ("--x", "multipart/form-data", HTTPStatus.BAD_REQUEST),
        ("&".join(f"a{number}=1" for number in range(1001)),
         "application/x-www-form-urlencoded", HTTPStatus.REQUEST_ENTITY_TOO_LARGE),
        ("name=" + "x" * 3_000_000,
         "application/x-www-form-urlencoded", HTTPStatus.REQUEST_ENTITY_TOO_LARGE),
        ("name=%FF%FE&times=%00", "application/x-www-form-urlencoded",
         HTTPStatus.UNPROCESSABLE_ENTITY),
    ],
)  # fmt: skip
def test_what_is_no_form_is_refused_and_recorded(
    client: Client, body: str, content_type: str, status: HTTPStatus
) -> None:
    greeter()
    response = client.generic("POST", "/greet", body, content_type=content_type)
    assert response.status_code == status
    assert [outcome for _, outcome, _, _ in rows()] == ["refused"]


def test_uploads_are_refused(client: Client, tmp_path: Path) -> None:
    greeter()
    file = tmp_path / "name"
    file.write_text("Eve")
    with file.open() as opened:
        response = client.post("/greet", {"name": opened})
    assert response.status_code == HTTPStatus.BAD_REQUEST
    assert "not supported yet: uploads" in html(response)


# -- who may ------------------------------------------------------------------------------------


def test_a_stranger_is_sent_to_the_login_page_and_back(client: Client, user: Any) -> None:
    greeter("session")
    response = client.get("/greet?name=Eve")
    assert response.status_code == HTTPStatus.FOUND
    assert response["Location"] == "/admin/login/?next=%2Fgreet%3Fname%3DEve"
    assert response["X-Request-ID"] == SurfaceAccess.objects.get().request_id
    assert rows() == [("view", "refused", "unauthenticated", "anonymous")]
    client.force_login(user)
    response = client.get("/greet?name=Eve")
    assert response.status_code == HTTPStatus.OK
    assert "Signed in as <b>ada</b>" in html(response)


def test_a_login_url_that_is_no_page_is_passed_over(client: Client, settings: Settings) -> None:
    greeter("session")
    settings.LOGIN_URL = "/accounts/login/"
    assert client.get("/greet")["Location"].startswith("/admin/login/?next=")
    settings.LOGIN_URL = "https://login.example/?site=1"
    assert client.get("/greet")["Location"] == "https://login.example/?site=1&next=%2Fgreet"


@override_settings(ROOT_URLCONF="mashin_surfaces.urls", LOGIN_URL="/accounts/login/")
def test_without_any_login_page_there_is_a_page_that_says_401(client: Client) -> None:
    greeter("session")
    response = client.get("/greet")
    assert response.status_code == HTTPStatus.UNAUTHORIZED
    assert "<h1" in html(response)
    assert "name" not in response.context


def test_a_stranger_who_posts_is_told_401(client: Client) -> None:
    greeter("session")
    response = client.post("/greet", {"name": "Eve"})
    assert response.status_code == HTTPStatus.UNAUTHORIZED
    assert 'href="/admin/login/?next=%2Fgreet"' in html(response)
    assert "<form" not in html(response)
    assert rows() == [("message", "refused", "unauthenticated", "anonymous")]


def test_a_bad_token_is_401_and_no_login_page(client: Client) -> None:
    greeter("session, jwt")
    response = client.get("/greet", headers={"Authorization": "Bearer nonsense"})
    assert response.status_code == HTTPStatus.UNAUTHORIZED
    assert "Sign in" not in html(response)


@override_settings(MASHIN_SURFACES={"USER_SCOPES": []})
def test_who_lacks_the_scope_sees_no_form(client: Client, user: Any) -> None:
    greeter("session")
    client.force_login(user)
    for response in (client.get("/greet"), client.post("/greet", {"name": "Eve"})):
        assert response.status_code == HTTPStatus.FORBIDDEN
        assert "machines:run:greeter" in html(response)
        assert "<form" not in html(response)
    assert [row[1:] for row in rows()] == [("refused", "forbidden", "ada")] * 2


def test_a_session_needs_the_token_of_the_form(client: Client, user: Any) -> None:
    greeter("session")
    client.force_login(user)
    token = token_of(client.get("/greet"))
    refused = client.post("/greet", {"name": "Eve"})
    assert refused.status_code == HTTPStatus.FORBIDDEN
    assert "CSRF" in html(refused)
    assert 'value="Eve"' in control(refused, "name")
    good = client.post("/greet", {"name": "Eve", "csrfmiddlewaretoken": token})
    assert good.status_code == HTTPStatus.OK
    assert rows() == [
        ("view", "allowed", "", "ada"),
        ("message", "refused", "forbidden", "ada"),
        ("message", "allowed", "", "ada"),
    ]


@pytest.mark.parametrize("in_session", [True, False])
def test_the_csrf_token_needs_no_middleware(
    client: Client, user: Any, settings: Settings, in_session: bool
) -> None:
    settings.MIDDLEWARE = [name for name in settings.MIDDLEWARE if "csrf" not in name]
    settings.CSRF_USE_SESSIONS = in_session
    greeter("session")
    client.force_login(user)
    token = token_of(client.get("/greet"))
    good = client.post("/greet", {"name": "Eve", "csrfmiddlewaretoken": token})
    assert good.status_code == HTTPStatus.OK


def test_another_site_cannot_post_with_the_session(client: Client, user: Any) -> None:
    greeter("session")
    client.force_login(user)
    token = token_of(client.get("/greet"))
    response = client.post(
        "/greet",
        {"name": "Eve", "csrfmiddlewaretoken": token},
        headers={"Origin": "https://evil.example"},
    )
    assert response.status_code == HTTPStatus.UNAUTHORIZED
    assert rows()[-1][1] == "refused"


# -- assumed answers, sockets, templates ----------------------------------------------------------


def test_assumed_answers_are_said_to_be_assumed(client: Client, settings: Settings) -> None:
    declare(CLASSIFIER)
    settings.MASHIN_SURFACES = {"ASK": "assume"}
    response = client.post("/classify", {"text": "It broke"})
    assert "Model answers are assumed here" in html(response)
    assert '<span class="text">bug</span>' in html(response)
    settings.MASHIN_SURFACES = {"ASK": "model"}
    assert "assumed" not in html(client.get("/classify"))


def test_a_machine_that_asks_no_model_assumes_nothing(client: Client, settings: Settings) -> None:
    settings.MASHIN_SURFACES = {"ASK": "assume"}
    greeter()
    assert "assumed" not in html(client.get("/greet"))


@pytest.mark.parametrize(
    ("socket", "page", "is_signed_in", "is_offered"),
    [
        ("none", "none", False, True),
        ("none", "none", True, True),
        ("session", "session", True, True),
        ("session, none", "session, none", True, True),
        ("session, none", "session, none", False, True),
        ("jwt", "none", False, False),
        ("none", "session", True, False),
        ("session", "none", True, False),
    ],
)
def test_a_socket_is_offered_to_whom_it_takes(
    client: Client, user: Any, socket: str, page: str, is_signed_in: bool, is_offered: bool
) -> None:
    declare(METRICS.replace("SOCKET", socket).replace("PAGE", page))
    if is_signed_in:
        client.force_login(user)
    response = client.get("/dashboard")
    assert response.status_code == HTTPStatus.OK
    assert ('data-websocket="/ws/metrics"' in html(response)) is is_offered


def test_live_values_are_offered_where_a_socket_says_what_its_topics_are(client: Client) -> None:
    open_metrics = METRICS.replace("PAGE", "none").replace("SOCKET", "none")
    declare(open_metrics)
    response = client.get("/dashboard")
    assert "data-topic-field" not in html(response)
    assert 'id="live"' not in html(response)
    feeding = open_metrics.replace('"/ws/metrics"', '"/ws/metrics"\n      subscribe: metric_name')
    declare(
        feeding.replace("live_metrics", "fed").replace("/ws/m", "/ws/f").replace("/d", "/fed/d")
    )
    response = client.get("/fed/dashboard")
    assert 'data-topic-field="metric_name"' in html(response)
    assert re.search(r'<section [^>]*id="live"[^>]* hidden>', html(response))


def test_a_machine_may_have_a_template_of_its_own(
    client: Client, settings: Settings, tmp_path: Path
) -> None:
    folder = tmp_path / "mashin_surfaces" / "pages"
    folder.mkdir(parents=True)
    (folder / "greeter.html").write_text(
        '{% extends "mashin_surfaces/page.html" %}{% block heading %}'
        "<h1>Own, for {{ request.user.username }}</h1>{% endblock %}"
    )
    settings.TEMPLATES = [{**settings.TEMPLATES[0], "DIRS": [tmp_path]}]
    user = get_user_model().objects.create_user("grace")
    client.force_login(user)
    greeter("session")
    response = client.get("/greet")
    assert "<h1>Own, for grace</h1>" in html(response)
    assert "Your name" in html(response)


def test_nothing_in_the_page_needs_a_lax_content_policy(client: Client) -> None:
    greeter()
    answers: list[Any] = [client.get("/greet"), client.post("/greet", {"name": "Eve"})]
    for response in answers:
        shown = html(response)
        assert "<style" not in shown
        assert not re.search(r"\sstyle=|\son\w+=|javascript:", shown)
        assert re.findall(r"<script[^>]*>", shown) == [
            '<script type="module" src="/static/mashin_surfaces/page.js">'
        ]
        assert not re.search(r'(?:src|href)="https?:', shown)


def test_the_scripts_are_small() -> None:
    root = Path(mashin_surfaces.__file__).parent / "static" / "mashin_surfaces"
    names = (
        "page.js",
        "client.js",
        "values.js",
        "fields.js",
        "live.js",
        "history.js",
        "standing.js",
    )
    assert sum((root / name).stat().st_size for name in names) < 50_000
