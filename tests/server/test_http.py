"""Plain HTTP through the same server: an application that fails is noticed at once."""

from __future__ import annotations

import http.client

import pytest

from tests.server.conftest import PATIENCE, Carrier


def response_to(carrier: Carrier, path: str) -> http.client.HTTPResponse:
    connection = http.client.HTTPConnection("127.0.0.1", carrier.port, timeout=PATIENCE)
    connection.request("GET", path)
    return connection.getresponse()


def test_an_application_answers(carrier: Carrier) -> None:
    response = response_to(carrier, "/")
    assert response.status == 200
    assert int(response.read()) == carrier.process.pid


@pytest.mark.parametrize("path", ["/fail", "/forget"])
def test_an_application_without_an_answer_is_500(carrier: Carrier, path: str) -> None:
    assert response_to(carrier, path).status == 500


@pytest.mark.parametrize("path", ["/fail?begun", "/forget?begun"])
def test_an_answer_that_breaks_off_breaks_the_connection(carrier: Carrier, path: str) -> None:
    response = response_to(carrier, path)
    assert response.status == 200
    with pytest.raises(http.client.IncompleteRead):
        response.read()
