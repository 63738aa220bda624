"""What policy, wallet and budgets let through of what pools did not cover (R6.5)."""

from pipeline.domain.state import Account
from pipeline.domain.tariffs import BudgetSlot, Tariff

OVERAGE_BLOCKED = "overage_blocked"
WALLET_EMPTY = "wallet_empty"
BUDGET_EXHAUSTED = "budget_exhausted"


def allowed_overage(account: Account, tariff: Tariff, wallet_pico: int, rest: int, posted_us: int) -> int:
    """Return how many of the `rest` units become overage; what is missing is blocked (R6.5)."""
    policy = tariff.terms.policy
    if policy == "block" or (policy == "prepaid" and wallet_pico <= 0):
        return 0
    overage = rest
    for slot in tariff.budgets:
        if not slot.blocks:
            continue
        if not slot.start_us <= posted_us < slot.end_us:
            slot.enter(account, posted_us)
        if slot.quantity is None:
            if slot.spent.charge_pico >= slot.amount_pico:
                return 0
        else:
            overage = max(0, min(overage, slot.quantity - slot.spent.units))
    return overage


def refusal_of(tariff: Tariff, wallet_pico: int, rest: int) -> tuple[str, BudgetSlot | None]:
    """Return what keeps some of the `rest` units from becoming overage, and the budget if it is one.

    To be asked when `allowed_overage` has let through less than `rest`.
    """
    if tariff.terms.policy == "block":
        return OVERAGE_BLOCKED, None
    if tariff.terms.policy == "prepaid" and wallet_pico <= 0:
        return WALLET_EMPTY, None
    for slot in tariff.budgets:
        exhausted = (
            slot.spent.charge_pico >= slot.amount_pico
            if slot.quantity is None
            else slot.quantity - slot.spent.units < rest
        )
        if slot.blocks and exhausted:
            return BUDGET_EXHAUSTED, slot
    raise ValueError("nothing keeps these units from becoming overage")
