"""Why a line costs what it does, in sentences that a finance person can follow, with the rule of every step."""

from collections.abc import Iterator
from dataclasses import replace

from pipeline.domain.catalog import Catalog, Model
from pipeline.domain.explanations import BudgetStep, LineExplanation, PoolStep, PriceStep, Sentence, SurchargeStep
from pipeline.domain.explanations_history import History
from pipeline.domain.explanations_rating import rerate
from pipeline.domain.explanations_words import amount_text, instant_text, listed, number_text, per_million_text
from pipeline.domain.instants import HOUR_US, format_instant, parse_instant
from pipeline.domain.lines import Line
from pipeline.domain.periods import period_at
from pipeline.domain.words import count_of, plural

_KINDS = {
    "usage": "It is usage: it counts, and may draw on allowances and grants.",
    "byok": "The call went to the customer's own model account (route byok): it costs and is charged nothing.",
    "failed": "The call failed: it counts as nothing and draws on no pool.",
    "repeat": "The same operation was counted before in this period: it counts as nothing and draws on no pool.",
}
_REASONS = {
    "overage_blocked": "the plan blocks {units} beyond allowances and grants",
    "wallet_empty": "the prepaid wallet was empty",
    "budget_exhausted": "budget {limit} was used up",
}
_OLD_LINE = "The line does not name its catalog version, as it is from before lines did: the catalog at hand was taken."


def explain(catalog: Catalog, line: Line, history: History) -> LineExplanation:
    """Return why a line costs what it does: `catalog` is the version that rated it, `history` what came before it."""
    found = rerate(catalog, line, history)
    notes = found.notes if line.catalog else (*found.notes, _OLD_LINE)
    words = _Words(catalog, found)
    return replace(found, headline=words.headline(), sentences=tuple(words.sentences()), notes=notes)


