"""Events to the collector: `POST /v1/events` (docs/api.md)."""

import gzip
import logging
import time
from collections.abc import Mapping, Sequence
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import msgspec

from pipeline.sdk.transport import Answered, Away, Outcome, Refusal, TooLarge

if TYPE_CHECKING:
    import httpx

log = logging.getLogger(__name__)

PATH = "/v1/events"
GZIP_BYTES_MIN = 4096
ANSWER_BYTES_MAX = 16 << 20
RETRY_AFTER_S_MAX = 600.0
REASON_CHARS_MAX = 500
_LOCAL = ("127.0.0.1", "::1", "localhost")
PROBLEM = "urn:usage:problem:"
_REFUSED_AS_A_WHOLE = (HTTPStatus.BAD_REQUEST, HTTPStatus.UNPROCESSABLE_ENTITY)
_BY_EVENT = (HTTPStatus.OK, HTTPStatus.ACCEPTED, HTTPStatus.CONFLICT, *_REFUSED_AS_A_WHOLE)
"""Answers whose results count. A key without the right (403) is a matter for the operator: the events wait for that."""
_abandoned: list[object] = []
"""Clients of a parent process: were they collected here, they would take leave of its connections."""


class HttpTransport:
    """Posts batches to a collector. `timeout_s` limits a request as a whole; `ca_file` replaces the known authorities.

    Raises ValueError when the address or the key cannot be used.
    """

    def __init__(self, url: str, key: str, *, timeout_s: float = 10.0, ca_file: str | None = None) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname or "@" in parts.netloc:
            raise ValueError("the collector's address must be https://HOST or http://HOST, without a user or password")
        if not key or not key.isascii() or not key.isprintable() or " " in key:
            raise ValueError("the API key is empty, or holds what no key holds: is it the key alone?")
        if parts.scheme == "http" and parts.hostname not in _LOCAL:
            log.warning("the API key goes to %s unencrypted: use https://", parts.hostname)
        self._url = f"{parts.scheme}://{parts.netloc}{parts.path.rstrip('/').removesuffix(PATH)}{PATH}"
        self._headers = {"authorization": f"Bearer {key}", "content-type": "application/cloudevents-batch+json"}
        self._timeout_s = timeout_s
        self._ca_file = ca_file
        self._client: httpx.Client | None = None

    @property
    def endpoint(self) -> str:
        """Return the address that is posted to."""
        return self._url

    def send(self, events: Sequence[bytes]) -> Outcome:
        """Post a batch; what the collector does not answer to is sent again."""
        import httpx  # noqa: PLC0415 - slow to import, and not at all needed by a host that emits nothing

        body, headers = b"[" + b",".join(events) + b"]", self._headers
        if len(body) >= GZIP_BYTES_MIN:
            body, headers = gzip.compress(body, 4, mtime=0), headers | {"content-encoding": "gzip"}
        try:
            status, answered, answer = self._post(body, headers)
        except (httpx.HTTPError, httpx.InvalidURL, OSError, ValueError) as error:
            return Away(f"{type(error).__name__}: {error}")
        return outcome_of(status, answered, answer, len(events))

    def close(self) -> None:
        """Close the connections."""
        if self._client is not None:
            self._client.close()
            self._client = None

    def forget(self) -> None:
        """Leave the parent's connections alone."""
        if self._client is not None:
            _abandoned.append(self._client)
            self._client = None

    def _post(self, body: bytes, headers: Mapping[str, str]) -> tuple[int, Mapping[str, str], bytes]:
        """Return status, headers and body of the answer. Raises httpx.HTTPError, ValueError: too long, too late."""
        deadline = time.monotonic() + self._timeout_s
        client = self._connected()
        with client.stream("POST", self._url, content=body, headers=dict(headers)) as response:
            answer = bytearray()
            for chunk in response.iter_bytes():
                answer += chunk
                if len(answer) > ANSWER_BYTES_MAX or time.monotonic() > deadline:
                    raise ValueError(
                        f"the answer did not end within {self._timeout_s:g} s and {ANSWER_BYTES_MAX} bytes"
                    )
            return response.status_code, response.headers, bytes(answer)

    def _connected(self) -> "httpx.Client":
        import ssl  # noqa: PLC0415

        import httpx  # noqa: PLC0415

        if self._client is None:
            verify = ssl.create_default_context(cafile=self._ca_file) if self._ca_file else True
            timeout = httpx.Timeout(self._timeout_s, connect=min(5.0, self._timeout_s))
            self._client = httpx.Client(timeout=timeout, verify=verify, limits=httpx.Limits(max_connections=1))
        return self._client


def outcome_of(status: int, headers: Mapping[str, str], body: bytes, events: int) -> Outcome:
    """Return what an answer means for the events of a batch.

    Only what the collector says in its own words counts as taken: another server at its address says 200 to anything.
    """
    answer = _decoded(body)
    results = answer.get("results")
    if isinstance(results, list) and status in _BY_EVENT:
        return _by_event(results, events)
    if status == HTTPStatus.ACCEPTED:
        return Answered()
    reason = str(answer.get("detail") or answer.get("title") or "without a reason")[:REASON_CHARS_MAX]
    ours = headers.get("content-type", "").startswith("application/problem+json")
    if status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE or (status in _REFUSED_AS_A_WHOLE and ours):
        return TooLarge(str(answer.get("type") or status).removeprefix(PROBLEM), reason)
    return Away(f"HTTP {status}: {reason}", _retry_after_s(headers.get("retry-after")))


def _decoded(body: bytes) -> dict[str, Any]:
    try:
        answer = msgspec.json.decode(body)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return {}
    return answer if isinstance(answer, dict) else {}


def _by_event(results: Sequence[Any], events: int) -> Outcome:
    """Return which events were refused, and which are to be sent again: those of which nothing clear is said."""
    again, refused = set(range(events)), []
    for result in results:
        index = result.get("index") if isinstance(result, dict) else None
        if type(index) is not int or index not in again:
            continue
        if result.get("status") == "rejected":
            refused.append(Refusal(index, str(result.get("code")), str(result.get("message"))[:REASON_CHARS_MAX]))
        elif result.get("status") != "accepted":
            continue
        again.remove(index)
    if len(again) == events:
        return Away("the collector took no event, and refused none")
    return Answered(refused, sorted(again))


def _retry_after_s(value: str | None) -> float:
    """Return Retry-After, seconds or a date, in seconds from now."""
    if value is None:
        return 0.0
    try:
        seconds = float(value) if value.strip().isdecimal() else parsedate_to_datetime(value).timestamp() - time.time()
    except (ValueError, OverflowError):
        return 0.0
    return min(max(seconds, 0.0), RETRY_AFTER_S_MAX)
