"""Rating lines under another catalog: what does not change about an event is taken from its line.

The steps are those of rating (R6.4 to R6.9), by the domain's own functions, without what lines say already: kind,
period, lateness, cost, duplicates. `domain/resim_fit.py` says for whom that is exact.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

import msgspec

from pipeline.domain.catalog import Catalog
from pipeline.domain.events import UsageEvent
from pipeline.domain.grants import Grant
from pipeline.domain.overage import NOTHING, charged, grow
from pipeline.domain.resim import Bills, Sums, bill_of
from pipeline.domain.resim_fit import may_draw_on
from pipeline.domain.state import AccountKey, CustomerState
from pipeline.domain.tariffs import PoolSlot, Shape, Tariff, tariff_at
from pipeline.domain.terms import TermsIndex
from pipeline.domain.waterfall import cover, take

KINDS = ("usage", "byok", "non_billable", "failed", "repeat")
"""A line's code is its kind's place in here, and LATE more when it is late."""
LATE = 8
_USAGE = 0
_FAILED = 3
_REPEAT = 4
_EVENTS_MAX = 10_000
"""Of a shape, so many quantities are remembered as events."""

LEFT_OUT = "it is left out"
NEEDS_GRANTS = "its grants may cover what is to be paid"
NEEDS_WALLET = "it pays from its prepaid wallet"
NEEDS_TIMES = "it has late usage in daily or hourly windows"


class ShapeOf(NamedTuple):
    """Lines of one shape, and whose they are."""

    customer: str
    app: str
    shape: Shape


class Rows(NamedTuple):
    """Lines by customer and seq, column by column."""

    shapes: Sequence[int]
    posted_us: Sequence[int]
    quantities: Sequence[int]
    costs_pico: Sequence[int]
    codes: Sequence[int]


class _Customer(msgspec.Struct, eq=False):
    state: CustomerState
    grants: Sequence[Grant]
    obstacle: str | None = None
    """Why the lines do not say enough."""
    late: set[AccountKey] = msgspec.field(default_factory=set)
    """Accounts whose last line was late: they may have been forgotten windows before it (docs/rules.md, R6.2)."""


class _Run(msgspec.Struct, eq=False):
    """Lines of one shape: what applies to them now, and what they come to."""

    of: ShapeOf
    customer: _Customer
    sums: Sums
    tariff: Tariff | None = None
    from_us: int = 0
    until_us: int = 0
    first: PoolSlot | None = None
    """The allowance that is drawn on first, and what one unit costs it."""
    weight: int = 1
    alone: bool = False
    """There is no other allowance."""
    draws: bool = False
    """Grants may cover what allowances do not."""
    tariffs: list[Tariff] = msgspec.field(default_factory=list)
    events: dict[int, UsageEvent] = msgspec.field(default_factory=dict)

    def event(self, quantity: int) -> UsageEvent:
        """Return an event of the shape."""
        found = self.events.get(quantity)
        if found is None:
            if len(self.events) >= _EVENTS_MAX:
                self.events.clear()
            source, environment, workspace, feature, model, unit = self.of.shape
            found = self.events[quantity] = UsageEvent(
                "", source, self.of.customer, 0, environment, workspace, feature, model, unit, quantity
            )
        return found

    def enter(self, index: TermsIndex, posted_us: int) -> Tariff:
        """Go to the tariff of a posting time."""
        state, event = self.customer.state, self.event(1)
        deployment = index.catalog.deployments[event.source]
        tariff = tariff_at(index, state, state.tariffs, self.of.shape, event, deployment, posted_us)
        self.tariff, self.from_us, self.until_us = tariff, tariff.from_us, tariff.until_us
        if tariff.account is None:
            tariff.bind(state, event)
        self.first, self.weight = tariff.pools[0] if tariff.pools else (None, 1)
        self.alone = len(tariff.pools) == 1
        self.draws = bool(self.customer.grants) and may_draw_on(self.customer.grants, event, tariff.terms)
        self.tariffs.append(tariff)
        return tariff


class LineRating:
    """Rates the lines of a period under a catalog, customers one after the other."""

    def __init__(self, catalog: Catalog, grants: Mapping[str, Sequence[Grant]]) -> None:
        """`grants` are those of each customer that may be in effect in the period."""
        self._index = TermsIndex(catalog)
        self._grants = grants
        self._customers: dict[str, _Customer] = {}
        self._runs: dict[int, _Run] = {}

    def expect(self, shapes: Mapping[int, ShapeOf], left_out: Collection[str] = ()) -> None:
        """Say what the numbers of shapes in further rows mean, and which customers are not to be rated."""
        for number, of in shapes.items():
            customer = self._customers.get(of.customer)
            if customer is None:
                customer = _Customer(CustomerState(of.customer), self._grants.get(of.customer, ()))
                customer.obstacle = LEFT_OUT if of.customer in left_out else None
                self._customers[of.customer] = customer
            self._runs[number] = _Run(of, customer, Sums())

    def rate(self, rows: Rows) -> None:  # noqa: C901 - one tight loop
        """Rate lines, in the order of (customer, seq). Raises KeyError for a shape that was not expected."""
        runs, index = self._runs, self._index
        for number, posted_us, quantity, cost_pico, code in zip(*rows, strict=True):
            run = runs[number]
            sums = run.sums
            sums.lines += 1
            customer = run.customer
            if customer.obstacle is not None:
                continue
            tariff = run.tariff
            if tariff is None or not run.from_us <= posted_us < run.until_us:
                tariff = run.enter(index, posted_us)
            if code >= LATE:
                customer.late.add(tariff.account_key)
            elif customer.late:
                customer.late.discard(tariff.account_key)
            kind = code & 7
            if kind != _USAGE:
                if _costs(tariff, kind):
                    sums.charge_pico += cost_pico
                continue
            first = run.first
            if first is not None and quantity and first.start_us <= posted_us < first.end_us:
                used = first.used
                after = used.balance + quantity * run.weight
                if after <= first.included:
                    used.balance = after  # what `cover` and `take` come to when the first pool covers all
                    continue
                if run.alone and used.balance + run.weight > first.included:
                    self._charge(run, tariff, run.event(quantity), quantity, cost_pico, posted_us)
                    continue  # and when no pool covers anything
            self._usage(run, tariff, run.event(quantity), cost_pico, posted_us)

    def _usage(self, run: _Run, tariff: Tariff, event: UsageEvent, cost_pico: int, posted_us: int) -> None:
        """Rate a usage event (R6.4 to R6.8)."""
        state = run.customer.state
        account = tariff.account or tariff.bind(state, event)
        covered = cover(state, account, tariff, event, posted_us)
        if covered.rest != event.quantity:
            take(state, tariff, covered, [])
        if covered.rest or (event.quantity == 0 and not covered.coverable):
            self._charge(run, tariff, event, covered.rest, cost_pico, posted_us)

    def _charge(self, run: _Run, tariff: Tariff, event: UsageEvent, rest: int, cost_pico: int, posted_us: int) -> None:
        """Rate what the allowances leave of a line (R6.5 to R6.8)."""
        customer, sums = run.customer, run.sums
        if run.draws:
            customer.obstacle = NEEDS_GRANTS
            return
        if tariff.terms.policy == "prepaid":
            customer.obstacle = NEEDS_WALLET
            return
        account = tariff.account or tariff.bind(customer.state, event)
        paid = charged(account, tariff, event, rest, cost_pico, posted_us, 0)
        sums.blocked += rest - paid.overage
        if paid is not NOTHING:
            grow(customer.state, account, tariff, paid, posted_us, [])
            sums.overage += paid.overage
            extra_pico = paid.margin_pico + paid.surcharge_pico
            sums.charge_pico += paid.cost_charged_pico + extra_pico
            sums.earnings_pico += extra_pico

    def obstacles(self) -> dict[str, str]:
        """Return the customers whose lines do not say enough, and why."""
        found = {}
        for name, customer in self._customers.items():
            reason = customer.obstacle or self._times_obstacle(customer)
            if reason is not None:
                found[name] = reason
        return found

    def _times_obstacle(self, customer: _Customer) -> str | None:
        if not customer.late:
            return None
        late = [self._index.catalog.plans[plan, version] for plan, version, _ in customer.late]
        windows = {each.per for plan in late for each in plan.allowances} | {
            each.per for plan in late for each in plan.budgets
        }
        return NEEDS_TIMES if windows - {"period"} else None

    def counts(self) -> dict[int, int]:
        """Return how many lines of each shape came, rated or not."""
        return {number: run.sums.lines for number, run in self._runs.items()}

    def bills(self) -> Bills:
        """Return the bills of the customers whose lines say enough."""
        bills: Bills = {}
        left_out = self.obstacles()
        for run in self._runs.values():
            if run.of.customer not in left_out and run.sums.lines:
                bill = bill_of(bills, run.of.customer, run.of.app)
                for tariff in run.tariffs:
                    bill.builder = tariff.builder
                    bill.plans.add((tariff.plan_id, tariff.plan_version))
                bill.row(run.of.shape[3], run.of.shape[5]).add(run.sums)
        return bills


def _costs(tariff: Tariff, kind: int) -> bool:
    """R6.3: failed calls and repeats cost nothing, or their cost, as the plan says."""
    return (kind == _FAILED and tariff.plan.failed == "cost") or (kind == _REPEAT and tariff.plan.repeats == "cost")
