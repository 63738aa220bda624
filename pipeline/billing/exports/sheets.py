"""CSV that every spreadsheet reads and none runs (RFC 4180)."""

import csv
import io
from collections.abc import Collection, Iterable, Mapping, Sequence

_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")  # noqa: RUF001 - Excel takes the wide ones too
"""With what a cell begins that a spreadsheet takes for a formula."""

Cell = str | int | None


def sheet(columns: Sequence[str], rows: Iterable[Mapping[str, Cell]], numbers: Collection[str] = ()) -> bytes:
    """Return rows as CSV in UTF-8. A text that looks like a formula gets an apostrophe; `numbers` are left as they are.

    What is None, and what a row does not have, is an empty cell.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\r\n")
    writer.writerow(columns)
    for row in rows:
        writer.writerow([_cell(row.get(name), is_number=name in numbers) for name in columns])
    return text.getvalue().encode()


def _cell(value: Cell, *, is_number: bool) -> str:
    if value is None:
        return ""
    text = str(value)
    return f"'{text}" if not is_number and text.startswith(_FORMULA) else text
