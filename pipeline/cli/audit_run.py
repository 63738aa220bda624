"""One audit, step by step: the logs and ClickHouse side by side, then the checks.

The pipeline may go on meanwhile. The order of the steps makes that harmless: what the log had first must be in ClickHouse
when we look there, and what ClickHouse then has must be in the log when we look a second time.
"""

import asyncio
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from clickhouse_connect.driver.client import Client

from pipeline.billing import audit
from pipeline.billing.audit import Check, Counts, Finding, Scope, Scratch
from pipeline.cli.audit_catalogs import InForce
from pipeline.cli.audit_letters import SOURCES, LetterReader
from pipeline.cli.audit_load import LineLoader, RowLoader
from pipeline.cli.audit_log import LogError, Logs, Offsets, open_logs
from pipeline.cli.audit_payouts import check_payouts
from pipeline.cli.audit_rerate import Accounted, Rerating, check_whole
from pipeline.cli.progress import progress_bar
from pipeline.codec.lines import COLUMNS_HEADER
from pipeline.codec.states import (
    PACK,
    PARTITION_KEYS,
    POSITIONS_KEY,
    Positions,
    parse_part,
    restore_pack,
    restore_positions,
)
from pipeline.domain.records import (
    DEAD_LETTER_TOPIC,
    EVENTS_TOPIC,
    GRANTS_TOPIC,
    LINES_TOPIC,
    PAYOUTS_TOPIC,
    STATES_TOPIC,
)
from pipeline.domain.state import CustomerState
from pipeline.settings import Settings

_POLL_S = 0.2


@dataclass(slots=True)
class Report:
    """What an audit found."""

    scope: Scope
    checks: list[Check] = field(default_factory=list)
    counts: Counts | None = None
    log_begins: dict[int, tuple[int, datetime | None]] = field(default_factory=dict)
    """Partitions of usage.lines whose beginning is deleted, with the first offset that is left and its time."""
    letters: int = 0
    accounted: Accounted | None = None
    """Of a re-rating."""

    @property
    def findings(self) -> int:
        """Return how much is wrong."""
        return sum(check.count for check in self.checks)


async def run_audit(
    settings: Settings, client: Client, scope: Scope, in_force: InForce | None, wait_s: float
) -> Report:
    """Audit a period; with the catalogs in force, rate everything again too. Raises LogError when it cannot be done."""
    async with open_logs(settings, (*SOURCES, STATES_TOPIC, DEAD_LETTER_TOPIC, PAYOUTS_TOPIC)) as logs:
        if in_force is not None:
            await asyncio.to_thread(in_force.read, client)
            await check_whole(logs)
        with ExitStack() as stack:
            scratch = await asyncio.to_thread(stack.enter_context, Scratch(client, scope))
            return await _Audit(logs, scratch, in_force, wait_s).run()


