"""Lines as ClickHouse shows them, in the form of R7.1."""

import json
from collections.abc import Iterator
from typing import Any

from clickhouse_connect.driver.client import Client

from pipeline.domain.money import PICO, PICO_DECIMALS

AMOUNTS = ("cost", "cost_charged", "margin", "surcharge", "charge", "provider_reward", "builder_earnings")
"""Columns of `usage.lines_v1` that are amounts: Decimal(38, 12) of the currency (R5.3)."""

_ALL = "SELECT * EXCEPT (catalog, provider) FROM usage.lines_v1 ORDER BY customer, seq"
LINE_SETTINGS = {
    "output_format_json_quote_64bit_integers": 0,
    "output_format_json_quote_decimals": 1,
    "date_time_output_format": "iso",
}


def read_lines(client: Client) -> Iterator[dict[str, Any]]:
    """Yield every line of `usage.lines_v1` by customer and seq, with the fields of R7.1; see `as_line`."""
    with client.raw_stream(_ALL, fmt="JSONEachRow", settings=LINE_SETTINGS) as stream:
        for row in stream:
            yield as_line(json.loads(row))


def as_line(fields: dict[str, Any]) -> dict[str, Any]:
    """Return a row of `usage.lines_v1` with its fields as R7.1 names them, amounts in picodollars; and catalog and provider."""
    for name in AMOUNTS:
        fields[f"{name}_pico"] = _pico(fields.pop(name))
    return fields


def _pico(text: str) -> int:
    """Return a decimal as ClickHouse writes it, without trailing zeros, as picodollars."""
    whole, _, fraction = text.partition(".")
    pico = abs(int(whole)) * PICO + int(fraction.ljust(PICO_DECIMALS, "0"))
    return -pico if whole.startswith("-") else pico
