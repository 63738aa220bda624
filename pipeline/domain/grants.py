"""Grants and top-ups: the records of `billing.grants` (R2.5)."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pipeline.domain.catalog import Match
from pipeline.domain.events import check_amount, check_count, check_string, json_type, required_string
from pipeline.domain.instants import parse_instant
from pipeline.domain.rejects import INVALID_FIELD, MALFORMED, Rejected

DEFAULT_PRIORITY = 100
MATCH_KEYS = ("unit", "workspace", "feature", "model", "class", "deployment", "environment")
_PRIORITY_MAX = 10**12
_KEY_SHOWN_MAX = 40


@dataclass(frozen=True, slots=True)
class TopUp:
    """Money added to a customer's wallet, in picodollars."""

    id: str
    customer: str
    amount_pico: int


@dataclass(frozen=True, slots=True)
class Grant:
    """Quantity given to a customer beside the plan; in effect in [effective_us, expires_us).

    `effective_us` None stands for the grant's own record timestamp, `expires_us` None for no end.
    """

    id: str
    customer: str
    quantity: int
    match: Match = field(default_factory=dict)
    credits: Mapping[str, int] | None = None
    priority: int = DEFAULT_PRIORITY
    effective_us: int | None = None
    expires_us: int | None = None

    @property
    def order(self) -> tuple[int, bool, int, str]:
        """Return the place in the waterfall: priority, expiry with none last, id (R6.4)."""
        return (self.priority, self.expires_us is None, self.expires_us or 0, self.id)


def parse_grant(value: object) -> TopUp | Grant:
    """Return the top-up or grant in a decoded JSON value. Raises Rejected: malformed or invalid_field (R2.5)."""
    if not isinstance(value, dict):
        raise Rejected(MALFORMED, f"a grant is a JSON object, not {json_type(value)}")
    kind = value.get("type")
    if kind not in ("topup", "grant"):
        raise Rejected(INVALID_FIELD, 'type: must be "topup" or "grant"')
    identity = required_string(value, "id")
    customer = required_string(value, "customer")
    if kind == "topup":
        return TopUp(identity, customer, check_amount("amount", value.get("amount")))
    return Grant(
        id=identity,
        customer=customer,
        quantity=check_count("quantity", value.get("quantity")),
        match=_match(value),
        credits=_credits(value),
        priority=_priority(value),
        effective_us=_optional_instant(value, "effective_at"),
        expires_us=_optional_instant(value, "expires_at"),
    )


def _match(value: Mapping[str, Any]) -> Match:
    match = value.get("match")
    if match is None:
        return {}
    if not isinstance(match, dict):
        raise Rejected(INVALID_FIELD, f"match: must be an object, not {json_type(match)}")
    result = {}
    for key, accepted in match.items():
        if key not in MATCH_KEYS:
            raise Rejected(
                INVALID_FIELD, f"match: unknown key {key[:_KEY_SHOWN_MAX]!r}; known are {', '.join(MATCH_KEYS)}"
            )
        if not isinstance(accepted, list):
            raise Rejected(INVALID_FIELD, f"match.{key}: must be an array of strings")
        if accepted:
            result[key] = frozenset(check_string(f"match.{key}", text) for text in accepted)
    return result


def _credits(value: Mapping[str, Any]) -> dict[str, int] | None:
    weights = value.get("credits")
    if weights is None:
        return None
    if not isinstance(weights, dict):
        raise Rejected(INVALID_FIELD, f"credits: must be an object, not {json_type(weights)}")
    for unit, weight in weights.items():
        check_string("credits", unit)
        name = f"credits.{unit if unit.isprintable() else repr(unit)}"  # a message has one line (R2.3)
        if check_count(name, weight) == 0:
            raise Rejected(INVALID_FIELD, f"{name}: a weight is at least 1")
    return dict(weights)


def _priority(value: Mapping[str, Any]) -> int:
    priority = value.get("priority")
    if priority is None:
        return DEFAULT_PRIORITY
    if type(priority) is not int or not -_PRIORITY_MAX <= priority <= _PRIORITY_MAX:
        raise Rejected(INVALID_FIELD, f"priority: must be an integer of at most {_PRIORITY_MAX}")
    return priority


def _optional_instant(value: Mapping[str, Any], name: str) -> int | None:
    text = value.get(name)
    if text is None:
        return None
    try:
        return parse_instant(check_string(name, text))
    except ValueError as error:
        raise Rejected(INVALID_FIELD, f"{name}: {error}") from None
