"""Bounds on size, depth, number and time, so that no client can take the process down."""

import gzip
import json
import socket
import time
import zlib
from collections.abc import Iterator
from typing import Any

import pytest

from pipeline.api.bodies import InFlight
from pipeline.api.problems import Problem
from pipeline.settings import Settings
from tests.api.support import RunningApi, store_key, usage, wait_until

BODY_BYTES_MAX = 200_000


@pytest.fixture(scope="module")
def small(api_settings: Settings) -> Iterator[RunningApi]:
    """Yield an API with narrow limits."""
    limits = {"api_body_bytes_max": BODY_BYTES_MAX, "api_body_timeout_ms": 300, "api_in_flight_bytes_max": 300_000}
    with RunningApi(api_settings.model_copy(update=limits)) as running:
        yield running.ready()


@pytest.fixture(scope="module")
def token(api_settings: Settings, small: RunningApi) -> str:
    made, _ = store_key(api_settings, "deployment", "dep_acme")
    wait_until(lambda: small.knows(made), "the key to be read")
    return made


def padded(size: int) -> bytes:
    return json.dumps(usage(f"padded {size}") | {"padding": "x" * size}).encode()


def test_a_body_has_a_limit(small: RunningApi, token: str) -> None:
    """A body beyond the limit is 413, and one just below it is taken."""
    assert small.events(token, padded(BODY_BYTES_MAX - 1_000)).status_code == 202
    assert small.events(token, padded(BODY_BYTES_MAX)).status_code == 413


def test_a_body_of_unknown_length_has_the_same_limit(small: RunningApi, token: str) -> None:
    """Chunks are counted as they come: the announced length is not trusted."""

    def chunks() -> Iterator[bytes]:
        for _ in range(100):
            yield b" " * 10_000

    answer = small.stream("/v1/events", token, chunks())

    assert answer.status_code == 413


@pytest.mark.parametrize("layers", [1, 2])
def test_a_gzip_bomb_does_not_go_off(small: RunningApi, token: str, layers: int) -> None:
    """A small body that grows beyond the limit is refused while it is unpacked, whatever its first part holds."""
    bomb = gzip.compress(padded(10)) * (layers - 1) + gzip.compress(b"[" + b" " * 100_000_000)

    began = time.monotonic()
    answer = small.events(token, bomb, content_encoding="gzip")

    assert len(bomb) < BODY_BYTES_MAX
    assert answer.status_code == 413
    assert time.monotonic() - began < 1


@pytest.mark.parametrize(
    "body",
    [b"", b"no gzip", gzip.compress(padded(10))[:-1], gzip.compress(padded(10)) + b"more", zlib.compress(padded(10))],
)
def test_broken_gzip_is_refused(small: RunningApi, token: str, body: bytes) -> None:
    """What is no gzip, is cut off or goes on is 400: half a body is not guessed at."""
    assert small.events(token, body, content_encoding="gzip").status_code == 400


@pytest.mark.parametrize("cut", [1, 20, 300])
def test_gzip_may_come_in_pieces(small: RunningApi, token: str, cut: int) -> None:
    """Members one after the other, and chunks of any size, make one body."""
    text = padded(1_000)
    packed = gzip.compress(text[:100]) + gzip.compress(text[100:])
    pieces = (packed[start : start + cut] for start in range(0, len(packed), cut))

    answer = small.stream("/v1/events", token, pieces, content_encoding="gzip")

    assert answer.status_code == 202, answer.text


@pytest.mark.parametrize("encoding", ["br", "deflate", "gzip, gzip"])
def test_other_encodings_are_not_understood(small: RunningApi, token: str, encoding: str) -> None:
    """Only gzip, once."""
    answer = small.events(token, usage(), content_encoding=encoding)

    assert (answer.status_code, answer.headers["accept-encoding"]) == (415, "gzip")


@pytest.mark.parametrize("form", ["application/json", "application/x-ndjson"])
@pytest.mark.parametrize(("count", "status"), [(10_000, 422), (10_001, 413)])
def test_a_request_has_so_many_events(small: RunningApi, token: str, form: str, count: int, status: int) -> None:
    """10,000 events are looked at, one more is 413 (R2.1)."""
    body = b"[%b]" % b",".join([b"{}"] * count) if form == "application/json" else b"{}\n" * count

    answer = small.events(token, body, content_type=form)

    assert answer.status_code == status


def test_a_slow_client_is_not_waited_for(small: RunningApi, token: str) -> None:
    """A body that does not come within its time is 408, and what was held for it is let go of."""
    host, port = small.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=10) as client:
        client.sendall(
            f"POST /v1/events HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n"
            "Content-Type: application/json\r\nContent-Length: 1000\r\n\r\n{".encode()
        )
        answer = client.recv(65_536)

    assert answer.startswith(b"HTTP/1.1 408")
    assert b"application/problem+json" in answer
    wait_until(lambda: small.app.state.in_flight.held_bytes == 0, "the room to be given back")


@pytest.mark.parametrize(("requests", "begun"), [(0, b""), (0, b"GET /heal"), (1, b"GET /heal"), (2, b"GET /heal")])
def test_headers_that_do_not_come_end_the_connection(
    small: RunningApi, monkeypatch: pytest.MonkeyPatch, requests: int, begun: bytes
) -> None:
    """A connection without a whole request is closed, be it the first request or a later one."""
    monkeypatch.setattr("pipeline.api.server.HEADERS_S_MAX", 0.1)
    host, port = small.url.removeprefix("http://").split(":")

    with socket.create_connection((host, int(port)), timeout=10) as client:
        for _ in range(requests):
            client.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
            assert client.recv(65_536).startswith(b"HTTP/1.1 200")
        client.sendall(begun)
        assert client.recv(65_536) == b""


def test_too_much_at_once_is_asked_to_wait(small: RunningApi, token: str) -> None:
    """When the bytes that are being taken in reach their bound the answer is 429 with Retry-After; then it goes on."""
    in_flight: InFlight = small.app.state.in_flight
    in_flight.take(250_000)

    busy = small.events(token, padded(100_000))
    in_flight.give(250_000)
    after = small.events(token, padded(100_000))

    assert (busy.status_code, after.status_code) == (429, 202)
    assert int(busy.headers["retry-after"]) >= 1
    assert in_flight.held_bytes == 0


def test_room_is_given_back_however_a_request_ends() -> None:
    """Bytes are counted out after a failure too, and only those that were counted in."""
    in_flight = InFlight(10)

    with in_flight.room() as room:
        room.add(6)
        with pytest.raises(Problem):
            room.add(6)

    assert in_flight.held_bytes == 0


@pytest.mark.parametrize("content", [b"[" * 100_000, b'{"a":' * 50_000, b'[{"a":' * 30_000], ids=["[", "{", "[{"])
@pytest.mark.parametrize("path", ["/v1/events", "/v1/grants"])
def test_deep_nesting_is_refused(api: RunningApi, tokens: dict[str, str], content: bytes, path: str) -> None:
    """No depth of brackets brings a parser down."""
    answer = api.request("post", path, tokens["operator"], content)

    assert answer.status_code in (400, 413), answer.text


def test_a_grant_is_small(api: RunningApi, tokens: dict[str, str]) -> None:
    """Grants stay in the state for ever, so they have at most 64 KiB (R2.5)."""
    grant: dict[str, Any] = {"type": "topup", "id": "1", "customer": "acme", "amount": "1", "note": "x" * 65_536}

    assert api.request("post", "/v1/grants", tokens["operator"], grant).status_code == 413
