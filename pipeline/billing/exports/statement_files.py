"""A statement as CSV and as JSON, with its detail."""

import json
from collections.abc import Iterator
from typing import Any

from pipeline.billing.exports.document import Document, decimal_of, last_day_of, rounding_of
from pipeline.billing.exports.sheets import Cell, sheet
from pipeline.domain.money import format_cents
from pipeline.domain.statements import DetailRow, StatementRow

ROUNDING = "rounding"
_COUNTS = ("quantity", "included", "granted", "overage", "blocked")
_TOKENS = ("input_tokens", "cached_input_tokens", "output_tokens")
_HEAD = ("customer", "app", "period", "state", "currency", "record", "feature", "unit")


def to_json(document: Document) -> bytes:
    """Return the statement as `usage statement --format json` prints it, with who bills whom for which days."""
    parties = document.parties
    about: dict[str, Any] = {
        "issuer": parties.issuer,
        "customer_name": parties.customer_name,
        "builder_name": parties.builder_name,
        "currency": parties.currency,
        "last_day": last_day_of(document.period),
    }
    return json.dumps(document.statement.as_dict() | about, indent=1, ensure_ascii=False).encode() + b"\n"


def to_csv(document: Document) -> bytes:
    """Return a line a row; with detail a line a part, and one for what rounding adds to the row.

    Either way the column `amount` sums to the statement's total (R5.4).
    """
    dimension = document.statement.dimension
    parts = (dimension,) if dimension else ()
    tokens = _TOKENS if dimension else ()
    columns = (*_HEAD, *parts, *_COUNTS, *tokens, "charge", "amount")
    numbers = {*_COUNTS, *_TOKENS, "charge", "amount"}
    return sheet(columns, _lines(document), numbers)


def _lines(document: Document) -> Iterator[dict[str, Cell]]:
    statement = document.statement
    head: dict[str, Cell] = {
        "customer": statement.customer,
        "app": statement.app,
        "period": statement.period,
        "state": statement.state,
        "currency": document.parties.currency,
    }
    for row in statement.rows:
        of_row = head | {"feature": row.feature, "unit": row.unit}
        if statement.dimension is None:
            amounts: dict[str, Cell] = {"charge": decimal_of(row.charge_pico), "amount": format_cents(row.amount_cents)}
            yield of_row | {"record": "row"} | _counts(row) | amounts
            continue
        for part in row.detail:
            yield of_row | {"record": "part", statement.dimension: part.name} | _counts(part) | _exact(part)
        if rounding := rounding_of(row):
            yield of_row | {"record": ROUNDING, "amount": decimal_of(rounding)}


def _counts(row: StatementRow | DetailRow) -> dict[str, Cell]:
    return {name: getattr(row, name) for name in _COUNTS}


def _exact(part: DetailRow) -> dict[str, Cell]:
    charge = decimal_of(part.charge_pico)
    return {name: getattr(part, name) for name in _TOKENS} | {"charge": charge, "amount": charge}
