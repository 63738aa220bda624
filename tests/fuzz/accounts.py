"""What must hold of the agent's work, whatever it was fed: every event has one end, and rejects leave no trace."""

import json
from collections import Counter
from collections.abc import Iterable

from pipeline.domain.catalog import Catalog
from pipeline.domain.records import EVENTS_TOPIC, Record
from pipeline.domain.rejects import CODES
from pipeline.rating.ledger import DeadLetter, Effects, Ledger
from tests.domain.world import snapshot
from tests.rating.support import rows_of

MESSAGE_MAX = 500


def check_effects(record: Record, effects: Effects) -> None:
    """Check that every event of one record is a line, a duplicate or a reject, and that rejects say what they must."""
    whole = [letter for letter in effects.dead_letters if letter.index is None]
    single = [letter for letter in effects.dead_letters if letter.index is not None]
    if record.topic == EVENTS_TOPIC:
        assert effects.events == effects.lines + effects.duplicates + len(single), "an event has not one end"
        assert len(whole) == (effects.events == 0), "a record is rejected as a whole, or it has events"
    else:
        assert (effects.events, effects.lines, effects.duplicates, len(single)) == (0, 0, 0, 0)
        assert len(whole) <= 1
    assert [letter.index for letter in single] == sorted({letter.index for letter in single})
    for letter in effects.dead_letters:
        check_letter(record, letter)
    accepted = effects.lines + effects.duplicates
    assert (len(effects.states) > 0) == (accepted > 0) or record.topic != EVENTS_TOPIC
    assert not (effects.states and whole), "a reject has left a trace"


def check_letter(record: Record, letter: DeadLetter) -> None:
    """Check a dead letter: a code, one line of reason, the place, the very bytes that were sent (R2.3)."""
    assert letter.code in CODES
    assert 0 < len(letter.message) < MESSAGE_MAX, letter.message
    assert len(letter.message.splitlines()) == 1, letter.message
    assert letter.record is record
    if letter.index is None:
        assert letter.original == (record.value or b"")
    else:
        assert letter.original in (record.value or b"")


def check_lines(lines: Iterable[bytes]) -> None:
    """Check that lines conserve quantity and money, and count each customer's from 1 without a gap (R7.2, R7.3)."""
    seqs: Counter[str] = Counter()
    for each in lines:
        line = json.loads(each)
        seqs[line["customer"]] += 1
        assert line["seq"] == seqs[line["customer"]]
        parts = line["included"] + line["granted"] + line["overage"] + line["blocked"]
        assert parts == (line["quantity"] if line["kind"] == "usage" else 0)
        assert line["charge_pico"] == line["provider_reward_pico"] + line["builder_earnings_pico"]


def without_rejects(record: Record, letters: list[DeadLetter]) -> Record | None:
    """Return a record with its rejected events taken out, None when nothing is left."""
    if not letters:
        return record
    if letters[0].index is None:
        return None
    rejected = {letter.index for letter in letters}
    kept = [original for index, original in enumerate(originals(record)) if index not in rejected]
    headers = tuple(header for header in record.headers if header[0].lower() != "content-type")
    return record._replace(value=b"[" + b",".join(kept) + b"]", headers=headers) if kept else None


def originals(record: Record) -> list[bytes]:
    """Return the bytes of the events of a record, found by another way than the pipeline's."""
    text = (record.value or b"").decode()
    begin = len(text) - len(text.lstrip(" \t\r\n"))
    if text[begin] != "[":
        return [text.encode()]
    found = []
    decoder = json.JSONDecoder(parse_int=str, parse_float=str)
    at = begin + 1
    while text[at:].strip(" \t\r\n") != "]":
        at += len(text[at:]) - len(text[at:].lstrip(" \t\r\n,"))
        _, end = decoder.raw_decode(text, at)
        found.append(text[at:end].encode())
        at = end
    return found


def play(ledger: Ledger, records: Iterable[Record]) -> list[Effects]:
    """Rate each record as a round of its own."""
    played = []
    for record in records:
        ledger.rate(record)
        played.append(ledger.take_effects())
    return played


def check_agent(catalog: Catalog, records: list[Record]) -> Counter[str]:
    """Rate records, check each, and that without what was rejected all is the same; return how many ended as what."""
    ledger = Ledger(catalog)
    played = play(ledger, records)
    for record, effects in zip(records, played, strict=True):
        check_effects(record, effects)
    check_lines(line for effects in played for line in rows_of(effects))
    pairs = zip(records, played, strict=True)
    sound = [kept for record, effects in pairs if (kept := without_rejects(record, effects.dead_letters)) is not None]
    if any(effects.dead_letters for effects in played):
        again = play(Ledger(catalog), sound)
        assert not any(effects.dead_letters for effects in again), "what is sound was rejected without the rejects"
        assert trace(again) == trace(played), "a reject has left a trace"
    check_recovery(ledger, Ledger(catalog), played)
    return ends(played)


def check_recovery(ledger: Ledger, restored: Ledger, played: list[Effects]) -> None:
    """Check that what was written of the states makes them again."""
    changes = [changed for effects in played for changed in effects.states]
    for changed in changes:
        for key, value in changed.records:
            restored.restore(key, value)
    for customer in {changed.customer for changed in changes}:
        before, after = snapshot(ledger.state_of(customer)), snapshot(restored.state_of(customer))
        assert after == before, "recovery makes another state"


def trace(played: list[Effects]) -> tuple[list[object], ...]:
    """Return all that the effects make, but for the dead letters; the parts of a state are in no order."""
    changes = [changed for effects in played for changed in effects.states]
    return (
        [line for effects in played for line in rows_of(effects)],
        [alert for effects in played for alert in effects.alerts],
        [(changed.customer, sorted(changed.records, key=lambda each: each[0])) for changed in changes],
        [sum(effects.duplicates for effects in played)],
    )


def ends(played: Iterable[Effects]) -> Counter[str]:
    """Return how many records there were, and how many events ended as what; a whole record counts as one."""
    counts: Counter[str] = Counter()
    for effects in played:
        counts["records"] += 1
        counts["events"] += effects.events
        counts["lines"] += effects.lines
        counts["duplicates"] += effects.duplicates
        for letter in effects.dead_letters:
            counts[f"reject {letter.code}"] += 1
    return counts
