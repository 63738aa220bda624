"""What is left after the waterfall: its price, and what grows by it (R6.5 to R6.8)."""

import msgspec

from pipeline.domain.alerts import Alert
from pipeline.domain.budgets import allowed_overage
from pipeline.domain.catalog import Surcharge
from pipeline.domain.events import UsageEvent
from pipeline.domain.money import divide_half_even
from pipeline.domain.prices import price
from pipeline.domain.prices.cost_plus import percent_of
from pipeline.domain.state import Account, CustomerState
from pipeline.domain.tariffs import Tariff


class Paid(msgspec.Struct, gc=False):
    """What of a usage event is paid: units of overage, and picodollars (R6.7)."""

    overage: int = 0
    cost_charged_pico: int = 0
    margin_pico: int = 0
    surcharge_pico: int = 0

    @property
    def charge_pico(self) -> int:
        """Return what the customer owes."""
        return self.cost_charged_pico + self.margin_pico + self.surcharge_pico


NOTHING = Paid()
"""Is paid where everything is covered or blocked."""


def charged(
    account: Account,
    tariff: Tariff,
    event: UsageEvent,
    rest: int,
    cost_pico: int,
    posted_us: int,
    wallet_pico: int,
) -> Paid:
    """Return the price of what the waterfall left of a usage event; NOTHING when all of it is blocked (R6.5 to R6.7).

    An event of quantity 0 stands for one unit that is not counted (R6.6).
    """
    allowed = rest or 1
    if tariff.limited:
        allowed = allowed_overage(account, tariff, wallet_pico, allowed, posted_us)
        if not allowed:
            return NOTHING
    overage = allowed if rest else 0
    cost_charged_pico = (
        cost_pico if allowed == event.quantity else divide_half_even(cost_pico * allowed, event.quantity or 1)
    )
    terms = tariff.terms
    margin_pico = price(terms.price, cost_charged_pico, overage, account.tiers.get(terms.price_index, 0))
    surcharge_pico = 0
    for surcharge in terms.surcharges:
        surcharge_pico += surcharge_of(surcharge, overage, cost_charged_pico)
    return Paid(overage, cost_charged_pico, margin_pico, surcharge_pico)


def surcharge_of(surcharge: Surcharge, overage: int, cost_charged_pico: int) -> int:
    """Return what one surcharge adds, in picodollars (R6.7)."""
    return surcharge.per_unit_pico * overage + percent_of(surcharge.percent_of_cost_pico, cost_charged_pico)


def grow(
    state: CustomerState, account: Account, tariff: Tariff, paid: Paid, posted_us: int, alerts: list[Alert]
) -> None:
    """Grow tiers and budgets and lower the wallet by what is paid, and add the alerts that this causes (R6.8, R6.10)."""
    terms = tariff.terms
    total_pico = paid.charge_pico
    if terms.policy == "prepaid":
        state.wallet_pico -= total_pico
        state.quota_changed = True
    overage = paid.overage
    if overage and terms.price.tiers:
        account.tiers[terms.price_index] = account.tiers.get(terms.price_index, 0) + overage
        state.note_account(tariff.account_key, account)
    if overage or total_pico:
        for budget in tariff.budgets:
            if not budget.start_us <= posted_us < budget.end_us:
                budget.enter(account, posted_us)
            budget.grow(state, tariff, overage, total_pico, alerts)
