"""What policy, wallet and budgets let through of what pools did not cover (R6.5)."""

from pipeline.domain.state import Account
from pipeline.domain.tariffs import Tariff


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
