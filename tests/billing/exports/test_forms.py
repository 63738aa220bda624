"""Every form of a statement says the same: names as they are, sums to the cent."""

import csv
import dataclasses
import io
import json
from decimal import Decimal
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hypothesis import given, settings

from pipeline.billing.exports import FORMS, CurrencyError
from pipeline.billing.exports.document import Document
from pipeline.billing.exports.focus import COLUMNS
from pipeline.domain.money import format_cents
from pipeline.domain.statements import Statement, StatementRow, format_exact
from tests.billing.exports.documents import PARTIES, documents

EXAMPLES = settings(max_examples=60, deadline=None)
MANDATORY = [
    "BilledCost",
    "BillingAccountId",
    "BillingAccountName",
    "BillingCurrency",
    "BillingPeriodEnd",
    "BillingPeriodStart",
    "ChargeCategory",
    "ChargeClass",
    "ChargeDescription",
    "ChargePeriodEnd",
    "ChargePeriodStart",
    "ContractedCost",
    "EffectiveCost",
    "HostProviderName",
    "InvoiceIssuerName",
    "ListCost",
    "PricingQuantity",
    "PricingUnit",
    "ServiceCategory",
    "ServiceName",
    "ServiceProviderName",
]
"""Columns that FOCUS 1.4 asks of every cost and usage dataset."""
NULLABLE = {"BillingAccountName", "ChargeClass", "ChargeDescription", "PricingQuantity", "PricingUnit"}


def lines(document: Document, form: str) -> list[dict[str, str]]:
    """Return the lines of a form that is CSV, read as RFC 4180 says."""
    text = FORMS[form].write(document).decode()
    assert text.endswith("\r\n")
    return list(csv.DictReader(io.StringIO(text, newline="")))


def plain(document: Document) -> Document:
    """Return the document without detail."""
    rows = tuple(dataclasses.replace(row, detail=()) for row in document.statement.rows)
    return dataclasses.replace(document, statement=dataclasses.replace(document.statement, rows=rows, dimension=None))


def total(document: Document) -> Decimal:
    return Decimal(format_cents(document.statement.total_cents))


@pytest.mark.rule("R5.4", "R8.1")
@EXAMPLES
@given(documents())
def test_csv_sums_to_the_total(document: Document) -> None:
    """With and without detail the amounts sum to the statement's total, and quantities to its rows'."""
    for each in (document, plain(document)):
        found = lines(each, "csv")

        assert sum(Decimal(line["amount"]) for line in found) == total(document)
        assert sum(int(line["quantity"] or 0) for line in found) == sum(row.quantity for row in document.statement.rows)
        assert sum(Decimal(line["charge"] or 0) for line in found) == sum(
            Decimal(format_exact(row.charge_pico)) for row in document.statement.rows
        )


@pytest.mark.rule("R5.4", "R8.1")
@EXAMPLES
@given(documents())
def test_json_is_the_statement(document: Document) -> None:
    """It is what the statement is as JSON, with who bills whom."""
    found = json.loads(FORMS["json"].write(document))

    assert found.items() >= document.statement.as_dict().items()
    assert Decimal(found["total"]) == sum(Decimal(row["amount"]) for row in found["rows"])
    assert (found["state"], found["currency"], found["last_day"]) == ("frozen", "USD", "2026-11-30")


@pytest.mark.rule("R5.4", "R8.1")
@EXAMPLES
@given(documents())
def test_invoice_items_sum_to_the_total(document: Document) -> None:
    """One item a row in integer cents, each with a key of its own that the amount has no part in."""
    items = json.loads(FORMS["invoice-items"].write(document))["data"]

    assert sum(item["amount"] for item in items) == document.statement.total_cents
    assert len({item["idempotency_key"] for item in items}) == len(document.statement.rows)
    for item, row in zip(items, document.statement.rows, strict=True):
        assert item["currency"] == "usd"
        assert item["period"] == {"start": 1793491200, "end": 1796083199}
        assert item["description"].startswith(f"{row.feature}: ")
        assert all(isinstance(value, str) for value in item["metadata"].values())
    cheaper = dataclasses.replace(
        document,
        statement=dataclasses.replace(
            document.statement,
            rows=tuple(dataclasses.replace(row, charge_pico=0) for row in document.statement.rows),
        ),
    )
    again = json.loads(FORMS["invoice-items"].write(cheaper))["data"]
    assert [item["idempotency_key"] for item in again] == [item["idempotency_key"] for item in items]


