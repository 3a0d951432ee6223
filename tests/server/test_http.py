"""Plain HTTP through the same server: an application that fails is noticed at once."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator
from contextlib import closing, contextmanager

import pytest

from tests.server.conftest import PATIENCE, Carrier


@contextmanager
def response_to(carrier: Carrier, path: str) -> Iterator[http.client.HTTPResponse]:
    connection = http.client.HTTPConnection("127.0.0.1", carrier.port, timeout=PATIENCE)
    with closing(connection):
        connection.request("GET", path)
        with connection.getresponse() as response:
            yield response


def test_an_application_answers(carrier: Carrier) -> None:
    with response_to(carrier, "/") as response:
        assert response.status == 200
        assert int(response.read()) == carrier.process.pid


def test_what_is_loaded_is_no_work_for_the_garbage_collector(carrier: Carrier) -> None:
    with response_to(carrier, "/garbage") as response:
        counts = json.loads(response.read())
    assert counts["walked"] < counts["aside"] / 10, counts


@pytest.mark.parametrize("path", ["/fail", "/forget"])
def test_an_application_without_an_answer_is_500(carrier: Carrier, path: str) -> None:
    with response_to(carrier, path) as response:
        assert response.status == 500


@pytest.mark.parametrize("path", ["/fail?begun", "/forget?begun", "/fail?looked"])
def test_an_answer_that_breaks_off_breaks_the_connection(carrier: Carrier, path: str) -> None:
    for _ in range(2):  # and the server still looks
        with response_to(carrier, path) as response:
            assert response.status == 200
            with pytest.raises(http.client.IncompleteRead):
                response.read()