class _Audit:
    def __init__(self, logs: Logs, scratch: Scratch, in_force: InForce | None, wait_s: float) -> None:
        self._logs = logs
        self._scratch = scratch
        self._in_force = in_force
        self._wait_s = wait_s
        self._report = Report(scratch.scope)
        self._positions: dict[int, Positions] = {}
        self._lines = LineLoader(scratch, "logged")
        self._heads = RowLoader(scratch, "heads")

    async def run(self) -> Report:
        states_end = await self._logs.ends(STATES_TOPIC)
        await self._read_states(await self._logs.begins(STATES_TOPIC), states_end, late=False)
        letters_end = await self._logs.ends(DEAD_LETTER_TOPIC)
        lines_begin = await self._logs.begins(LINES_TOPIC)
        self._report.log_begins = {place.partition: (offset, None) for place, offset in lines_begin.items() if offset}
        lines_end = await self._logs.ends(LINES_TOPIC)
        await self._wait_for_sink(await self._read_lines(lines_begin, lines_end, tail=False))
        cut = bool(self._report.log_begins)
        await _in_thread("ClickHouse", lambda: audit.take_snapshot(self._scratch, log_is_cut=cut))
        await self._read_lines(lines_end, await self._logs.ends(LINES_TOPIC), tail=True)
        await self._read_states(states_end, await self._logs.ends(STATES_TOPIC), late=True)
        known = await asyncio.to_thread(audit.what_is_known, self._scratch)
        if known is not None:
            raise LogError(known)
        letters, letters_cut = await self._read_letters(letters_end)
        await self._check_log()
        if self._in_force is not None:
            await self._rate(self._in_force)
        await self._check(letters.check, letters_cut)
        self._report.letters = letters.letters
        self._report.counts = await asyncio.to_thread(audit.count_snapshot, self._scratch)
        return self._report

    async def _read_states(self, start: Offsets, end: Offsets, *, late: bool) -> None:
        """Read how many lines each customer's state has numbered, and up to where the workers are."""
        with progress_bar("records") as progress:
            task = progress.add_task(STATES_TOPIC, total=_distance(start, end))
            async for records in self._logs.read(start, end, lambda moved: progress.advance(task, moved)):
                if not late:
                    self._note_positions(records)
                await self._heads.add(
                    {**head, "late": late} for head in map(self._head_of, records) if head is not None
                )
        await self._heads.flush()

    def _note_positions(self, records: list[Any]) -> None:
        for record in records:
            if record.key == POSITIONS_KEY and record.value is not None:
                self._positions[record.partition] = restore_positions(record.value)

    def _head_of(self, record: Any) -> dict[str, Any] | None:
        """Return what a changelog record says about a customer's line number; None when it says nothing."""
        if record.key is None or record.key in PARTITION_KEYS or record.value is None:
            return None
        part = parse_part(record.key)
        name = part.customer
        if self._scratch.scope.customer not in (None, name) or part.kind != PACK:
            return None
        state = CustomerState(name)
        restore_pack(state, record.value)
        return {"customer": name, "seq": state.seq, "log_offset": record.offset}

    async def _read_lines(self, start: Offsets, end: Offsets, *, tail: bool) -> dict[int, int]:
        """Load the lines of the log; return by partition the offset behind the last record."""
        read: dict[int, int] = {}
        with progress_bar("records") as progress:
            task = progress.add_task(LINES_TOPIC, total=_distance(start, end))
            async for records in self._logs.read(start, end, lambda moved: progress.advance(task, moved)):
                for record in records:
                    self._note_begin(record)
                    columns = next((value for name, value in record.headers if name == COLUMNS_HEADER), None)
                    await self._lines.add(record.partition, record.offset, record.value or b"", columns, tail=tail)
                    read[record.partition] = record.offset + 1
        await self._lines.flush()
        return read

    def _note_begin(self, record: Any) -> None:
        """Note when the first record was written that a partition of usage.lines still has, if others are gone."""
        begin, at = self._report.log_begins.get(record.partition, (0, None))
        if begin > 0 and at is None:
            at = datetime.fromtimestamp(record.timestamp / 1000, UTC)
            self._report.log_begins[record.partition] = (begin, at)

    async def _wait_for_sink(self, read: Mapping[int, int]) -> None:
        """Wait until what we have read is in ClickHouse. Raises LogError when the sink is not there in time."""
        deadline = asyncio.get_running_loop().time() + self._wait_s
        while True:
            there = await asyncio.to_thread(audit.sink_positions, self._scratch.client)
            behind = {number: there.get(number, 0) for number, offset in read.items() if there.get(number, 0) < offset}
            if not behind:
                return
            if asyncio.get_running_loop().time() > deadline:
                named = ", ".join(f"{LINES_TOPIC}/{number} at {at} of {read[number]}" for number, at in behind.items())
                raise LogError(
                    f"the sink has not brought everything to ClickHouse yet: {named}. Is `usage sink` running?"
                )
            await asyncio.sleep(_POLL_S)

    async def _read_letters(self, end: Offsets) -> tuple[LetterReader, set[int]]:
        """Read the dead letters; return them, and the partitions whose beginning is deleted."""
        begins = await self._logs.begins(DEAD_LETTER_TOPIC)
        loader = RowLoader(self._scratch, "letters")
        sources = await self._logs.begins(*SOURCES), await self._logs.ends(*SOURCES)
        reader = LetterReader(self._scratch.scope, loader, *sources)
        with progress_bar("records") as progress:
            task = progress.add_task(DEAD_LETTER_TOPIC, total=_distance(begins, end))
            async for records in self._logs.read(begins, end, lambda moved: progress.advance(task, moved)):
                await reader.take(records)
        await loader.flush()
        reader.finish()
        return reader, {place.partition for place, offset in begins.items() if offset > 0}

    async def _rate(self, in_force: InForce) -> None:
        lines = LineLoader(self._scratch, "rated")
        rejects = RowLoader(self._scratch, "rejected")
        rerating = Rerating(self._logs, in_force, self._scratch.scope.customer, lines, rejects)
        ends = await self._logs.ends(EVENTS_TOPIC, GRANTS_TOPIC)
        with progress_bar("records") as progress:
            task = progress.add_task("rating again", total=sum(ends.values()))
            await rerating.run(self._positions, ends, lambda moved: progress.advance(task, moved))
            misplaced = await asyncio.to_thread(audit.misplaced_customers, self._scratch)
            if misplaced:
                progress.reset(task, description="once more, grants as versions say")
                await asyncio.to_thread(audit.forget_rated, self._scratch, misplaced)
                rerating.again({name: audit.logged_versions(self._scratch, name) for name in misplaced})
                await rerating.run(self._positions, ends, lambda moved: progress.advance(task, moved))
        check: Check = await _in_thread("re-rating", lambda: audit.check_rated(self._scratch))
        if misplaced:
            check.notes.append(
                f"{len(misplaced):,} customers had grants that came too late for their timestamps; they are put where the "
                f"versions of the lines say ({', '.join(misplaced[:3])}{' ...' if len(misplaced) > 3 else ''})"
            )
        self._report.checks.append(check)
        self._report.accounted = rerating.accounted

    async def _check_log(self) -> None:
        check: Check = await _in_thread("log", lambda: audit.check_log(self._scratch))
        for place in self._lines.unreadable:
            check.add(Finding("", None, f"{LINES_TOPIC}/{place}: this is no line"), self._scratch.scope.findings_max)
        self._report.checks.append(check)

    async def _check(self, letters: Check, letters_cut: set[int]) -> None:
        """Make the other checks."""
        checks = self._report.checks
        for check in audit.CHECKS:
            checks.append(await _in_thread(check.__name__, lambda check=check: check(self._scratch)))  # type: ignore[misc]
        await _in_thread(letters.name, lambda: audit.add_doubled_letters(self._scratch, letters))
        if self._in_force is not None:
            await _in_thread(letters.name, lambda: audit.add_wrong_letters(self._scratch, letters, letters_cut))
        checks.append(letters)
        checks.append(await check_payouts(self._logs, self._scratch, self._wait_s))


async def _in_thread(name: str, work: Callable[[], Any]) -> Any:
    with progress_bar("") as progress:
        progress.add_task(f"checking {name.removeprefix('check_').replace('_', ' ')}", total=None)
        return await asyncio.to_thread(work)


def _distance(start: Offsets, end: Offsets) -> int:
    return sum(max(0, end[place] - start[place]) for place in start)
