"""Why a line costs what it does: each step of R6 with the numbers it started from and what came of it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import msgspec

from pipeline.domain.catalog import OveragePolicy, Per, Scope
from pipeline.domain.lines import Line
from pipeline.domain.statements import format_exact

PoolKind = Literal["allowance", "grant"]
Wallet = Literal["not_asked", "above_zero", "empty"]
CostSource = Literal["byok", "tokens", "reported"]

_LINE_FIELDS = msgspec.structs.fields(Line)


@dataclass(frozen=True, slots=True)
class PoolStep:
    """What one pool covered (R6.4). A grant's balance is not in lines: only what it has covered is."""

    kind: PoolKind
    id: str
    scope: Scope
    scope_value: str
    per: Per
    units: int
    """That it covered of this line."""
    weight: int | None = None
    """What one unit costs it; None for a grant, as are the next three."""
    included: int | None = None
    balance_before: int | None = None
    balance_after: int | None = None
    used_before: Mapping[str, int] | None = None
    """Of a grant: unit to what it covered before, under every plan and in every period."""

    def as_dict(self) -> dict[str, Any]:
        """Return the step as JSON; balances also in units of the line, as `units_before` and `units_after`."""
        shown: dict[str, Any] = {
            "kind": self.kind,
            "id": self.id,
            "scope": self.scope,
            "scope_value": self.scope_value,
            "per": self.per,
            "units": self.units,
        }
        if self.weight is None or self.balance_before is None or self.balance_after is None:
            return shown | {"used_before": dict(self.used_before or {})}
        return shown | {
            "weight": self.weight,
            "included": self.included,
            "balance_before": self.balance_before,
            "balance_after": self.balance_after,
            "units_before": self.balance_before // self.weight,
            "units_after": self.balance_after // self.weight,
        }


@dataclass(frozen=True, slots=True)
class BudgetStep:
    """What a matching budget had seen before the line, and what of it the line adds (R6.5, R6.8)."""

    id: str
    scope: Scope
    scope_value: str
    per: Per
    blocks: bool
    amount_pico: int | None
    quantity: int | None
    """The limit: one of the two."""
    charge_before_pico: int
    units_before: int

    def as_dict(self) -> dict[str, Any]:
        """Return the step as JSON."""
        shown: dict[str, Any] = {
            "id": self.id,
            "scope": self.scope,
            "scope_value": self.scope_value,
            "per": self.per,
            "action": "block" if self.blocks else "alert",
            "units_before": self.units_before,
            "charge_before_pico": self.charge_before_pico,
            "charge_before": format_exact(self.charge_before_pico),
        }
        if self.amount_pico is None:
            return shown | {"quantity": self.quantity}
        return shown | {"amount_pico": self.amount_pico, "amount": format_exact(self.amount_pico)}


@dataclass(frozen=True, slots=True)
class LeftOver:
    """What the pools left, and what policy, wallet and budgets made of it (R6.5, R6.6)."""

    units: int
    overage: int
    blocked: int
    refused: bool
    """Some of it or, at quantity 0, the call as such is blocked."""
    policy: OveragePolicy
    wallet: Wallet
    """Lines do not hold it: what follows from the line's own numbers."""
    budgets: tuple[BudgetStep, ...]
    reason: str | None = None
    """Why something is blocked: overage_blocked, wallet_empty or budget_exhausted."""
    limit_id: str | None = None
    """The budget that did it."""

    def as_dict(self) -> dict[str, Any]:
        """Return the step as JSON."""
        return {
            "units": self.units,
            "policy": self.policy,
            "wallet": self.wallet,
            "overage": self.overage,
            "blocked": self.blocked,
            "reason": self.reason,
            "limit_id": self.limit_id,
            "budgets": [budget.as_dict() for budget in self.budgets],
        }


@dataclass(frozen=True, slots=True)
class TierUse:
    """Units that fell into one tier: those after the first `before` of the period, up to `up_to` (None: without end)."""

    before: int
    up_to: int | None
    units: int
    price_pico: int

    def as_dict(self) -> dict[str, Any]:
        """Return the tier as JSON."""
        return {
            "before": self.before,
            "up_to": self.up_to,
            "units": self.units,
            "price_pico": self.price_pico,
            "price": format_exact(self.price_pico),
            "amount_pico": self.units * self.price_pico,
        }