class _Words:
    """Words about one line."""

    def __init__(self, catalog: Catalog, found: LineExplanation) -> None:
        self.catalog = catalog
        self.found = found
        self.line = found.line

    def headline(self) -> str:
        """Return the line in one sentence."""
        line = self.line
        return f"{self.customer()}, line {line.seq:,}: {count_of(line.quantity, line.unit)}, {self.money(line.charge_pico)}"

    def sentences(self) -> Iterator[Sentence]:
        """Yield the steps, in the order of the rules; those of R6.4 on only where the line could be rated again."""
        yield Sentence("What", self.what(), ("R7.1",))
        yield Sentence("When", self.when(), ("R3.2",) if self.line.late else ("R3.1",))
        yield Sentence("Plan", self.plan(), ("R4.3", "R10.4"))
        yield Sentence("Kind", self.kind(), ("R6.2",) if self.line.kind == "usage" else ("R6.2", "R6.3"))
        yield Sentence("Cost", self.cost(), ("R5.2",))
        for place, pool in enumerate(self.found.pools, start=1):
            yield Sentence(f"Pool {place}", self.pool(pool), ("R6.4",))
        yield from self.unpriced()
        if self.found.price is not None:
            yield Sentence("Price", self.price(self.found.price), ("R6.7",))
        for surcharge in self.found.surcharges:
            yield Sentence("Surcharge", self.surcharge(surcharge), ("R6.7",))
        yield Sentence("Charge", self.charge(), ("R6.7", "R7.3"))
        yield Sentence("Split", self.split(), ("R6.9",))

    def money(self, pico: int) -> str:
        """Return an amount with its currency."""
        return f"{amount_text(pico)} {self.catalog.currency}"

    def customer(self) -> str:
        """Return the customer's name with its id."""
        return _named(self.catalog.customers.get(self.line.customer, ""), self.line.customer)

    def units(self, quantity: int) -> str:
        """Return so many units."""
        return count_of(quantity, self.line.unit)

    def what(self) -> str:
        """Say who used what, where."""
        line = self.line
        tokens = (
            f"{line.input_tokens:,} input, {line.cached_input_tokens:,} cached and {line.output_tokens:,} output tokens"
        )
        provider = f"{line.provider}, " if line.provider else ""
        return (
            f"{self.customer()}, workspace {line.workspace}, used {self.units(line.quantity)} of {line.feature} with model "
            f"{line.model} ({provider}class {line.model_class}): {tokens}. "
            f"Reported by deployment {line.deployment}, environment {line.environment}, as event {line.event_id}."
        )

    def when(self) -> str:
        """Say when it was used and in which period it stands, and why there if it is late."""
        line = self.line
        if not line.late:
            return f"Used {instant_text(line.time)}, in the period that begins on {line.period}."
        posted = (
            f"so it is posted when it came, {instant_text(line.posted_at)}, in the period that begins on {line.period}"
        )
        time_us = parse_instant(line.time)
        own = self.catalog.plan_at(line.customer, line.app, time_us)
        if own is None:
            return f"Used {instant_text(line.time)}, in a period that was over when it came: late, {posted}."
        period = period_at(time_us, own.anchor_day)
        closes = instant_text(format_instant(period.end_us + own.grace_hours * HOUR_US))
        return (
            f"Used {instant_text(line.time)}, in the period that begins on {period.name}. That period took usage until "
            f"{closes} ({own.grace_hours} hours of grace after its end). The event came later: late, {posted}."
        )

    def plan(self) -> str:
        """Say which terms hold."""
        line = self.line
        version = f"catalog version {line.catalog}" if line.catalog else "a catalog version that the line does not name"
        builder = _named(self.catalog.builders.get(line.builder, ""), line.builder)
        return f"{line.plan} version {line.plan_version}, for app {line.app} of {builder}; rated by {version}."

    def kind(self) -> str:
        """Say what kind of line it is and what follows."""
        line = self.line
        if line.kind == "non_billable":
            return f"Environment {line.environment} is not among those the plan bills: it is charged nothing."
        text = _KINDS[line.kind]
        if line.kind in ("failed", "repeat"):
            free = line.cost_charged_pico == 0
            text += " The plan lets it go free." if free else " The plan charges such calls at cost."
        return text

    def cost(self) -> str:
        """Say what the call cost, and from what that follows."""
        line, model = self.line, self.catalog.models.get(self.line.model)
        if self.found.cost_from == "byok":
            return "Nothing, by route byok."
        if self.found.cost_from == "tokens" and model is not None:
            return f"The call cost {self.money(line.cost_pico)}: {_tokens_text(line, model)}."
        return f"The call cost {self.money(line.cost_pico)}, as the deployment reported."

    def pool(self, pool: PoolStep) -> str:
        """Say what a pool had, covered and has."""
        covered = f"covers {self.units(pool.units)}" if pool.units else "covers nothing"
        if pool.balance_before is None or pool.balance_after is None or pool.weight is None:
            before = [count_of(units, unit) for unit, units in sorted((pool.used_before or {}).items())]
            used = f"it had covered {listed(before)} before" if before else "it had covered nothing before"
            return f"Grant {pool.id} {covered}; {used}, in all periods and plans."
        name = f"Allowance {pool.id}{_kept_for(pool)}"
        left = f"{pool.balance_before:,} of {pool.included or 0:,} left"
        if pool.weight == 1:
            return f"{name}: {left}; {covered}, {pool.balance_after:,} left after."
        return (
            f"{name}: {left}, of which {count_of(1, self.line.unit)} takes {pool.weight:,}, so enough for "
            f"{self.units(max(0, pool.balance_before) // pool.weight)}; {covered}, {pool.balance_after:,} left after."
        )

    def unpriced(self) -> Iterator[Sentence]:
        """Yield what becomes of what no pool covers."""
        left, line = self.found.left_over, self.line
        if left is None:
            if line.kind == "usage" and self.found.verified:
                none = (
                    "Nothing is left to pay." if line.quantity else "A pool could still cover one unit: nothing to pay."
                )
                yield Sentence("Left", none, ("R6.4",) if line.quantity else ("R6.6",))
            return
        what = self.units(left.units) if left.units else "This further call inside a counted action (quantity 0)"
        verb = "is" if left.units <= 1 else "are"
        no_pool = f"{what} {verb} not covered by any pool."
        how = {
            "invoice": f"The plan invoices such {plural(line.unit)}.",
            "prepaid": f"The plan takes such {plural(line.unit)} from the prepaid wallet.",
            "block": f"The plan blocks such {plural(line.unit)}.",
        }[left.policy]
        yield Sentence("Left", f"{no_pool} {how}", ("R6.5",) if left.units else ("R6.5", "R6.6"))
        for budget in left.budgets if left.reason in (None, "budget_exhausted") else ():
            yield Sentence("Budget", self.budget(budget), ("R6.5", "R6.8"))
        if left.refused and left.reason is not None:
            why = _REASONS[left.reason].format(units=plural(line.unit), limit=left.limit_id)
            blocked = f"{self.units(left.blocked)} blocked" if left.units else "It is blocked"
            yield Sentence("Blocked", f"{blocked}: {why}. What is blocked is not charged.", ("R6.5",))

    def budget(self, budget: BudgetStep) -> str:
        """Say what a budget had seen of its limit."""
        does = "blocks beyond it" if budget.blocks else "only alerts"
        name = f"{budget.id}{_kept_for(budget)}"
        if budget.amount_pico is None:
            seen = f"{budget.units_before:,} of {self.units(budget.quantity or 0)} were paid before"
        else:
            seen = f"{amount_text(budget.charge_before_pico)} of {self.money(budget.amount_pico)} were charged before"
        return f"{name}: {seen}; it {does}."

    def price(self, price: PriceStep) -> str:
        """Say by which row what is paid is priced, and what that comes to."""
        cost = f"All of the cost is charged, {self.money(price.cost_charged_pico)}."
        if price.paid_units != price.of_units:
            share = f"{price.paid_units:,} of {self.units(price.of_units)} are paid"
            cost = f"{share}, and so much of the cost is charged: {self.money(price.cost_charged_pico)}."
        where = f"Price row {price.row} of the plan ({_match_text(price)})" if price.row else "No price row matches"
        if price.margin_percent_pico is not None:
            percent = number_text(price.margin_percent_pico)
            return f"{cost} {where}: cost plus {percent} % = {self.money(price.margin_pico)} margin."
        base = " + ".join(
            f"{each.units:,} x {amount_text(each.price_pico)}{_tier_text(each.up_to)}" for each in price.tiers
        )
        base_pico = price.cost_charged_pico + price.margin_pico
        counter = (
            f"{self.units(price.counter_before)} of the period were priced by it before, {price.counter_after:,} after"
        )
        return (
            f"{cost} {where}: {base or '0 units'} = {self.money(base_pico)} ({counter}). "
            f"Less the cost, that is {self.money(price.margin_pico)} margin."
        )

    def surcharge(self, surcharge: SurchargeStep) -> str:
        """Say what a surcharge adds."""
        parts = []
        if surcharge.per_unit_pico:
            parts.append(f"{amount_text(surcharge.per_unit_pico)} x {self.units(self.line.overage)}")
        if surcharge.percent_of_cost_pico:
            parts.append(f"{number_text(surcharge.percent_of_cost_pico)} % of the cost")
        return f"{surcharge.id}: {' + '.join(parts) or 'nothing'} = {self.money(surcharge.amount_pico)}."

    def charge(self) -> str:
        """Say what the customer owes."""
        line = self.line
        if not any((line.cost_charged_pico, line.margin_pico, line.surcharge_pico)):
            return f"{self.customer()} owes nothing for this line."
        parts = f"{amount_text(line.cost_charged_pico)} cost {_plus(line.margin_pico)} margin"
        if line.surcharge_pico:
            parts += f" {_plus(line.surcharge_pico)} surcharge"
        return f"{parts} = {self.money(line.charge_pico)}."

    def split(self) -> str:
        """Say who gets what."""
        line = self.line
        builder = _named(self.catalog.builders.get(line.builder, ""), line.builder)
        provider = f"Provider {line.provider}" if line.provider else "The provider"
        carried = line.cost_pico - line.cost_charged_pico
        rest = f" {self.money(carried)} of the call's cost is charged to nobody." if carried else ""
        return (
            f"{provider} is owed {self.money(line.provider_reward_pico)}, {builder} earns "
            f"{self.money(line.builder_earnings_pico)}.{rest}"
        )


