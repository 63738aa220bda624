"""A collector in a thread of the test: it answers as `docs/api.md` says, or as it is told."""

import gzip
import json
import threading
import time
from collections import deque
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple

KEY = "uk_test_secret"
PROBLEM = "application/problem+json"


class Answer(NamedTuple):
    """What to answer: a status, 0 to hang up without a word; `body` is made of the events."""

    status: int
    body: Callable[[list[Any]], object] = lambda _: {}
    headers: dict[str, str] = {}  # noqa: RUF012 - never changed
    after_s: float = 0.0


def accepted(events: list[Any]) -> object:
    results = [{"index": index, "id": event["id"], "status": "accepted"} for index, event in enumerate(events)]
    return {"accepted": len(events), "rejected": 0, "results": results}


def rejecting(*places: int) -> Callable[[list[Any]], object]:
    """Return an answer's body that rejects the events in some places."""

    def body(events: list[Any]) -> object:
        answer: Any = accepted(events)
        for place in places:
            answer["results"][place] |= {"status": "rejected", "code": "unknown_customer", "message": "subject: who?"}
        return answer

    return body


class Collector:
    """Serves on a free port. `answers` are given first, then everything is accepted, unless it is `away`."""

    def __init__(self) -> None:
        self.answers: deque[Answer] = deque()
        self.away = False
        self.attempts: list[list[str]] = []
        self.attempted_at: list[float] = []
        self.accepted: list[str] = []
        self.headers: list[dict[str, str]] = []
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def answer_to(self, events: list[Any], headers: dict[str, str]) -> tuple[Answer, bytes]:
        """Note a request, and return the answer and its body."""
        self.attempts.append([event["id"] for event in events])
        self.attempted_at.append(time.monotonic())
        self.headers.append(headers)
        answer = self.answers.popleft() if self.answers else Answer(503) if self.away else Answer(202, accepted)
        time.sleep(answer.after_s)
        body: Any = answer.body(events)
        for result in body.get("results", ()):
            if result["status"] == "accepted":
                self.accepted.append(result["id"])
        return answer, json.dumps(body).encode()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        collector = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                if self.headers.get("content-encoding") == "gzip":
                    body = gzip.decompress(body)
                headers = {name.lower(): value for name, value in self.headers.items()} | {"path": self.path}
                answer, content = collector.answer_to(json.loads(body), headers)
                self.close_connection = not answer.status
                if answer.status:
                    self._send(answer, content)

            def _send(self, answer: Answer, content: bytes) -> None:
                self.send_response(answer.status)
                for name, value in ({"content-type": "application/json"} | answer.headers).items():
                    self.send_header(name, value)
                self.send_header("content-length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_: object) -> None:
                pass

        return Handler
