"""The steps of a line that is rated again, with their numbers (R6.4 to R6.7)."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from pipeline.domain.catalog import PriceRow
from pipeline.domain.events import UsageEvent
from pipeline.domain.explanations import BudgetStep, PoolStep, PriceStep, SurchargeStep, TierUse
from pipeline.domain.explanations_history import History
from pipeline.domain.lines import Line, PoolUse
from pipeline.domain.overage import Paid, surcharge_of
from pipeline.domain.state import Account, CustomerState
from pipeline.domain.tariffs import Tariff
from pipeline.domain.waterfall import Cover


@dataclass(frozen=True, slots=True)
class Rerating:
    """A line, and the scratch state that it is rated in again."""

    line: Line
    event: UsageEvent
    history: History
    state: CustomerState
    tariff: Tariff
    account: Account
    posted_us: int


def grant_uses(line: Line) -> Sequence[PoolUse]:
    """Return which of a line's pools are grants: those behind the allowances, which sum to `included` (R6.4)."""
    covered = 0
    for place, use in enumerate(line.pools):
        if covered >= line.included:
            return line.pools[place:]
        covered += use.units
    return ()


def pool_steps(again: Rerating, covered: Cover) -> Iterator[PoolStep]:
    """Yield the matching allowances and the grants that covered something, before what they cover is taken."""
    units_of = {id(slot): units for slot, units, _ in covered.pools}
    for (allowance, weight), (slot, _) in zip(again.tariff.terms.pools, again.tariff.pools, strict=True):
        units = units_of.get(id(slot), 0)
        before = slot.included - slot.used.balance
        name = (allowance.id, allowance.scope, slot.scope_value, allowance.per)
        yield PoolStep("allowance", *name, units, weight, slot.included, before, before - units * weight)
    for pool, units, _ in covered.grants:
        grant = pool.grant.id
        yield PoolStep("grant", grant, "customer", "", "period", units, used_before=again.history.granted(grant))


def budget_steps(again: Rerating) -> Iterator[BudgetStep]:
    """Yield the matching budgets, before they grow."""
    for budget, slot in zip(again.tariff.terms.budgets, again.tariff.budgets, strict=True):
        name = (budget.id, budget.scope, slot.scope_value, budget.per, budget.blocks)
        yield BudgetStep(*name, budget.amount_pico, budget.quantity, slot.spent.charge_pico, slot.spent.units)


def price_step(again: Rerating, paid: Paid) -> PriceStep:
    """Return how the paid part is priced (R6.7)."""
    row, place = again.tariff.terms.price, again.tariff.terms.price_index
    before = again.account.tiers.get(place, 0)
    paid_units, of_units = (paid.overage, again.line.quantity) if again.line.quantity else (1, 1)
    return PriceStep(
        row=None if place < 0 else place + 1,
        match={key: tuple(sorted(values)) for key, values in sorted(row.match.items())},
        margin_percent_pico=None if row.tiers else row.margin_percent_pico,
        paid_units=paid_units,
        of_units=of_units,
        tiers=tuple(_tier_uses(row, before, paid.overage)),
        counter_before=before,
        counter_after=before + paid.overage if row.tiers else 0,
        cost_charged_pico=paid.cost_charged_pico,
        margin_pico=paid.margin_pico,
    )


def surcharge_steps(again: Rerating, paid: Paid) -> Iterator[SurchargeStep]:
    """Yield what each matching surcharge adds (R6.7)."""
    for each in again.tariff.terms.surcharges:
        amount_pico = surcharge_of(each, paid.overage, paid.cost_charged_pico)
        yield SurchargeStep(each.id, each.per_unit_pico, each.percent_of_cost_pico, amount_pico)


def _tier_uses(row: PriceRow, before: int, units: int) -> Iterator[TierUse]:
    """Yield how units fall into the tiers, as `graduated_price` has it."""
    position, rest = before, units
    for tier in row.tiers:
        here = rest if tier.up_to is None else min(rest, max(0, tier.up_to - position))
        if here:
            yield TierUse(position, tier.up_to, here, tier.price_pico)
        position, rest = position + here, rest - here
