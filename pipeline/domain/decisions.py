"""Decisions: may this call go, what would it cost, and how much is left (R8.3)."""

from collections.abc import Iterator

import msgspec

from pipeline.domain.budgets import refusal_of
from pipeline.domain.instants import HOUR_US, MILLISECOND_US
from pipeline.domain.lines import Kind
from pipeline.domain.overage import NOTHING, Paid, surcharge_of
from pipeline.domain.preview import Preview, preview
from pipeline.domain.quota import QuotaRecord, Request, held_state
from pipeline.domain.quota_sentences import sentence_of
from pipeline.domain.rejects import Rejected
from pipeline.domain.state import CustomerState
from pipeline.domain.tariffs import BudgetSlot, PoolSlot, Tariff
from pipeline.domain.terms import TermsIndex
from pipeline.domain.waterfall import grants_in_effect


class PoolLeft(msgspec.Struct, frozen=True, gc=False):
    """What an allowance or grant still has, before the call; in its own balance, of which a unit costs `weight`."""

    id: str
    scope_value: str
    left: int
    weight: int
    included: int | None = None
    """What the window began with; None for a grant."""
    until_us: int | None = None
    """When the allowance begins afresh or the grant ends; None for a grant without end."""


class BudgetLeft(msgspec.Struct, frozen=True, gc=False):
    """What a budget still allows, before the call: picodollars or units, never below 0."""

    id: str
    scope_value: str
    blocks: bool
    until_us: int
    left_pico: int | None = None
    amount_pico: int | None = None
    left: int | None = None
    quantity: int | None = None


class SurchargePart(msgspec.Struct, frozen=True, gc=False):
    """What one surcharge adds to the price."""

    id: str
    pico: int


class Decision(msgspec.Struct, frozen=True):
    """The answer to a request. Amounts are what R6 would make of the call, in picodollars."""

    allowed: bool
    sentence: str
    """For the customer."""
    reason: str | None = None
    """Why it is denied: one of REASONS, or the code with which the event would be rejected."""
    limit_id: str | None = None
    """The budget that denies."""
    kind: Kind = "usage"
    policy: str | None = None
    """What the plan does with overage of the unit: invoice, prepaid or block (R6.5)."""
    quantity: int = 0
    included: int = 0
    granted: int = 0
    overage: int = 0
    blocked: int = 0
    cost_pico: int = 0
    """Of the whole call (R5.2)."""
    cost_charged_pico: int = 0
    margin_pico: int = 0
    surcharge_pico: int = 0
    charge_pico: int = 0
    surcharges: tuple[SurchargePart, ...] = ()
    pools: tuple[PoolLeft, ...] = ()
    budgets: tuple[BudgetLeft, ...] = ()
    wallet_pico: int = 0
    plan: str | None = None
    plan_version: int | None = None
    period: str | None = None


class Standing:
    """A customer's quota record, ready to answer; the catalog's index must hold what the customer has."""

    def __init__(self, record: QuotaRecord, index: TermsIndex) -> None:
        self.record = record
        self._index = index
        self._state: CustomerState | None = None
        self._from_us = self._until_us = 0
        """[from, until) in which the scratch state and all that was decided on it hold."""
        turns = [held.expires_ms * MILLISECOND_US for held in record.held]
        for grant in record.grants:
            turns += [grant.effective_us] if grant.expires_us is None else [grant.effective_us, grant.expires_us]
        self._turns_us = turns
        """When reservations end, and grants begin and end."""

    def decide(self, request: Request, at_us: int) -> Decision:
        """Return what would become of a call at an instant, in microseconds since 1970."""
        if request.reservation is None:
            state = self._state_at(at_us)
        else:
            own = (request.deployment, request.reservation)
            state = held_state(self.record, self._index, at_us, self._live_us(at_us), without=own)
        try:
            seen = preview(self._index, state, request.as_event(self.record.customer, at_us), at_us)
        except Rejected as rejected:
            return Decision(False, f"This call cannot be billed: {rejected.message}.", rejected.code)
        return decision_of(self._index, state, seen, request, at_us)

    def valid_until_us(self, at_us: int) -> int:
        """Return until when a decision made at an instant holds, as long as no other record comes."""
        self._state_at(at_us)
        return self._until_us

    def _state_at(self, at_us: int) -> CustomerState:
        """Return the scratch state with the reservations that are live at an instant, as if committed in its hour."""
        if self._state is None or not self._from_us <= at_us < self._until_us:
            self._state = held_state(self.record, self._index, at_us, self._live_us(at_us))
            hour_us = at_us // HOUR_US * HOUR_US
            self._from_us = max([hour_us, *(turn for turn in self._turns_us if turn <= at_us)])
            self._until_us = min([hour_us + HOUR_US, *(turn for turn in self._turns_us if turn > at_us)])
        return self._state

    def _live_us(self, at_us: int) -> int:
        return max(at_us, self.record.watermark_ms * MILLISECOND_US)


