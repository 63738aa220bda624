"""Payouts to JSON and back (R11.4): the fields have the names of the columns of usage.payouts."""

import json
from dataclasses import asdict, fields
from typing import Any

from pipeline.domain.months import month_of
from pipeline.domain.payouts import MadePayout, payout_id

_FIRST_DAY = "-01"
"""In JSON a month is named by its first day, as ClickHouse's type Date has it."""
_FIELDS = {field.name: field.type for field in fields(MadePayout)}


def encode_payout(payout: MadePayout) -> bytes:
    """Return a payout as JSON. Amounts are integers that may exceed 64 bits."""
    return json.dumps(asdict(payout) | {"month": payout.month + _FIRST_DAY}, ensure_ascii=False).encode()


def decode_payout(value: bytes | None) -> MadePayout:
    """Return the payout that a record of billing.payouts holds. Raises ValueError when it is none."""
    found: Any = json.loads(value or b"")
    if not isinstance(found, dict) or not found.keys() >= _FIELDS.keys():
        raise ValueError(f"it lacks one of {', '.join(_FIELDS)}")
    for name, kind in _FIELDS.items():
        if type(found[name]) is not kind:
            raise ValueError(f"{name} is not {'text' if kind is str else 'a whole number'}")
    payout = MadePayout(**{name: found[name] for name in _FIELDS} | {"month": found["month"].removesuffix(_FIRST_DAY)})
    month_of(payout.month)
    if payout.id != payout_id(payout.builder, payout.month):
        raise ValueError(f"the id is not {payout_id(payout.builder, payout.month)!r}")
    return payout
