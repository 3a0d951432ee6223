"""Pages and admin speak the language that the browser asks for; what programs read is English."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from decimal import Decimal

import pytest
from django.contrib.auth.models import User
from django.db import connections
from django.test import Client
from django.utils import translation
from pytest_django import Settings

from mashin_surfaces.admin.markup import grouped
from mashin_surfaces.commit import close_writers
from mashin_surfaces.machines.registry import registry
from mashin_surfaces.runs.words import dollars, duration
from tests.surfaces.test_page import declare

pytestmark = pytest.mark.django_db(transaction=True)

TALLY = """
machine tally "Tally"
  accepts
    count as integer, is required, min: 1, max: 5
  responds with
    more as integer
  implements
    compute add
      {more: input.count + 1}
  expresses
    page
      path: "/tally"
      auth: none
    page
      path: "/tally/office"
      scopes: office:open
    api
      path: "/api/tally"
      auth: none
"""
HIVE = """
machine hive "The hive"
  expresses
    websocket
      path: "/ws/hive"
      dialect: incubator
      auth: none
    page
      path: "/hive"
      auth: none
"""
BOARD = """
machine board "The board"
  expresses
    websocket
      path: "/ws/board"
      dialect: panel
      auth: none
    page
      path: "/board"
      auth: none
"""
APPROVAL = """
machine approval "The approval"
  responds with
    fine as boolean
  implements
    gate look
      title: "Is it fine?"
    compute answer, after: look
      {fine: true}
  expresses
    page
      path: "/approval"
      auth: none
"""


@pytest.fixture(autouse=True)
def _tally(settings: Settings) -> Iterator[None]:
    settings.MASHIN_SURFACES = {"WATCH_INTERVAL": 3600}
    declare(TALLY)
    yield
    translation.deactivate()  # Django's client leaves the last language to the tests to come
    registry.forget()
    close_writers()
    connections.close_all()


def read(client: Client, path: str, languages: str) -> str:
    answer = client.get(path, headers={"accept-language": languages})
    return answer.content.decode()


@pytest.mark.parametrize(
    ("asked", "lang", "words"),
    [
        ("de-AT,de;q=0.9,en;q=0.5", "de", ("Ausführen", "Ergebnis", "Von 1 bis 5.", "Verbunden")),
        ("ko-KR,ko;q=0.9", "ko", ("실행", "결과", "1부터 5까지.", "연결됨")),
        ("fr", "en", ("Run", "Result", "From 1 to 5.", "Connected")),
    ],
)
def test_a_machine_s_page(client: Client, asked: str, lang: str, words: tuple[str, ...]) -> None:
    page = read(client, "/tally", asked)
    assert f'<html lang="{lang}">' in page
    for word in words:  # the last one is among those that the script says
        assert word in page


@pytest.mark.parametrize(
    ("source", "path", "words"),
    [
        (HIVE, "/hive", ("Namensraum", "Sein Typ, zum Beispiel", '"connected": "Verbunden"')),
        (BOARD, "/board", ("Dieses Panel hat keine Werkzeuge.", '"connected": "Verbunden"')),
    ],
)
def test_the_pages_of_incubators_and_panels(
    client: Client, source: str, path: str, words: tuple[str, ...]
) -> None:
    """What is read on other threads is said in the same language."""
    declare(source)
    page = read(client, path, "de")
    for word in words:
        assert word in page


def test_the_page_of_a_run(client: Client) -> None:
    declare(APPROVAL)
    begun = client.post("/approval", headers={"accept-language": "de"})
    page = read(client, begun["Location"], "de")
    assert "0 von 2 Schritten sind fertig." in page


@pytest.mark.parametrize(
    ("lang", "title", "lead", "said"),
    [
        ("de", "Maschinen und ihre Schnittstellen", "Jede Maschine ist einmal", "offen für alle"),
        ("ko", "머신과 서피스", "한 번만 선언하면", "누구에게나 열림"),
    ],
)
def test_the_index_with_the_project_s_own_words(
    client: Client, lang: str, title: str, lead: str, said: str
) -> None:
    page = read(client, "/", lang)
    assert f'<html lang="{lang}">' in page
    for words in (f"<h1>{title}</h1>", lead, said):
        assert words in page


@pytest.mark.parametrize(
    ("lang", "heading"), [("de", "Verboten"), ("ko", "접근 거부됨"), ("en", "Forbidden")]
)
def test_a_page_that_refuses(client: Client, lang: str, heading: str) -> None:
    client.force_login(User.objects.create_user("ada"))
    assert f'<h1 id="reason">{heading}</h1>' in read(client, "/tally/office", lang)


@pytest.mark.parametrize(
    ("lang", "words"),
    [
        ("de", ("Maschinen und Schnittstellen", "Ausgewählte Maschinen aktivieren", "Sucht in")),
        ("ko", ("머신과 서피스", "선택한 머신 활성화", "이름과 제목에서 찾습니다.")),
    ],
)
def test_a_list_of_the_admin(client: Client, lang: str, words: tuple[str, ...]) -> None:
    client.force_login(User.objects.create_superuser("root"))
    page = read(client, "/admin/mashin_surfaces/machine/", lang)
    assert f'<html lang="{lang}"' in page
    for word in words:
        assert word in page


def test_an_api_s_answers_are_the_same_in_every_language(client: Client) -> None:
    english, german = answers = [
        client.post(
            "/api/tally",
            {"count": 9},
            content_type="application/json",
            headers={"accept-language": asked},
        )
        for asked in ("en", "de")
    ]
    assert english.status_code == german.status_code == 422
    said, repeated = ({**answer.json()["error"], "request_id": ""} for answer in answers)
    assert repeated == said


def test_numbers_have_the_points_and_commas_of_the_language() -> None:
    with translation.override("de"):
        assert (duration(timedelta(seconds=1.5)), grouped(12_345)) == ("1,5 s", "12.345")
        assert dollars(Decimal("1234.5")) == "1234,50"
    with translation.override("ko"):
        assert (duration(timedelta(seconds=1.5)), grouped(12_345)) == ("1.5초", "12,345")