def decide(record: QuotaRecord, index: TermsIndex, request: Request, at_us: int) -> Decision:
    """Return what would become of a call of the record's customer at an instant; a Standing answers many at less cost."""
    return Standing(record, index).decide(request, at_us)


def decision_of(index: TermsIndex, state: CustomerState, seen: Preview, request: Request, at_us: int) -> Decision:
    """Return the answer that a preview gives."""
    tariff, paid, covered = seen.tariff, seen.paid, seen.covered
    reason, budget = refusal_of(tariff, state.wallet_pico, seen.left_over) if seen.refused else (None, None)
    surcharges = () if paid is NOTHING else tuple(_surcharges(tariff, paid))
    return Decision(
        allowed=reason is None,
        sentence=sentence_of(index.catalog.currency, request, seen, reason, budget),
        reason=reason,
        limit_id=None if budget is None else budget.limits.id,
        kind=seen.kind,
        policy=tariff.terms.policy,
        quantity=request.quantity,
        included=covered.included if covered else 0,
        granted=covered.granted if covered else 0,
        overage=paid.overage,
        blocked=seen.blocked,
        cost_pico=seen.cost_pico,
        cost_charged_pico=paid.cost_charged_pico,
        margin_pico=paid.margin_pico,
        surcharge_pico=paid.surcharge_pico,
        charge_pico=paid.charge_pico,
        surcharges=surcharges,
        pools=tuple(_pools_left(state, seen, request, at_us)),
        budgets=tuple(_budgets_left(seen, at_us)),
        wallet_pico=state.wallet_pico,
        plan=tariff.plan_id,
        plan_version=tariff.plan_version,
        period=tariff.period,
    )


def _surcharges(tariff: Tariff, paid: Paid) -> Iterator[SurchargePart]:
    for each in tariff.terms.surcharges:
        yield SurchargePart(each.id, surcharge_of(each, paid.overage, paid.cost_charged_pico))


def _pools_left(state: CustomerState, seen: Preview, request: Request, at_us: int) -> Iterator[PoolLeft]:
    for slot, weight in seen.tariff.pools:
        if not slot.start_us <= at_us < slot.end_us:
            slot.enter(seen.account, at_us)
        until_us = _until_us(seen.tariff, slot)
        left = slot.included - slot.used.balance
        yield PoolLeft(slot.limits.id, slot.scope_value, left, weight, slot.included, until_us)
    event = request.as_event(state.customer, at_us)
    for pool, weight in grants_in_effect(state, seen.tariff, event, at_us):
        yield PoolLeft(pool.grant.id, "", pool.balance, weight, None, pool.grant.expires_us)


def _budgets_left(seen: Preview, at_us: int) -> Iterator[BudgetLeft]:
    for slot in seen.tariff.budgets:
        if not slot.start_us <= at_us < slot.end_us:
            slot.enter(seen.account, at_us)
        until_us = _until_us(seen.tariff, slot)
        name = (slot.limits.id, slot.scope_value, slot.blocks, until_us)
        if slot.quantity is None:
            yield BudgetLeft(
                *name, left_pico=max(0, slot.amount_pico - slot.spent.charge_pico), amount_pico=slot.amount_pico
            )
        else:
            yield BudgetLeft(*name, left=max(0, slot.quantity - slot.spent.units), quantity=slot.quantity)


def _until_us(tariff: Tariff, slot: PoolSlot | BudgetSlot) -> int:
    return min(slot.end_us, tariff.until_us)
