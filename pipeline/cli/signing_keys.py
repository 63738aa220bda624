"""`usage signing-keys`: the keys with which deployments sign offline batches."""

import asyncio
import json
import logging
import time
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, TypeVar

import click
import msgspec
from aiokafka.errors import KafkaError

from pipeline.access.log import KeysUnavailableError
from pipeline.access.signing_keys import SigningKey, read_signing_keys, write_signing_key
from pipeline.cli.catalogs import load_or_explain
from pipeline.cli.options import options_for
from pipeline.domain.events import check_string
from pipeline.domain.instants import format_instant
from pipeline.domain.rejects import Rejected
from pipeline.sdk.signing import SigningKeyError, key_id, make_private_key, parse_public_key
from pipeline.settings import Settings

T = TypeVar("T")
_PUBLIC_KEY_START = "ed25519:"
_KEY_FILE_BYTES_MAX = 4096


def _deployment(_context: click.Context, _parameter: click.Parameter, value: str | None) -> str | None:
    try:
        return None if value is None else check_string("--deployment", value)
    except Rejected as rejected:
        raise click.UsageError(rejected.message) from None


@click.group("signing-keys")
def signing_keys_group() -> None:
    """Make, add, list and revoke the keys that sign batches for `usage import`.

    A deployment keeps its private key; we keep the public one, in the topic access.keys. What is changed holds from the
    next import on.
    """


@signing_keys_group.command("make")
@click.option("--deployment", required=True, metavar="ID", callback=_deployment, help="Which deployment is to sign.")
@click.option(
    "--out",
    required=True,
    type=click.Path(dir_okay=False, path_type=Path),
    help="File to write the private key to; it must not exist, and only its owner may read it.",
)
def make_command(deployment: str, out: Path) -> None:
    """Make a private key where the deployment is, and print the public one, which is no secret.

    Needs neither Kafka nor a catalog. The private key never leaves the file.
    """
    try:
        public_key = make_private_key(out)
    except FileExistsError:
        raise click.ClickException(f"{out} exists already, and a key is never written over") from None
    except OSError as error:
        raise click.ClickException(f"the private key cannot be written: {error}") from None
    click.echo(f"private key {key_id(public_key)} is in {out}; let the vendor add the public one:", err=True)
    click.echo(f"    usage signing-keys add --deployment {deployment} --public-key {public_key}", err=True)
    click.echo(public_key)


@signing_keys_group.command("add")
@click.option("--deployment", required=True, metavar="ID", callback=_deployment, help="Which deployment signs with it.")
@click.option(
    "--public-key", required=True, metavar="KEY|FILE", help="ed25519:BASE64, or a file with that or with PEM."
)
@options_for("kafka", "catalog")
def add_command(deployment: str, public_key: str, settings: Settings) -> None:
    """Let a deployment sign batches with a key, and print the key's id.

    With a catalog it is checked that the deployment is in it.
    """
    if settings.catalog is not None and deployment not in load_or_explain(settings.catalog).deployments:
        raise click.ClickException(f"deployment {deployment!r} is not in the catalog: add it there first")
    try:
        text = parse_public_key(_given(public_key))
    except SigningKeyError as error:
        raise click.ClickException(str(error)) from None
    key = SigningKey(key_id(text), deployment, text, time.time_ns() // 1000)
    known = _run(settings, read_signing_keys(settings)).get((deployment, key.id))
    if known is not None and known.revoked_us is not None:
        raise click.ClickException(f"key {key.id} was revoked at {format_instant(known.revoked_us)}: make a new one")
    if known is None:
        _run(settings, write_signing_key(settings, key))
    already = "" if known is None else " already"
    click.echo(f"{deployment} may{already} sign offline batches with key {key.id}, until it is revoked", err=True)
    click.echo(key.id)


@signing_keys_group.command("list")
@click.option("--deployment", metavar="ID", help="Only this deployment's.")
@click.option("--format", "form", type=click.Choice(["table", "json"]), default="table", help="How to print them.")
@options_for("kafka")
def list_command(deployment: str | None, form: str, settings: Settings) -> None:
    """Show the signing keys of all deployments, or of one."""
    keys = _run(settings, read_signing_keys(settings)).values()
    chosen = [key for key in keys if deployment in (None, key.deployment)]
    rows = [_shown(key) for key in sorted(chosen, key=lambda key: (key.deployment, key.created_us))]
    if form == "json":
        click.echo(json.dumps(rows, indent=2, ensure_ascii=False))
        return
    columns = ("deployment", "id", "state", "created_at", "revoked_at", "public_key")
    widths = {column: max([len(column), *(len(row[column] or "-") for row in rows)]) for column in columns}
    head: dict[str, str | None] = dict(zip(columns, columns, strict=True))
    for row in [head, *rows]:
        click.echo("  ".join(f"{row[column] or '-':<{widths[column]}}" for column in columns).rstrip())


@signing_keys_group.command("revoke")
@click.option("--deployment", required=True, metavar="ID", help="Whose key it is.")
@click.argument("key", metavar="KEY_ID")
@options_for("kafka")
def revoke_command(deployment: str, key: str, settings: Settings) -> None:
    """Refuse from now on whatever is signed with a key, also batches that were made before.

    To go over to a new key, import what the old one has signed first.
    """
    known = _run(settings, read_signing_keys(settings)).get((deployment, key))
    if known is None:
        raise click.ClickException(f"{deployment!r} has no key {key!r}: `usage signing-keys list` shows them")
    if known.revoked_us is not None:
        click.echo(f"key {key} was revoked at {format_instant(known.revoked_us)} already", err=True)
        return
    revoked = msgspec.structs.replace(known, revoked_us=time.time_ns() // 1000)
    _run(settings, write_signing_key(settings, revoked))
    click.echo(f"key {key} of {deployment} is revoked", err=True)


def _given(public_key: str) -> str:
    """Return the text of a public key that is given itself, or as a file. Raises click.UsageError."""
    if public_key.startswith(_PUBLIC_KEY_START):
        return public_key
    try:
        with Path(public_key).open("rb") as file:
            return file.read(_KEY_FILE_BYTES_MAX).decode("ascii")
    except (OSError, UnicodeDecodeError) as error:
        raise click.UsageError(
            f"--public-key: neither {_PUBLIC_KEY_START}BASE64 nor a file with a key: {error}"
        ) from None


def _shown(key: SigningKey) -> dict[str, str | None]:
    return {
        "deployment": key.deployment,
        "id": key.id,
        "state": key.state,
        "public_key": key.public_key,
        "created_at": format_instant(key.created_us),
        "revoked_at": None if key.revoked_us is None else format_instant(key.revoked_us),
    }


def _run(settings: Settings, work: Coroutine[Any, Any, T]) -> T:
    """Talk to Kafka. Raises click.ClickException, which says where it was looked for and what to do."""
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # what it logs, it raises too
    try:
        return asyncio.run(work)
    except KeysUnavailableError as error:
        raise click.ClickException(f"Kafka at {settings.kafka}: {error}") from None
    except (KafkaError, OSError, TimeoutError) as error:
        raise click.ClickException(f"Kafka at {settings.kafka}: {error!r}; is it up, and is --kafka right?") from None
