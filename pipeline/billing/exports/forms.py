"""The forms that a statement is written in."""

from collections.abc import Callable
from typing import NamedTuple

from pipeline.billing.exports.document import Document
from pipeline.billing.exports.focus import to_focus
from pipeline.billing.exports.invoice_items import to_invoice_items
from pipeline.billing.exports.printable import to_html
from pipeline.billing.exports.statement_files import to_csv, to_json


class Form(NamedTuple):
    """A way to write a statement down."""

    write: Callable[[Document], bytes]
    media_type: str
    suffix: str
    """Of a file's name."""
    needs_charges: bool = False
    takes_detail: bool = False


FORMS = {
    "csv": Form(to_csv, "text/csv; charset=utf-8", ".csv", takes_detail=True),
    "json": Form(to_json, "application/json", ".json", takes_detail=True),
    "html": Form(to_html, "text/html; charset=utf-8", ".html", takes_detail=True),
    "focus": Form(to_focus, "text/csv; charset=utf-8", ".focus.csv", needs_charges=True),
    "invoice-items": Form(to_invoice_items, "application/json", ".invoice-items.json"),
}
"""By the name that a caller gives."""
