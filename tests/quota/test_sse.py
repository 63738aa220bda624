"""Server-sent events, read from bytes."""

import pytest

from pipeline.quota import sse
from pipeline.quota.sse import EventParser, ServerEvent

STREAM = b': hello\r\nevent: quota\r\nid: 7\r\ndata: {"a":\r\ndata: 1}\r\n\r\ndata:plain\n\n\nevent: empty\n\n'
EVENTS = [ServerEvent("quota", b'{"a":\n1}'), ServerEvent("message", b"plain")]


def test_reads_events_however_they_are_cut() -> None:
    """Names, lines of data, comments and line ends are told apart, in pieces of any size; what has no data is none."""
    for size in (1, 2, 3, 7, len(STREAM)):
        parser = EventParser()

        found = [each for at in range(0, len(STREAM), size) for each in parser.feed(STREAM[at : at + size])]

        assert found == EVENTS, size


def test_an_event_has_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stream that never ends an event, in one line or in many, is left."""
    monkeypatch.setattr(sse, "EVENT_BYTES_MAX", 100)

    for endless in (b"data: " + b"x" * 200, b"data: xxxxxxxxxx\n" * 20):
        with pytest.raises(ValueError, match="more than 100 bytes"):
            list(EventParser().feed(endless))