@pytest.mark.parametrize("currency", ["JPY", "KWD"])
def test_a_currency_without_cents_has_no_invoice_items(currency: str) -> None:
    """An amount that would be read a hundred times too large is not written at all."""
    statement = Statement("acme", "helpdesk", "2026-11-01", (StatementRow("f", "page", 1, 0, 0, 1, 0, 10**12),))
    document = Document(statement, PARTIES._replace(currency=currency))

    with pytest.raises(CurrencyError, match=currency):
        FORMS["invoice-items"].write(document)


@pytest.mark.rule("R5.4", "R8.1")
@EXAMPLES
@given(documents())
def test_focus_costs_sum_to_the_total(document: Document) -> None:
    """Charges are exact; what rounding adds is an adjustment for each row, so that every cost sums to the total."""
    found = lines(document, "focus")

    for name in ("BilledCost", "ContractedCost", "EffectiveCost", "ListCost"):
        assert sum(Decimal(line[name]) for line in found) == total(document)
    usage = [line for line in found if line["ChargeCategory"] == "Usage"]
    assert len(usage) == len(document.charges)
    assert sum(int(line["x_Quantity"]) for line in usage) == sum(each.quantity for each in document.charges)
    rounding = [line for line in found if line["ChargeCategory"] == "Adjustment"]
    assert len(rounding) + len(usage) == len(found)
    assert all(abs(Decimal(line["BilledCost"])) <= Decimal("0.005") for line in rounding)


@EXAMPLES
@given(documents())
def test_focus_rows_keep_the_rules_of_nulls(document: Document) -> None:
    """Mandatory columns are there; quantities, units and SKUs are null together, and only where FOCUS allows it."""
    found = lines(document, "focus")

    assert set(MANDATORY) <= set(COLUMNS)
    assert list(COLUMNS) == sorted(COLUMNS, key=lambda name: (name.startswith("x_"), name))
    for line in found:
        assert all(line[name] for name in MANDATORY if name not in NULLABLE)
        assert line["ChargeClass"] == ""
        assert line["ServiceSubcategory"]
        is_usage = line["ChargeCategory"] == "Usage"
        for name in ("SkuId", "SkuPriceId", "PricingQuantity", "PricingUnit", "ConsumedQuantity", "ConsumedUnit"):
            assert bool(line[name]) == is_usage, name
        assert line["BillingPeriodStart"] == "2026-11-01T00:00:00Z"
        assert line["BillingPeriodEnd"] == "2026-12-01T00:00:00Z"
        assert line["BillingPeriodStart"] <= line["ChargePeriodStart"] < line["ChargePeriodEnd"]
        assert line["ChargePeriodEnd"] <= line["BillingPeriodEnd"]


@EXAMPLES
@given(documents())
def test_no_cell_is_a_formula(document: Document) -> None:
    """What a spreadsheet would run begins with an apostrophe; only numbers may begin with a sign."""
    for form in ("csv", "focus"):
        for line in lines(document, form):
            for cell in line.values():
                if cell.startswith(("=", "+", "-", "@")):
                    Decimal(cell)


class Page(HTMLParser):
    """Collects what a page is made of."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.addresses: list[str] = []
        self.cells: list[str] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.addresses += [value or "" for name, value in attrs if name in ("src", "href", "action")]

    def handle_data(self, data: str) -> None:
        self.text += data


@EXAMPLES
@given(documents())
def test_the_page_is_self_contained_and_escaped(document: Document) -> None:
    """No script, no address, names literally, and the total as it is."""
    html = FORMS["html"].write(document).decode()
    page = Page(html)

    assert not {"script", "b", "img", "link", "iframe"} & set(page.tags)
    assert page.addresses == []
    assert "url(" not in html
    assert "Acme <b>GmbH</b>" in page.text
    assert f"{Decimal(format_cents(document.statement.total_cents)):,} USD" in page.text
    for row in document.statement.rows:
        assert row.feature in page.text
    assert {"title", "h1", "caption", "thead", "tfoot", "main"} <= set(page.tags)


@pytest.mark.rule("R10.3")
def test_a_frozen_statement_is_written_the_same_for_ever() -> None:
    """No form holds the time at which it was made."""
    rows = (StatementRow("f", "page", 1, 0, 0, 1, 0, 10**12),)
    document = Document(Statement("acme", "helpdesk", "2026-11-01", rows, None, "frozen", 7), PARTIES)

    for form in FORMS.values():
        assert form.write(document) == form.write(document)
    assert "Frozen with all lines of the period up to number 7." in FORMS["html"].write(document).decode()


def test_every_focus_column_is_mapped_in_the_docs() -> None:
    """docs/exports.md says of each column what it holds."""
    text = (Path(__file__).resolve().parents[3] / "docs" / "exports.md").read_text()
    named = {
        name.strip(" |")
        for line in text.splitlines()
        if line.startswith("| ")
        for name in line.split("|")[1].split(",")
    }

    assert set(COLUMNS) <= named