def _named(name: str, identity: str) -> str:
    return f"{name} ({identity})" if name and name != identity else identity


def _tokens_text(line: Line, model: Model) -> str:
    counts = (
        (line.input_tokens, "input", model.input_pico),
        (line.cached_input_tokens, "cached", model.cached_input_pico),
        (line.output_tokens, "output", model.output_pico),
    )
    parts = [f"{tokens:,} {name} at {per_million_text(price)}" for tokens, name, price in counts if tokens]
    return f"{listed(parts)} per million tokens" if parts else "no tokens"


def _kept_for(each: PoolStep | BudgetStep) -> str:
    """Return over what and for what a pool or budget is kept, when that is not the customer's period."""
    texts = [] if each.scope == "customer" else [f"{each.scope} {each.scope_value}"]
    texts += [] if each.per == "period" else [f"this {each.per}"]
    return f" ({', '.join(texts)})" if texts else ""


def _match_text(price: PriceStep) -> str:
    return ", ".join(f"{key}: {' or '.join(values)}" for key, values in price.match.items()) or "for everything"


def _tier_text(up_to: int | None) -> str:
    return "" if up_to is None else f" (tier up to {up_to:,})"


def _plus(pico: int) -> str:
    return f"{'-' if pico < 0 else '+'} {amount_text(abs(pico))}"
