"""Statements as files for others: CSV, JSON, a page to print, FOCUS rows, invoice items (docs/exports.md).

Every export holds what the customer may see and nothing else, whoever asks, and sums to the statement's total.

Owns: the forms, and reading the charges that FOCUS rows are made of.
Does not own: what a statement is (domain), who may have it (access), where it goes (cli, api).
"""

from pipeline.billing.exports.charges import TooManyChargesError
from pipeline.billing.exports.export import export_statement, file_name
from pipeline.billing.exports.forms import FORMS
from pipeline.billing.exports.invoice_items import CurrencyError

__all__ = ["FORMS", "CurrencyError", "TooManyChargesError", "export_statement", "file_name"]
