"""The client over HTTP against a collector that misbehaves."""

import logging
import time
from http import HTTPStatus
from pathlib import Path

import pytest

from pipeline.sdk import UsageClient
from pipeline.sdk.over_http import HttpTransport, outcome_of
from pipeline.sdk.transport import Answered, Away, Refusal, TooLarge
from tests.sdk.collector import KEY, PROBLEM, Answer, Collector, accepted, rejecting
from tests.sdk.support import QUICK, SENDER, USED, until

REJECTED = b'{"index": %d, "status": "rejected", "code": "c", "message": "m"}'


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Retry soon."""
    monkeypatch.setattr("pipeline.sdk.delivery.BACKOFF_S", 0.01)


def client_of(collector: Collector, spool: Path | bool = False, **options: object) -> UsageClient:
    return UsageClient(collector.url, key=KEY, spool=spool, **SENDER, **{"limits": QUICK} | options)  # type: ignore[arg-type]


def test_three_lines_are_enough(collector: Collector, monkeypatch: pytest.MonkeyPatch) -> None:
    """A client from the environment emits an event that the collector takes."""
    for name, value in {"API": collector.url, "API_KEY": KEY, "DEPLOYMENT": "d", "CUSTOMER": "c"}.items():
        monkeypatch.setenv(f"USAGE_{name}", value)
    monkeypatch.setenv("USAGE_ENVIRONMENT", "production")

    with UsageClient(spool=False) as client:
        made = client.emit(**USED)

    assert collector.accepted == [made]
    headers = collector.headers[0]
    assert headers["authorization"] == f"Bearer {KEY}"
    assert headers["content-type"] == "application/cloudevents-batch+json"
    assert headers["path"] == "/v1/events"


@pytest.mark.parametrize(
    "answer",
    [
        Answer(0),
        Answer(500),
        Answer(502, lambda _: {"detail": "bad gateway"}),
        Answer(503, lambda _: {}, {"retry-after": "0"}),
        Answer(429, lambda _: {"title": "Too Many Requests"}, {"content-type": PROBLEM, "retry-after": "0"}),
        Answer(401, lambda _: {"detail": "who?"}, {"content-type": PROBLEM}),
        Answer(403, rejecting(0, 1), {"content-type": PROBLEM}),
        Answer(404),
        Answer(301, lambda _: {}, {"location": "http://127.0.0.1:1/"}),
        Answer(200, lambda _: {"hello": "captive portal"}),
        Answer(400, lambda _: {"error": "a proxy's"}),
        Answer(202, accepted, after_s=0.6),
    ],
    ids=lambda answer: f"{answer.status}",
)
def test_what_is_not_clearly_taken_is_sent_again_under_the_same_ids(
    collector: Collector, answer: Answer, caplog: pytest.LogCaptureFixture
) -> None:
    """No answer, a late one, an error, a redirect, another server: the events stay, and the log says why, not the key."""
    collector.answers.append(answer)
    transport = HttpTransport(collector.url, KEY, timeout_s=0.3)
    client = UsageClient(transport=transport, spool=False, limits=QUICK._replace(linger_s=0.2), **SENDER)

    ids = [client.emit(**USED) for _ in range(2)]

    assert client.flush(10)
    client.close()
    assert collector.attempts == [ids, ids]
    assert (client.stats().accepted, client.stats().rejected, client.stats().failed_attempts) == (2, 0, 1)
    assert "events cannot be sent" in caplog.text
    assert KEY not in caplog.text


def test_a_server_that_is_not_there_costs_nothing(tmp_path: Path) -> None:
    """Nobody listens: events go to disk, and stay there over the client's end."""
    client = UsageClient("http://127.0.0.1:9", key=KEY, spool=tmp_path, limits=QUICK, **SENDER)
    for _ in range(10):
        client.emit(**USED)
    client.close()

    assert (client.stats().spooled, client.stats().dropped) == (10, 0)


def test_retry_after_is_honoured(collector: Collector) -> None:
    """A collector under pressure is left alone for as long as it says."""
    collector.answers.append(Answer(429, lambda _: {}, {"retry-after": "1"}))
    client = client_of(collector)

    client.emit(**USED)

    assert client.flush(10)
    client.close()
    assert collector.attempted_at[1] - collector.attempted_at[0] >= 1.0


