"""`usage dead-letter`: list, show, count and replay what was rejected."""

import asyncio
import functools
import heapq
import json
import re
import sys
from collections import Counter
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

import click
from aiokafka.errors import KafkaError
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from pipeline.cli.interrupt import cancel_on_signals
from pipeline.cli.options import options_for
from pipeline.cli.progress import progress_bar
from pipeline.domain.instants import parse_instant
from pipeline.domain.records import DEAD_LETTER_TOPIC
from pipeline.intake.dead_letter_log import LetterLog, LetterLogError, open_letters
from pipeline.intake.dead_letter_replay import Choice, ReplayError, Sent, choose, open_replayer, replay
from pipeline.intake.dead_letter_text import (
    cells_of,
    content_of,
    described,
    escaped,
    fields_of,
    sent_fields,
    sent_lines,
    time_of,
)
from pipeline.intake.dead_letters import OPEN, REJECTED_AGAIN, REPLAYED, SOURCE_TOPICS, Filter, History, Letter
from pipeline.observe.log import log_to_stderr
from pipeline.settings import Settings

_POSITION = re.compile(r"([0-9]{1,9}):([0-9]{1,18})")
_PLAIN_WIDTH = 240
_DATE_FORM = "an RFC 3339 time, such as 2026-11-23T10:00:00Z"

Answer = TypeVar("Answer")


class _Position(click.ParamType):
    name = "PARTITION:OFFSET"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, int]:
        found = _POSITION.fullmatch(value)
        if found is None:
            self.fail(
                f"{value!r} is no position: write PARTITION:OFFSET as `usage dead-letter list` shows it", param, ctx
            )
        return int(found[1]), int(found[2])


class _Instant(click.ParamType):
    name = "TIME"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        try:
            return parse_instant(value) // 1000
        except ValueError:
            self.fail(f"{value!r} is not {_DATE_FORM}", param, ctx)


