"""What policy, wallet and budgets let through of what pools did not cover (R6.5)."""

from pipeline.domain.alerts import Growth
from pipeline.domain.state import Account, Counters, Spent
from pipeline.domain.terms import BudgetTerms, Terms
from pipeline.domain.waterfall import counter_key, window_key

_NOTHING_SPENT = Spent()


def allowed_overage(account: Account, terms: Terms, wallet_pico: int, rest: int, posted_us: int) -> int:
    """Return how many of the `rest` units become overage; what is missing is blocked (R6.5)."""
    if terms.policy == "block" or (terms.policy == "prepaid" and wallet_pico <= 0):
        return 0
    overage = rest
    for terms_of_budget in terms.budgets:
        if terms_of_budget.budget.blocks:
            overage = min(overage, _room(account, terms_of_budget, overage, posted_us))
    return overage


def _room(account: Account, terms: BudgetTerms, overage: int, posted_us: int) -> int:
    spent = budget_spent(account, terms, posted_us)
    budget = terms.budget
    if budget.quantity is not None:
        return max(0, budget.quantity - spent.units)
    assert budget.amount_pico is not None
    return 0 if spent.charge_pico >= budget.amount_pico else overage


def budget_spent(account: Account, terms: BudgetTerms, posted_us: int) -> Spent:
    """Return what a budget has seen in the window that holds the posting time. Not to be changed."""
    budget = terms.budget
    counters = account.windows.get(window_key(terms.shelf, budget.per, posted_us))
    if counters is None:
        return _NOTHING_SPENT
    return counters.budgets.get(counter_key(budget.id, terms.scope_value, budget.per, posted_us), _NOTHING_SPENT)


def grow_budget(
    account: Account, terms: BudgetTerms, posted_us: int, overage: int, charge_pico: int, growth: Growth
) -> None:
    """Add a line's overage and charge to a budget (R6.8)."""
    budget = terms.budget
    window = window_key(terms.shelf, budget.per, posted_us)
    counters = account.windows.setdefault(window, Counters())
    key = counter_key(budget.id, terms.scope_value, budget.per, posted_us)
    spent = counters.budgets.get(key)
    if spent is None:
        spent = counters.budgets[key] = Spent()
    if budget.quantity is not None:
        limit, before, after = budget.quantity, spent.units, spent.units + overage
    else:
        assert budget.amount_pico is not None
        limit, before, after = budget.amount_pico, spent.charge_pico, spent.charge_pico + charge_pico
    spent.units += overage
    spent.charge_pico += charge_pico
    growth.note(window, budget.id, terms.scope_value, budget.alerts, limit, before, after)
