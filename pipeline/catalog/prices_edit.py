"""Model rows in a catalog file's text: prices are put in their place, the rest stays as it was written."""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from pipeline.catalog.migrate_text import append_item, replace_scalar
from pipeline.catalog.positions import read_yaml
from pipeline.catalog.rows import Row, rows_of
from pipeline.domain.money import parse_decimal

SOURCE = "genai-prices"
CURRENCY = "USD"
"""All prices of genai-prices are in it."""
_PRICES = ("input", "cached_input", "output")
_OUR_COMMENT = re.compile(rf"\s*# {re.escape(SOURCE)} .*$")


@dataclass(frozen=True, slots=True)
class ListPrice:
    """A model's price per million tokens, as text of at most six decimals."""

    id: str
    provider: str
    input: str
    cached_input: str
    output: str
    comment: str
    """Source, version and date, and what the price leaves out."""


def with_prices(text: str, name: str, prices: Iterable[ListPrice]) -> str:
    """Return a catalog file's text with the prices of models; a row whose prices are these already stays as it is."""
    for price in prices:
        row = _row(text, name, price.id)
        if row is None:
            text = append_item(text, name, "models", _new_row(price))
        elif not _same(row, price):
            text = _changed(text, name, row, price)
    return text


def _row(text: str, name: str, model: str) -> Row | None:
    rows = rows_of([read_yaml(name, text.encode())], "models")
    return next((row for row in rows if row.text("id") == model), None)


def _same(row: Row, price: ListPrice) -> bool:
    return all(parse_decimal(str(row.value[key])) == parse_decimal(getattr(price, key)) for key in _PRICES)


def _changed(text: str, name: str, row: Row, price: ListPrice) -> str:
    for key in _PRICES:
        text = replace_scalar(text, read_yaml(name, text.encode()), (*row.path, key), f'"{getattr(price, key)}"')
    lines = text.splitlines(keepends=True)
    last = max(row.file.mark((*row.path, key)).line for key in row.value) - 1
    bare = lines[last].rstrip("\r\n")
    lines[last] = f"{_OUR_COMMENT.sub('', bare)}  # {price.comment}{lines[last][len(bare) :]}"
    return "".join(lines)


def _new_row(price: ListPrice) -> str:
    return (
        f'{{id: {price.id}, provider: {price.provider}, class: standard, input: "{price.input}", '
        f'cached_input: "{price.cached_input}", output: "{price.output}"}}  # {price.comment}'
    )