@dataclass(frozen=True, slots=True)
class PriceStep:
    """How the paid part is priced (R6.7)."""

    row: int | None
    """Place of the price row in the plan, from 1; None when none matches: cost plus 0 %."""
    match: Mapping[str, tuple[str, ...]]
    margin_percent_pico: int | None
    """In 10^-12 percent; None for a price per unit, as then there are tiers."""
    paid_units: int
    of_units: int
    """The fraction f, which is 1 of 1 at quantity 0 (R6.6)."""
    tiers: tuple[TierUse, ...]
    counter_before: int
    counter_after: int
    """Overage units that the row has priced in the period; 0 for a margin, which counts none."""
    cost_charged_pico: int
    margin_pico: int

    def as_dict(self) -> dict[str, Any]:
        """Return the step as JSON."""
        percent = self.margin_percent_pico
        return {
            "row": self.row,
            "match": {key: list(values) for key, values in self.match.items()},
            "margin_percent": None if percent is None else format_exact(percent).rstrip("0").rstrip("."),
            "fraction": f"{self.paid_units}/{self.of_units}",
            "tiers": [tier.as_dict() for tier in self.tiers],
            "counter_before": self.counter_before,
            "counter_after": self.counter_after,
            "cost_charged_pico": self.cost_charged_pico,
            "cost_charged": format_exact(self.cost_charged_pico),
            "margin_pico": self.margin_pico,
            "margin": format_exact(self.margin_pico),
        }


@dataclass(frozen=True, slots=True)
class SurchargeStep:
    """What one surcharge adds (R6.7)."""

    id: str
    per_unit_pico: int
    percent_of_cost_pico: int
    amount_pico: int

    def as_dict(self) -> dict[str, Any]:
        """Return the step as JSON."""
        return {
            "id": self.id,
            "per_unit": format_exact(self.per_unit_pico),
            "percent_of_cost": format_exact(self.percent_of_cost_pico).rstrip("0").rstrip("."),
            "amount_pico": self.amount_pico,
            "amount": format_exact(self.amount_pico),
        }


@dataclass(frozen=True, slots=True)
class Difference:
    """A field in which the stored line is not what its terms and the earlier lines make of it."""

    field: str
    stored: str
    computed: str


@dataclass(frozen=True, slots=True)
class Sentence:
    """One step in words, with the rules that it follows."""

    title: str
    text: str
    rules: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class LineExplanation:
    """Why a line costs what it does.

    It was rated again, from its terms and the earlier lines: `differences` is empty when that gives the stored line.
    """

    line: Line
    currency: str
    earlier_lines: int
    """Of the same customer, plan version and period: what balances and counters were worked out from."""
    headline: str = ""
    sentences: tuple[Sentence, ...] = ()
    cost_from: CostSource = "reported"
    pools: tuple[PoolStep, ...] = ()
    left_over: LeftOver | None = None
    price: PriceStep | None = None
    surcharges: tuple[SurchargeStep, ...] = ()
    notes: tuple[str, ...] = ()
    """What lines and catalog do not say, and what was taken for it."""
    differences: tuple[Difference, ...] = ()

    @property
    def verified(self) -> bool:
        """Return whether rating it again gave the stored line."""
        return not self.differences

    def as_dict(self) -> dict[str, Any]:
        """Return the explanation as JSON.

        `line` has the fields of R7.1 (amounts also as decimal strings), `steps` the sentences with their rules; `pools`,
        `left_over`, `price` (null where nothing is left or priced) and `surcharges` hold the numbers in them.
        """
        return {
            "customer": self.line.customer,
            "seq": self.line.seq,
            "currency": self.currency,
            "catalog": self.line.catalog,
            "headline": self.headline,
            "line": _line_dict(self.line),
            "earlier_lines": self.earlier_lines,
            "cost_from": self.cost_from,
            "pools": [pool.as_dict() for pool in self.pools],
            "left_over": None if self.left_over is None else self.left_over.as_dict(),
            "price": None if self.price is None else self.price.as_dict(),
            "surcharges": [surcharge.as_dict() for surcharge in self.surcharges],
            "steps": [{"title": each.title, "rules": list(each.rules), "text": each.text} for each in self.sentences],
            "notes": list(self.notes),
            "verified": self.verified,
            "differences": [
                {"field": each.field, "stored": each.stored, "computed": each.computed} for each in self.differences
            ],
        }


def _line_dict(line: Line) -> dict[str, Any]:
    shown: dict[str, Any] = {}
    for field in _LINE_FIELDS:
        value = getattr(line, field.name)
        shown[field.encode_name] = value
        if field.name.endswith("_pico"):
            shown[field.encode_name.removesuffix("_pico")] = format_exact(value)
    shown["pools"] = msgspec.to_builtins(list(line.pools))
    del shown["version"]
    return shown
