"""Rating a line again: the steps of R6 by the domain's own functions, over the counters that earlier lines left."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from pipeline.domain.admission import cost_of
from pipeline.domain.budgets import refusal_of
from pipeline.domain.catalog import Catalog
from pipeline.domain.events import UsageEvent
from pipeline.domain.explanations import BudgetStep, CostSource, Difference, LeftOver, LineExplanation, Wallet
from pipeline.domain.explanations_history import History
from pipeline.domain.explanations_steps import (
    Rerating,
    budget_steps,
    grant_uses,
    pool_steps,
    price_step,
    surcharge_steps,
)
from pipeline.domain.explanations_words import amount_text
from pipeline.domain.grants import Grant
from pipeline.domain.instants import parse_instant
from pipeline.domain.lines import Line, PoolUse
from pipeline.domain.overage import NOTHING, Paid, charged
from pipeline.domain.rejects import Rejected
from pipeline.domain.state import CustomerState, GrantPool
from pipeline.domain.tariffs import kind_of, tariff_at
from pipeline.domain.terms import TermsIndex
from pipeline.domain.waterfall import cover, take

_WALLET_NOTE = (
    "That the wallet {} follows from the line's own numbers: top-ups are in Kafka (billing.grants), not in lines."
)
_GRANT_NOTE = "That a grant could still cover one unit follows from the line's own numbers: what grants have left is not in lines."


def rerate(catalog: Catalog, line: Line, history: History) -> LineExplanation:
    """Rate a line again; return the numbers of every step, without words, and where the stored line differs."""
    plain = LineExplanation(line, catalog.currency, history.lines)
    try:
        again = _begin(catalog, line, history)
    except Rejected as fault:
        return replace(plain, differences=(Difference("line", "is there", f"would be rejected: {fault.message}"),))
    plain = replace(plain, cost_from=_cost_source(again))
    found = _usage(again, plain) if line.kind == "usage" else _other_kind(again, plain)
    return replace(found, differences=(*_terms_differences(again), *found.differences))


def _begin(catalog: Catalog, line: Line, history: History) -> Rerating:
    """Return the line's event and tariff, over the counters that the history says. Raises Rejected."""
    posted_us = parse_instant(line.posted_at)
    event = _event_of(line)
    deployment = catalog.deployments.get(line.source)
    if deployment is None:
        raise Rejected("unknown_deployment", f"deployment {line.source!r} is not in the catalog")
    state = CustomerState(line.customer)
    shape = (line.source, line.environment, line.workspace, line.feature, line.model, line.unit)
    tariff = tariff_at(TermsIndex(catalog), state, state.tariffs, shape, event, deployment, posted_us)
    account, terms = tariff.bind(state, event), tariff.terms
    for (allowance, _), (pool, _) in zip(terms.pools, tariff.pools, strict=True):
        pool.enter(account, posted_us)
        pool.used.balance = history.lost(allowance, pool.scope_value)
    for limits, budget in zip(terms.budgets, tariff.budgets, strict=True):
        budget.enter(account, posted_us)
        budget.spent.units, budget.spent.charge_pico = history.spent(limits, budget.scope_value)
    if terms.price.tiers:
        account.tiers[terms.price_index] = history.priced(tariff.plan, terms.price_index)
    return Rerating(line, event, history, state, tariff, account, posted_us)


def _event_of(line: Line) -> UsageEvent:
    return UsageEvent(
        line.event_id,
        line.source,
        line.customer,
        parse_instant(line.time),
        line.environment,
        line.workspace,
        line.feature,
        line.model,
        line.unit,
        line.quantity,
        line.input_tokens,
        line.cached_input_tokens,
        line.output_tokens,
        line.cost_pico,
        byok=line.kind == "byok",
        failed=line.kind == "failed",
    )


def _cost_source(again: Rerating) -> CostSource:
    """Return what the cost agrees with (R5.2): lines do not say whether the event brought it."""
    model = again.tariff.terms.model
    if again.event.byok:
        return "byok"
    if model is None:
        return "reported"
    plain = UsageEvent(
        *("", "", "", 0, "", "", "", "", "", 0),
        again.line.input_tokens,
        again.line.cached_input_tokens,
        again.line.output_tokens,
    )
    return "tokens" if cost_of(plain, model) == again.line.cost_pico else "reported"


