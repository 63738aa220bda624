"""`usage grant` and `usage topup`: extra quantity and prepaid money for a customer (R2.5)."""

import asyncio
import json
import logging
import secrets
import time
from typing import Any

import click
from aiokafka.errors import KafkaError

from pipeline.access.log import write_record
from pipeline.api.grants import check_grant
from pipeline.cli.catalogs import load_or_explain
from pipeline.cli.options import options_for
from pipeline.domain.grants import DEFAULT_PRIORITY, MATCH_KEYS
from pipeline.domain.rejects import Rejected
from pipeline.settings import Settings

_ID = click.option(
    "--id",
    "identity",
    metavar="ID",
    help="Of this gift, unique for the customer for ever: the same id counts once. One is made and shown when absent.",
)


@click.command("grant")
@click.argument("customer")
@click.option("--quantity", required=True, type=click.IntRange(0, 10**12), help="How many units, or credits.")
@_ID
@click.option("--credits", "weights", metavar="UNIT=WEIGHT", multiple=True, help="What a unit takes; other units none.")
@click.option(
    "--match", metavar="KEY=VALUE", multiple=True, help=f"Only for this usage. Keys: {', '.join(MATCH_KEYS)}."
)
@click.option("--priority", type=int, default=DEFAULT_PRIORITY, show_default=True, help="Lower ones are used first.")
@click.option("--effective-at", metavar="TIME", help="RFC 3339; from now on when absent.")
@click.option("--expires-at", metavar="TIME", help="RFC 3339; never when absent.")
@options_for("kafka", "catalog")
def grant_command(
    customer: str,
    quantity: int,
    identity: str | None,
    weights: tuple[str, ...],
    match: tuple[str, ...],
    priority: int,
    effective_at: str | None,
    expires_at: str | None,
    settings: Settings,
) -> None:
    """Give CUSTOMER extra quantity beside the plan.

    Options that may be given several times add up. With a catalog it is checked that the customer is in it.
    """
    fields: dict[str, Any] = {"quantity": quantity, "priority": priority}
    if weights:
        fields["credits"] = {unit: _weight(unit, weight) for unit, weight in _pairs("--credits", weights)}
    if match:
        accepted: dict[str, list[str]] = {}
        for key, value in _pairs("--match", match):
            accepted.setdefault(key, []).append(value)
        fields["match"] = accepted
    fields |= {"effective_at": effective_at} if effective_at else {}
    fields |= {"expires_at": expires_at} if expires_at else {}
    _write(settings, "grant", customer, identity, fields)


@click.command("topup")
@click.argument("customer")
@click.argument("amount")
@_ID
@options_for("kafka", "catalog")
def topup_command(customer: str, amount: str, identity: str | None, settings: Settings) -> None:
    """Add AMOUNT of the catalog's currency, such as 25.00, to CUSTOMER's prepaid wallet.

    With a catalog it is checked that the customer is in it.
    """
    _write(settings, "topup", customer, identity, {"amount": amount})


def _pairs(option: str, given: tuple[str, ...]) -> list[tuple[str, str]]:
    """Return what stands before and after the first = of each."""
    pairs = [(each.partition("=")[0], each.partition("=")[2]) for each in given]
    if any(not before or not after for before, after in pairs):
        raise click.UsageError(f"{option}: give NAME=VALUE")
    return pairs


def _weight(unit: str, text: str) -> int:
    if not (text.isascii() and text.isdigit()):
        raise click.UsageError(f"--credits {unit}={text}: a weight is a whole number")
    return int(text)


def _write(settings: Settings, kind: str, customer: str, identity: str | None, fields: dict[str, Any]) -> None:
    """Check a grant and write it. Raises click.ClickException; when it is not certain, that says how to repeat it."""
    identity = identity or f"{kind}-{secrets.token_hex(8)}"
    fields = {"type": kind, "id": identity, "customer": customer} | fields
    value = json.dumps(fields, ensure_ascii=False).encode(
        errors="surrogateescape"
    )  # what is no UTF-8 is refused as such
    catalog = None if settings.catalog is None else load_or_explain(settings.catalog)
    try:
        _, record = check_grant(value, catalog, time.time_ns() // 1_000_000)
    except Rejected as rejected:
        raise click.ClickException(rejected.message) from None
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # what it logs, it raises too
    try:
        asyncio.run(write_record(settings, record.topic, record.key, record.value))
    except (TimeoutError, KafkaError, OSError) as error:
        raise click.ClickException(
            f"Kafka at {settings.kafka} has not acknowledged it ({error!r}). Repeat it with --id {identity}: it counts once"
        ) from None
    if catalog is None:
        click.echo(f"written, but not checked that there is a customer {customer!r}: no --catalog was given", err=True)
    click.echo(json.dumps({"id": identity, "customer": customer, "type": kind}))
