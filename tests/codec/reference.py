"""What `decode_events` must come to: what the reference alone makes of a record, without the fast ways."""

from unittest.mock import patch

from pipeline.codec import records
from pipeline.domain.events import UsageEvent
from pipeline.domain.records import Record
from pipeline.domain.rejects import Rejected

Found = UsageEvent | tuple[str, str]
"""An event, or code and message of its reject."""


def found_in(record: Record) -> list[Found] | tuple[str, str]:
    """Return what a record decodes to, comparable."""
    try:
        return [found(each) for each in records.decode_events(record)]
    except Rejected as rejected:
        return (rejected.code, rejected.message)


def found_by_reference(record: Record) -> list[Found] | tuple[str, str]:
    """Return the same of the reference."""
    with patch.object(records, "plain_events", lambda _: None), patch.object(records, "_one_by_one", lambda _: None):
        return found_in(record)


def found(each: UsageEvent | Rejected) -> Found:
    """Return what an event has come to, comparable."""
    return (each.code, each.message) if isinstance(each, Rejected) else each
