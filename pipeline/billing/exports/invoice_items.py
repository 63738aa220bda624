"""A statement as invoice items in Stripe's form: one a row, in integer cents."""

import hashlib
import json
from typing import Any

from pipeline.billing.exports.document import Document, sentence_of
from pipeline.domain.statements import StatementRow

_NOT_IN_CENTS = frozenset(
    "BIF CLP DJF GNF JPY KMF KRW MGA PYG RWF UGX VND VUV XAF XOF XPF BHD JOD KWD OMR TND".split()  # noqa: SIM905
)
"""Currencies whose smallest unit, in which Stripe counts, is not a hundredth."""
_DESCRIPTION_MAX = 500
_METADATA_MAX = 500
_SECOND_US = 1_000_000


class CurrencyError(ValueError):
    """Amounts in a currency cannot be told in cents; the message says so."""


def to_invoice_items(document: Document) -> bytes:
    """Return a JSON list of invoice items, whose amounts sum to the statement's total. Raises CurrencyError."""
    if document.parties.currency in _NOT_IN_CENTS:
        raise CurrencyError(
            f"invoice items are counted in hundredths, which {document.parties.currency} does not have: use json or csv"
        )
    items = [_item(document, row) for row in document.statement.rows]
    return json.dumps({"object": "list", "data": items}, indent=1, ensure_ascii=False).encode() + b"\n"


def _item(document: Document, row: StatementRow) -> dict[str, Any]:
    statement, period = document.statement, document.period
    metadata = {
        "app": statement.app,
        "period": statement.period,
        "state": statement.state or "unknown",
        "feature": row.feature,
        "unit": row.unit,
        "quantity": row.quantity,
        "included": row.included,
        "granted": row.granted,
        "paid": row.overage,
        "blocked": row.blocked,
        "charge_pico": row.charge_pico,
    }
    return {
        "object": "invoiceitem",
        "customer": statement.customer,
        "amount": row.amount_cents,
        "currency": document.parties.currency.lower(),
        "description": sentence_of(row)[:_DESCRIPTION_MAX],
        "period": {"start": period.start_us // _SECOND_US, "end": period.end_us // _SECOND_US - 1},
        "metadata": {name: str(value)[:_METADATA_MAX] for name, value in metadata.items()},
        "idempotency_key": _key_of(document, row),
    }


def _key_of(document: Document, row: StatementRow) -> str:
    """Return what names the row for ever, whatever its amount: a row is invoiced once."""
    statement = document.statement
    named = json.dumps([statement.customer, statement.app, statement.period, row.feature, row.unit])
    return f"usage-{hashlib.sha256(named.encode()).hexdigest()}"