def _usage(again: Rerating, plain: LineExplanation) -> LineExplanation:
    """R6.4 to R6.7. Of grants it is known what they covered; the line says it."""
    line, state = again.line, again.state
    state.grants = [
        GrantPool(Grant(use.id, line.customer, use.units, priority=place), again.posted_us, use.units)
        for place, use in enumerate(grant_uses(line))
    ]
    covered = cover(state, again.account, again.tariff, again.event, again.posted_us)
    pools, budgets = tuple(pool_steps(again, covered)), tuple(budget_steps(again))
    uses = take(state, again.tariff, covered, [])
    paid: Paid = NOTHING
    left: LeftOver | None = None
    notes: tuple[str, ...] = ()
    if covered.rest or (line.quantity == 0 and not covered.coverable):
        paid, left, notes = _left_over(again, covered.rest, budgets)
    split = {
        "included": covered.included,
        "granted": covered.granted,
        "overage": paid.overage,
        "blocked": covered.rest - paid.overage,
    }
    return replace(
        plain,
        pools=pools,
        left_over=left,
        price=None if paid is NOTHING else price_step(again, paid),
        surcharges=() if paid is NOTHING else tuple(surcharge_steps(again, paid)),
        notes=notes,
        differences=(*_differences(line, split | _amounts(paid)), *_pool_differences(line, uses)),
    )


def _other_kind(again: Rerating, plain: LineExplanation) -> LineExplanation:
    """R6.3."""
    line, plan = again.line, again.tariff.plan
    policy = {"failed": plan.failed, "repeat": plan.repeats}.get(line.kind, "free")
    paid = Paid(0, line.cost_pico) if policy == "cost" else NOTHING
    split = {"included": 0, "granted": 0, "overage": 0, "blocked": 0}
    return replace(plain, differences=(*_differences(line, split | _amounts(paid)), *_pool_differences(line, ())))


def _left_over(
    again: Rerating, rest: int, budgets: tuple[BudgetStep, ...]
) -> tuple[Paid, LeftOver | None, tuple[str, ...]]:
    """R6.5 to R6.7. What lines do not hold follows from the line: the wallet and, at quantity 0, grants."""
    line, policy = again.line, again.tariff.terms.policy
    paid = _charged(again, rest, 1)
    seems_free = paid is not NOTHING and not line.overage and not _is_paid(line)
    wallet: Wallet = "not_asked"
    notes: tuple[str, ...] = ()
    if policy == "prepaid":
        wallet = "above_zero"
        if seems_free and (rest or paid.charge_pico or paid.cost_charged_pico):
            paid, wallet = NOTHING, "empty"
        notes = (_WALLET_NOTE.format("was not above zero" if wallet == "empty" else "was above zero"),)
    elif seems_free and not rest and (paid.charge_pico or paid.cost_charged_pico):
        return NOTHING, None, (_GRANT_NOTE,)
    refused = paid is NOTHING or paid.overage < rest
    reason, budget = refusal_of(again.tariff, int(wallet != "empty"), rest or 1) if refused else (None, None)
    limit_id = None if budget is None else budget.limits.id
    blocked = rest - paid.overage
    return paid, LeftOver(rest, paid.overage, blocked, refused, policy, wallet, budgets, reason, limit_id), notes


def _charged(again: Rerating, rest: int, wallet_pico: int) -> Paid:
    return charged(again.account, again.tariff, again.event, rest, again.line.cost_pico, again.posted_us, wallet_pico)


def _is_paid(line: Line) -> bool:
    return any((line.cost_charged_pico, line.margin_pico, line.surcharge_pico))


def _amounts(paid: Paid) -> dict[str, int]:
    return {
        "cost_charged_pico": paid.cost_charged_pico,
        "margin_pico": paid.margin_pico,
        "surcharge_pico": paid.surcharge_pico,
        "charge_pico": paid.charge_pico,
        "provider_reward_pico": paid.cost_charged_pico,
        "builder_earnings_pico": paid.margin_pico + paid.surcharge_pico,
    }


def _differences(line: Line, made: Mapping[str, int]) -> Iterator[Difference]:
    for name, value in made.items():
        stored = getattr(line, name)
        if stored != value:
            shown = amount_text if name.endswith("_pico") else str
            yield Difference(name.removesuffix("_pico"), shown(stored), shown(value))


def _pool_differences(line: Line, uses: Sequence[PoolUse]) -> Iterator[Difference]:
    if list(line.pools) != list(uses):
        yield Difference("pools", _pools_text(line.pools), _pools_text(uses))


def _pools_text(uses: Sequence[PoolUse]) -> str:
    return ", ".join(f"{use.id} {use.units:,}" for use in uses) or "none"


def _terms_differences(again: Rerating) -> Iterator[Difference]:
    """Yield where the line names other terms than the catalog has for it (R4.3, R6.2)."""
    line, tariff = again.line, again.tariff
    kind = kind_of(again.event, tariff, again.account, None)
    if line.kind == "repeat" and kind == "usage":
        kind = "repeat"  # lines do not hold the operation
    terms = {
        "kind": kind,
        "builder": tariff.builder,
        "app": tariff.app,
        "plan": tariff.plan_id,
        "plan_version": tariff.plan_version,
        "period": tariff.period,
        "model_class": tariff.model_class,
    }
    if line.catalog:
        terms["provider"] = tariff.provider
    for name, value in terms.items():
        if getattr(line, name) != value:
            yield Difference(name.replace("model_", ""), str(getattr(line, name)), str(value))
