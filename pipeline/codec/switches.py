"""Records that switch a partition to another catalog version (R10.4): in billing.grants, under a key that is no customer."""

import msgspec

from pipeline.domain.records import GRANTS_TOPIC, Record

SWITCH_KEY = b"\x00catalog"
"""No customer's id: those hold no control character (R2.2)."""


class _Switch(msgspec.Struct, tag="catalog"):
    digest: str


_decode = msgspec.json.Decoder(_Switch).decode


def encode_switch(digest: str) -> bytes:
    """Return the value of a record that puts a catalog version in force."""
    return msgspec.json.encode(_Switch(digest))


def switched_to(record: Record) -> str | None:
    """Return the digest that a record puts in force, None for any other record. Raises ValueError when it is damaged."""
    if record.key != SWITCH_KEY or record.topic != GRANTS_TOPIC:
        return None
    try:
        return _decode(record.value or b"").digest
    except msgspec.MsgspecError as error:
        place = f"{record.topic}/{record.partition} offset {record.offset}"
        raise ValueError(f"{place}: a switch of the catalog cannot be read: {error}") from None