def test_rejections_are_final(collector: Collector, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """An event that the collector rejects is not sent again; the others of its batch are accepted."""
    collector.answers.append(Answer(202, rejecting(1)))
    client = client_of(collector, tmp_path)

    ids = [client.emit(**USED) for _ in range(3)]

    assert client.flush(10)
    client.close()
    assert collector.attempts == [ids]
    assert collector.accepted == [ids[0], ids[2]]
    assert client.stats().rejected == 1
    assert "unknown_customer" in caplog.text


def test_a_batch_that_is_too_large_for_a_proxy_is_split(collector: Collector) -> None:
    """413 says that parts may pass."""
    collector.answers.append(Answer(413))
    client = client_of(collector)

    ids = [client.emit(**USED) for _ in range(4)]

    assert client.flush(10)
    client.close()
    assert collector.attempts == [ids, ids[:2], ids[2:]]


def test_large_batches_are_compressed(collector: Collector) -> None:
    """Beyond some kilobytes a batch travels as gzip, and is below 1 MiB whatever it holds (R2.1)."""
    client = client_of(collector, limits=QUICK._replace(linger_s=0.5))

    ids = [client.emit(**USED | {"operation": "x" * 128}) for _ in range(3000)]

    assert client.flush(10)
    client.close()
    assert collector.accepted == ids
    assert all(headers["content-encoding"] == "gzip" for headers in collector.headers)


@pytest.mark.parametrize(
    ("status", "body", "outcome"),
    [
        (202, b"", Answered()),
        (202, b'{"results": [{"index": 0, "status": "accepted"}]}', Answered([], [1])),
        (202, b'{"results": [{"index": 7, "status": "accepted"}, 1, {"index": true}]}', Away),
        (
            422,
            b'{"results": [%b, %b]}' % (REJECTED % 0, REJECTED % 1),
            Answered([Refusal(0, "c", "m"), Refusal(1, "c", "m")], []),
        ),
        (422, b'{"type": "urn:usage:problem:too-deep", "detail": "d"}', TooLarge("too-deep", "d")),
        (202, b"[" * 100_000, Answered()),
        (200, b"<html>", Away),
        (599, b"", Away),
        (999, b"", Away),
    ],
)
def test_answers_are_understood(status: int, body: bytes, outcome: object) -> None:
    """An event counts as taken or refused only where the answer says so of it."""
    found = outcome_of(status, {"content-type": PROBLEM}, body, 2)

    assert found == outcome or type(found) is outcome


@pytest.mark.parametrize(
    ("value", "seconds"), [("3", 3), ("86400", 600), ("junk", 0), ("-1", 0), (None, 0), ("1e9", 0)]
)
def test_retry_after_in_seconds(value: str | None, seconds: float) -> None:
    """Whatever stands in Retry-After, the wait is bounded."""
    headers = {} if value is None else {"retry-after": value}

    assert outcome_of(503, headers, b"", 1) == Away("HTTP 503: without a reason", seconds)


def test_retry_after_as_a_date() -> None:
    """A date is a wait until then."""
    date = time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime(time.time() + 30))
    found = outcome_of(HTTPStatus.SERVICE_UNAVAILABLE, {"retry-after": date}, b"", 1)

    assert isinstance(found, Away)
    assert 25 < found.retry_after_s <= 30


@pytest.mark.parametrize(
    ("url", "key"),
    [("ftp://x", KEY), ("https://", KEY), ("https://u:p@host", KEY), ("https://x", ""), ("https://x", f"{KEY}\n")],
)
def test_an_address_or_key_that_cannot_be_right_is_said_at_once(url: str, key: str) -> None:
    """The message does not repeat the key, nor a password in an address."""
    with pytest.raises(ValueError, match=r"address|key") as raised:
        HttpTransport(url, key)

    assert KEY not in str(raised.value)
    assert "u:p" not in str(raised.value)


def test_a_key_in_the_clear_is_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    """Plain HTTP to another machine shows the key to whoever listens."""
    HttpTransport("http://usage.example", KEY)

    assert "unencrypted" in caplog.text
    assert KEY not in caplog.text


def test_an_answer_without_end_is_given_up(collector: Collector, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a collector says is bounded too."""
    monkeypatch.setattr("pipeline.sdk.over_http.ANSWER_BYTES_MAX", 1000)
    collector.answers.append(Answer(202, lambda _: {"x": "y" * 2000}))
    client = client_of(collector)

    client.emit(**USED)
    until(lambda: client.stats().failed_attempts == 1)

    assert client.flush(10)
    client.close()


def test_what_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that lacks something says which argument or variable it needs."""
    for name in ("API", "API_KEY", "DEPLOYMENT"):
        monkeypatch.delenv(f"USAGE_{name}", raising=False)

    with pytest.raises(ValueError, match="deployment: give it, or set USAGE_DEPLOYMENT"):
        UsageClient("https://x", key=KEY, customer="c", environment="e")
    with pytest.raises(ValueError, match="key: give it, or set USAGE_API_KEY"):
        UsageClient("https://x", **SENDER)


def test_without_a_folder_for_the_spool_it_is_said(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A process without a home has no disk to fall back on, and its operator should know."""
    for name in ("USAGE_SPOOL", "XDG_STATE_HOME", "HOME"):
        monkeypatch.delenv(name, raising=False)

    UsageClient("https://x", key=KEY, **SENDER).close()

    assert caplog.records[0].levelno == logging.WARNING
    assert "no folder for a spool" in caplog.text