def _filters(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the filters, and pass it `wanted`."""

    @functools.wraps(command)
    def with_filter(
        codes: tuple[str, ...],
        customer: str | None,
        since: int | None,
        until: int | None,
        source_topic: str | None,
        **more: Any,
    ) -> Any:
        wanted = Filter(None, frozenset(codes) or None, customer, since, until, source_topic)
        return command(wanted=wanted, **more)

    for option in (
        click.option("--source-topic", type=click.Choice(SOURCE_TOPICS), help="Only what was sent to this topic."),
        click.option("--until", type=_Instant(), help=f"Only what was rejected before; {_DATE_FORM}."),
        click.option("--since", type=_Instant(), help="Only what was rejected then or later."),
        click.option("--customer", metavar="ID", help="Only what has this record key."),
        click.option(
            "--code", "codes", multiple=True, metavar="CODE", help="Only this reason; may be given repeatedly."
        ),
    ):
        with_filter = option(with_filter)
    return with_filter


_FORMAT = click.option(
    "--format",
    "form",
    type=click.Choice(["table", "json"]),
    default="table",
    show_default=True,
    help="How to print it.",
)


@click.group("dead-letter")
def dead_letter_group() -> None:
    """Look at what was rejected, and send it again once the cause is mended.

    Rejected records and events are in the topic usage.dead-letter with their original bytes. A letter is named by its
    place there, PARTITION:OFFSET. docs/dead-letters.md says what a replay does to bills.
    """


@dead_letter_group.command("list")
@_filters
@click.option(
    "--status",
    type=click.Choice([OPEN, REPLAYED, REJECTED_AGAIN.replace(" ", "-")]),
    help="Only what was never sent again; what was; or what was and has been rejected anew.",
)
@click.option(
    "--limit", type=click.IntRange(1, 100_000), default=50, show_default=True, help="At most the latest so many."
)
@_FORMAT
@options_for("kafka", "log_level")
def list_command(wanted: Filter, status: str | None, limit: int, form: str, settings: Settings) -> None:
    """List dead letters, the latest last."""
    letters, count, history = _run(settings, lambda log: _latest(log, wanted, status, limit))
    if form == "json":
        click.echo(json.dumps([fields_of(letter, history) for letter in letters], indent=1, ensure_ascii=False))
        return
    table = _table("Position", "Rejected at", "Code", "Customer", "Source", "Status", "Message")
    for letter in letters:
        table.add_row(*map(Text, cells_of(letter, history)))
    _print(table)
    if count > len(letters):
        click.echo(f"the latest {len(letters):,} of {count:,}; --limit shows more, filters show others", err=True)


@dead_letter_group.command("show")
@click.argument("positions", type=_Position(), nargs=-1, required=True, metavar="PARTITION:OFFSET...")
@click.option("--raw", is_flag=True, help="Print the original bytes as they are, and nothing else; of one letter.")
@click.option("--format", "form", type=click.Choice(["text", "json"]), default="text", help="How to print it.")
@options_for("kafka", "log_level")
def show_command(positions: tuple[tuple[int, int], ...], raw: bool, form: str, settings: Settings) -> None:
    """Show letters with their headers and the original bytes; what would steer a terminal is escaped."""
    if raw and len(positions) > 1:
        raise click.UsageError("--raw prints one letter")
    letters = _run(settings, lambda log: _letters_at(log, positions))
    if raw:
        sys.stdout.buffer.write(letters[0].original)
    elif form == "json":
        click.echo(
            json.dumps([fields_of(letter) | content_of(letter) for letter in letters], indent=1, ensure_ascii=False)
        )
    else:
        click.echo("\n\n".join(described(letter) for letter in letters))


@dead_letter_group.command("stats")
@_filters
@click.option("--limit", type=click.IntRange(1), default=20, show_default=True, help="At most so many customers.")
@_FORMAT
@options_for("kafka", "log_level")
def stats_command(wanted: Filter, limit: int, form: str, settings: Settings) -> None:
    """Count dead letters by status, code, day and customer."""
    counts = _run(settings, lambda log: _count(log, wanted, limit))
    if form == "json":
        click.echo(json.dumps(counts, indent=1, ensure_ascii=False))
        return
    statuses = ", ".join(f"{count:,} {name}" for name, count in counts["by_status"].items())
    click.echo(f"{counts['letters']:,} letters of {counts['sources']:,} records or events: {statuses or 'none'}")
    for name in ("code", "day", "customer"):
        table = _table(name.capitalize(), "Letters")
        table.columns[1].justify = "right"
        for value, count in counts[f"by_{name}"].items():
            table.add_row(Text(escaped(value)), Text(f"{count:,}"))
        if table.row_count:
            click.echo()
            _print(table)


@dead_letter_group.command("replay")
@click.argument("positions", type=_Position(), nargs=-1, metavar="[PARTITION:OFFSET]...")
@_filters
@click.option("--all", "everything", is_flag=True, help="All letters; needed when nothing else narrows.")
@click.option("--limit", type=click.IntRange(1), help="At most so many.")
@click.option("--now", is_flag=True, help="With the present as record timestamp, not that of the source record.")
@click.option(
    "--again", is_flag=True, help="Also what was sent again before; the pipeline counts nothing twice (R6.1)."
)
@click.option("--force", is_flag=True, help="Also what will be rejected again, such as malformed records.")
@click.option("--dry-run", is_flag=True, help="Say what would be sent, and send nothing.")
@_FORMAT
@options_for("kafka", "log_level")
def replay_command(
    positions: tuple[tuple[int, int], ...],
    wanted: Filter,
    everything: bool,
    limit: int | None,
    now: bool,
    again: bool,
    force: bool,
    dry_run: bool,
    form: str,
    settings: Settings,
) -> None:
    """Send originals to where they came from, once: what an earlier replay has sent is left out.

    Mend the cause first. Each goes with the key, headers and timestamp that it had. Safe to interrupt and to repeat.
    """
    if positions:
        wanted = Filter(frozenset(positions), *_narrowing(wanted))
    elif not everything and not any(_narrowing(wanted)):
        raise click.UsageError("say which letters: positions, filters such as --code unknown_customer, or --all")
    choice = Choice(wanted, limit, now, again, force)
    sent = _run_replay(settings, choice, dry_run)
    if form == "json":
        click.echo(json.dumps({"dry_run": dry_run} | sent_fields(sent), indent=1))
    else:
        click.echo("\n".join(sent_lines(sent, dry_run=dry_run)))
    found = sent.letters + sent.already + sum(sent.left_out.values())
    if positions and found < len(set(positions)) and not sent.more:
        raise click.ClickException(
            f"only {found} of the {len(set(positions))} positions are letters that the filters accept"
        )


def _narrowing(wanted: Filter) -> tuple[Any, ...]:
    return wanted.codes, wanted.customer, wanted.since_ms, wanted.until_ms, wanted.source_topic


def _run(settings: Settings, ask: Callable[[LetterLog], Coroutine[Any, Any, Answer]]) -> Answer:
    """Return what a coroutine finds in the letters. Raises click.ClickException, and click.Abort after Ctrl-C."""

    async def run() -> Answer:
        cancel_on_signals(lambda text: click.echo(text, err=True))
        async with open_letters(settings) as log:
            return await ask(log)

    return _explained(settings, run)


def _run_replay(settings: Settings, choice: Choice, dry_run: bool) -> Sent:
    async def run() -> Sent:
        cancel_on_signals(lambda text: click.echo(text, err=True))
        if dry_run:
            async with open_letters(settings) as log:
                return await _rehearse(log, choice)
        async with open_replayer(settings, now=choice.now) as replayer, open_letters(settings) as log:
            history = await _history(log)
            with progress_bar("records") as progress:
                task = progress.add_task("replay", total=log.size)
                return await replay(replayer, log, history, choice, lambda moved: progress.advance(task, moved))

    return _explained(settings, run)


def _explained(settings: Settings, run: Callable[[], Coroutine[Any, Any, Answer]]) -> Answer:
    log_to_stderr(settings.log_level)
    try:
        return asyncio.run(run())
    except asyncio.CancelledError:
        raise click.Abort from None
    except (LetterLogError, ReplayError) as error:
        raise click.ClickException(str(error)) from None
    except KafkaError as error:
        raise click.ClickException(f"Kafka at {settings.kafka}: {error!r}; is it up, and is --kafka right?") from None


async def _history(log: LetterLog) -> History:
    with progress_bar("records") as progress:
        task = progress.add_task(DEAD_LETTER_TOPIC, total=log.size)
        return await log.history(lambda moved: progress.advance(task, moved))


async def _rehearse(log: LetterLog, choice: Choice) -> Sent:
    sent = Sent()
    async for letter in choose(log, await _history(log), choice, sent, lambda _: None):
        sent.add(letter)
    return sent


async def _latest(log: LetterLog, wanted: Filter, status: str | None, limit: int) -> tuple[list[Letter], int, History]:
    """Return the latest letters that are wanted, how many there are, and what became of them."""
    history = await _history(log)
    latest: list[tuple[int, tuple[int, int], Letter]] = []
    count = 0
    async for letters in log.read():
        for letter in letters:
            if not wanted.accepts(letter) or status not in (None, history.status(letter).replace(" ", "-")):
                continue
            count += 1
            entry = (letter.written_ms, letter.place[1:], letter)
            if len(latest) < limit:
                heapq.heappush(latest, entry)
            else:
                heapq.heappushpop(latest, entry)
    return [letter for _, _, letter in sorted(latest, key=lambda entry: entry[:2])], count, history


async def _letters_at(log: LetterLog, positions: tuple[tuple[int, int], ...]) -> list[Letter]:
    return [await log.letter_at(*position) for position in positions]


async def _count(log: LetterLog, wanted: Filter, customers_max: int) -> dict[str, Any]:
    history = await _history(log)
    by: dict[str, Counter[str]] = {name: Counter() for name in ("status", "code", "day", "customer")}
    sources = set()
    async for letters in log.read():
        for letter in letters:
            if wanted.accepts(letter):
                sources.add(letter.source or letter.place)
                by["status"][history.status(letter)] += 1
                by["code"][letter.code] += 1
                by["day"][time_of(letter.written_ms)[:10]] += 1
                by["customer"][letter.customer or ""] += 1
    return {
        "letters": by["status"].total(),
        "sources": len(sources),
        "by_status": dict(sorted(by["status"].items())),
        "by_code": dict(by["code"].most_common()),
        "by_day": dict(sorted(by["day"].items())),
        "by_customer": dict(by["customer"].most_common(customers_max)),
    }


def _table(*columns: str) -> Table:
    table = Table(box=box.SIMPLE if Console().is_terminal else None, pad_edge=False, padding=(0, 1))
    for name in columns:
        table.add_column(name, no_wrap=name == "Position", overflow="fold")
    return table


def _print(table: Table) -> None:
    """Print a table: drawn on a terminal, plain aligned text elsewhere."""
    console = Console()
    if not console.is_terminal:
        console = Console(width=_PLAIN_WIDTH, color_system=None)
    console.print(table)
