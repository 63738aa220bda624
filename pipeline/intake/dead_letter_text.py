"""Dead letters in words and fields; whatever senders wrote, it steers no terminal."""

import base64
from typing import Any

from pipeline.domain.instants import format_instant
from pipeline.intake.dead_letter_replay import Sent
from pipeline.intake.dead_letters import History, Letter

SHOWN_MAX = 20_000
"""Characters of an original that `described` shows."""
_TIMES_MS = range(1 << 47)
"""Beyond the year 6429 a timestamp is a mistake, and shown as the number that it is."""
_KEPT_APART = (
    "code",
    "message",
    "source-topic",
    "source-partition",
    "source-offset",
    "source-timestamp",
    "source-index",
)


def fields_of(letter: Letter, history: History | None = None) -> dict[str, Any]:
    """Return what a letter says, without its original; with its status if the history is given."""
    source = letter.source
    return {
        "position": letter.position,
        "rejected_at": time_of(letter.written_ms),
        "code": letter.code,
        "message": letter.message,
        "customer": letter.customer,
        "source": None
        if source is None
        else {
            "topic": source.place.topic,
            "partition": source.place.partition,
            "offset": source.place.offset,
            "index": source.event,
            "timestamp": time_of(letter.source_ms),
        },
        **({} if history is None else {"status": history.status(letter)}),
    }


def content_of(letter: Letter) -> dict[str, Any]:
    """Return the other headers and the original: as text, or in base64 where it is none."""
    headers = {
        name: value.decode(errors="backslashreplace")
        for name, value in letter.headers.items()
        if name not in _KEPT_APART
    }
    try:
        return {"headers": headers, "original": letter.original.decode()}
    except UnicodeDecodeError:
        return {"headers": headers, "original_base64": base64.b64encode(letter.original).decode()}


def cells_of(letter: Letter, history: History) -> list[str]:
    """Return a letter as a row: position, time, code, customer, source, status and message."""
    cells = (letter.position, time_of(letter.written_ms)[:19], letter.code, letter.customer or "", _source(letter))
    return [escaped(cell) for cell in (*cells, history.status(letter), letter.message)]


def described(letter: Letter) -> str:
    """Return a letter for people, with its original."""
    content = content_of(letter)
    lines = [
        ("code", letter.code),
        ("message", letter.message),
        ("rejected at", time_of(letter.written_ms)),
        ("key", letter.customer or "none"),
        ("source", _source(letter)),
        ("source time", time_of(letter.source_ms)),
        *content["headers"].items(),
    ]
    text = escaped(letter.original.decode(errors="backslashreplace"), keep_lines=True)
    cut = len(text) - SHOWN_MAX
    more = f"\n... and {cut:,} more characters; --raw prints all" if cut > 0 else ""
    named = "\n".join(f"  {escaped(name):<16}{escaped(value)}" for name, value in lines)
    size = f"{len(letter.original):,} bytes"
    return f"{letter.place}\n{named}\n  {'original':<16}{size}\n\n{text[:SHOWN_MAX]}{more}"


def sent_fields(sent: Sent) -> dict[str, Any]:
    """Return what a replay did."""
    return {
        "sent": sent.letters,
        "by_topic": dict(sent.by_topic),
        "by_code": dict(sent.by_code),
        "sent_before": sent.already,
        "left_out": dict(sent.left_out),
        "more": sent.more,
    }


def sent_lines(sent: Sent, *, dry_run: bool) -> list[str]:
    """Return what a replay did, or would do, for people."""
    parts = [f"{count:,} to {topic}" for topic, count in sorted(sent.by_topic.items())]
    codes = [f"{count:,} {escaped(code)}" for code, count in sent.by_code.most_common()]
    verb = "would send" if dry_run else "sent"
    where = f": {', '.join(parts)} ({', '.join(codes)})" if parts else ""
    lines = [f"{verb} {sent.letters:,} letter{'' if sent.letters == 1 else 's'} again{where}"]
    if sent.already:
        lines.append(f"left out {sent.already:,} that an earlier replay has sent (--again sends them once more)")
    lines += [f"left out {count:,}, {escaped(reason)}" for reason, count in sent.left_out.most_common()]
    if sent.left_out:
        lines.append("--force sends what is of no use too")
    if sent.more:
        lines.append("--limit left out others: run it again for those")
    return lines


def escaped(text: str, *, keep_lines: bool = False) -> str:
    """Return text in which everything that a terminal would not simply show is written as its escape."""
    if text.isprintable():
        return text
    kept = "\n" if keep_lines else ""
    return "".join(each if each.isprintable() or each in kept else ascii(each)[1:-1] for each in text)


def time_of(ms: int) -> str:
    """Return a timestamp as RFC 3339, one that cannot be a time as it is."""
    return f"{format_instant(ms * 1000)[:23]}Z" if ms in _TIMES_MS else f"{ms} ms"


def _source(letter: Letter) -> str:
    if letter.source is None:
        return "unknown"
    event = letter.source.event
    return f"{letter.source.place}{'' if event is None else f' event {event}'}"
