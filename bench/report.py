"""What measurements print and keep: medians with their spread, tables, JSON files."""

import json
import signal
import statistics
import sys
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bench.machine import describe

RESULTS = Path(__file__).parent / "results"
INTERRUPTED = 130


def spread(values: Sequence[float], digits: int = 2) -> dict[str, Any]:
    """Return the median of some values, the least, the most, and all of them, rounded."""
    rounded = [round(value, digits or None) for value in values]
    return {
        "median": round(statistics.median(values), digits or None),
        "least": min(rounded),
        "most": max(rounded),
        "values": rounded,
    }


def shown(found: dict[str, Any]) -> str:
    """Return a spread as text: "5.1 (4.9..5.6)"."""
    return f"{found['median']:,} ({found['least']:,}..{found['most']:,})"


def percentile(values: Sequence[float], percent: float) -> float:
    """Return the value below or at which so many percent of the values lie."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))]


def table(titles: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Return rows as text: the first column to the left, the others to the right."""
    texts = [[str(cell) for cell in row] for row in (titles, *rows)]
    widths = [max(len(row[column]) for row in texts) for column in range(len(titles))]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if column == 0 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in texts
    )


def progress(text: str) -> None:
    """Say on standard error what is going on."""
    sys.stderr.write(f"{datetime.now(UTC):%H:%M:%S} {text}\n")
    sys.stderr.flush()


def keep(part: str, found: dict[str, Any]) -> None:
    """Write what a part has found to its file, with the machine."""
    RESULTS.mkdir(exist_ok=True)
    whole = {"machine": describe(), "at": datetime.now(UTC).isoformat(timespec="seconds")} | found
    (RESULTS / f"{part}.json").write_text(json.dumps(whole, indent=1) + "\n")


def kept(part: str) -> dict[str, Any] | None:
    """Return what a part has written last, or None."""
    path = RESULTS / f"{part}.json"
    return json.loads(path.read_text()) if path.is_file() else None


def run_main(main: Callable[[], None]) -> None:
    """Run a measurement; Ctrl-C and SIGTERM end it without a traceback, once what it started is stopped."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        main()
    except KeyboardInterrupt:
        progress("interrupted")
        sys.exit(INTERRUPTED)
