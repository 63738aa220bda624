"""`usage rate`: rate a journal offline."""

import json
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import IO, BinaryIO, Self

import click
import msgspec

from pipeline.cli.catalogs import load_or_explain
from pipeline.cli.options import options_for, required_catalog
from pipeline.cli.progress import progress_bar
from pipeline.codec.journal import parse_journal_line
from pipeline.codec.lines import alert_fields, line_fields
from pipeline.domain.records import Record
from pipeline.rating.offline import OfflineRating
from pipeline.rating.rater import DeadLetter, Outcome
from pipeline.settings import Settings

_encode = msgspec.json.Encoder().encode
_PROGRESS_LINES = 200
_MIB = 1 << 20


@click.command("rate")
@click.argument("journal", type=click.Path(exists=True, dir_okay=False, allow_dash=True, path_type=Path))
@click.option(
    "--out",
    required=True,
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder for lines.ndjson, rejects.ndjson, alerts.ndjson and statements.json; made when absent.",
)
@options_for("catalog")
def rate_command(journal: Path, out: Path, settings: Settings) -> None:
    """Rate JOURNAL, Kafka records as `kcat -J` prints them ('-' for standard input), without Kafka or ClickHouse.

    \b
    Writes into the --out folder:
      lines.ndjson      one line for each accepted event (R7.1)
      rejects.ndjson    offset, index of the event in its record, code
      alerts.ndjson     shares of pools and budgets reached (R6.10)
      statements.json   by customer, app and period (R8.1)
    """  # noqa: D301 - click reads the escape
    catalog = load_or_explain(required_catalog(settings))
    rating = OfflineRating(catalog)
    try:
        out.mkdir(parents=True, exist_ok=True)
        with _Outputs(out) as outputs, _open(journal) as source:
            for record in _records(source, journal):
                outputs.write(rating.rate(record))
            outputs.write_statements(rating)
    except OSError as error:
        raise click.ClickException(f"{error.filename or out}: {error.strerror}") from None
    codes = ", ".join(f"{code} {count}" for code, count in rating.rejects.most_common())
    click.echo(
        f"{rating.lines} lines, {rating.duplicates} duplicates, {rating.rejects.total()} rejects"
        f"{f' ({codes})' if codes else ''}, {rating.alerts} alerts -> {out}",
        err=True,
    )


class _Outputs:
    """The four files; they take their names only when all of the journal is rated."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._names = ("lines.ndjson", "rejects.ndjson", "alerts.ndjson", "statements.json")
        self._stack = ExitStack()
        self._files: dict[str, IO[bytes]] = {}

    def __enter__(self) -> Self:
        for name in self._names:
            self._files[name] = self._stack.enter_context(self._partial(name).open("wb"))
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._stack.close()
        for name in self._names:
            if kind is None:
                self._partial(name).replace(self._folder / name)
            else:
                self._partial(name).unlink()

    def _partial(self, name: str) -> Path:
        return self._folder / f".{name}.partial"

    def write(self, outcome: Outcome) -> None:
        """Append what one record came to."""
        lines = self._files["lines.ndjson"]
        for line in outcome.lines:
            lines.write(_encode(line_fields(line)) + b"\n")
        for dead_letter in outcome.dead_letters:
            self._files["rejects.ndjson"].write(_encode(_reject_fields(dead_letter)) + b"\n")
        for alert in outcome.alerts:
            self._files["alerts.ndjson"].write(_encode(alert_fields(alert)) + b"\n")

    def write_statements(self, rating: OfflineRating) -> None:
        """Write the statements of everything rated."""
        statements = [statement.as_dict() for statement in rating.statements()]
        text = json.dumps(statements, indent=1, ensure_ascii=False)
        self._files["statements.json"].write(text.encode())


def _reject_fields(dead_letter: DeadLetter) -> dict[str, str | int | None]:
    return {"offset": dead_letter.record.offset, "index": dead_letter.index, "code": dead_letter.code}


def _open(journal: Path) -> BinaryIO:
    return sys.stdin.buffer if str(journal) == "-" else journal.open("rb")


def _records(source: BinaryIO, journal: Path) -> Iterator[Record]:
    """Yield the records of a journal, showing how much of it is read. Raises click.ClickException at a bad line."""
    size = None if str(journal) == "-" else journal.stat().st_size // _MIB
    with progress_bar("MiB") as progress:
        task = progress.add_task("rating", total=size)
        read = 0
        for number, line in enumerate(source, start=1):
            read += len(line)
            if number % _PROGRESS_LINES == 0:
                progress.update(task, completed=read // _MIB)
            if not line.strip():
                continue
            try:
                yield parse_journal_line(line)
            except ValueError as error:
                raise click.ClickException(
                    f"{journal}, line {number}: {error}\nA journal is NDJSON, one Kafka record a line (kcat -J)."
                ) from None
