"""What rating an event would come to, without rating it: the same steps of R6 over the same counters."""

import msgspec

from pipeline.domain.admission import cost_of
from pipeline.domain.alerts import Alert
from pipeline.domain.catalog import Deployment
from pipeline.domain.events import UsageEvent
from pipeline.domain.lines import Kind
from pipeline.domain.overage import NOTHING, Paid, charged, grow
from pipeline.domain.rejects import UNKNOWN_DEPLOYMENT, WRONG_CUSTOMER, Rejected
from pipeline.domain.state import Account, CustomerState
from pipeline.domain.tariffs import Tariff, kind_of, tariff_at
from pipeline.domain.terms import TermsIndex
from pipeline.domain.waterfall import Cover, cover, take


class Preview(msgspec.Struct):
    """What R6 makes of an event at an instant."""

    tariff: Tariff
    account: Account
    kind: Kind
    cost_pico: int
    covered: Cover | None
    """None for kinds other than `usage`: they consume nothing (R6.2)."""
    paid: Paid
    refused: bool = False
    """Some of it, or at quantity 0 the call as such, is blocked (R6.5, R6.6)."""

    @property
    def charges_nothing(self) -> bool:
        """Return whether pools cover all of it, or its kind consumes nothing."""
        return self.paid is NOTHING and not self.refused

    @property
    def left_over(self) -> int:
        """Return how many units the waterfall has left; 1 at quantity 0 (R6.6)."""
        return (self.covered.rest or 1) if self.covered else 0

    @property
    def blocked(self) -> int:
        """Return how many units are blocked."""
        return self.covered.rest - self.paid.overage if self.covered else 0


def preview(index: TermsIndex, state: CustomerState, event: UsageEvent, at_us: int) -> Preview:
    """Return what rating an event posted at an instant would come to, were it no repeat; take nothing.

    Raises Rejected as rating would: unknown_deployment, wrong_customer, no_subscription, unknown_price.
    """
    deployment = _deployment_of(index, event)
    shape = (event.source, event.environment, event.workspace, event.feature, event.model, event.unit)
    tariff = tariff_at(index, state, state.tariffs, shape, event, deployment, at_us)
    cost_pico = cost_of(event, tariff.terms.model)
    account = tariff.account or tariff.bind(state, event)
    kind = kind_of(event, tariff, account, None)
    if kind != "usage":
        return Preview(tariff, account, kind, cost_pico, None, NOTHING)
    covered = cover(state, account, tariff, event, at_us)
    if not covered.rest and (event.quantity or covered.coverable):
        return Preview(tariff, account, kind, cost_pico, covered, NOTHING)
    paid = charged(account, tariff, event, covered.rest, cost_pico, at_us, state.wallet_pico)
    refused = paid is NOTHING or paid.overage < covered.rest
    return Preview(tariff, account, kind, cost_pico, covered, paid, refused)


def consume(state: CustomerState, seen: Preview, at_us: int) -> None:
    """Take from pools, wallet and budgets what a preview has found: as rating does, but no line comes of it."""
    alerts: list[Alert] = []
    if seen.covered is not None:
        take(state, seen.tariff, seen.covered, alerts)
    if seen.paid is not NOTHING:
        grow(state, seen.account, seen.tariff, seen.paid, at_us, alerts)


def _deployment_of(index: TermsIndex, event: UsageEvent) -> Deployment:
    deployment = index.catalog.deployments.get(event.source)
    if deployment is None:
        raise Rejected(UNKNOWN_DEPLOYMENT, f"deployment {event.source!r} is not in the catalog")
    if deployment.customer != event.customer:
        raise Rejected(WRONG_CUSTOMER, f"deployment {event.source!r} does not belong to {event.customer!r}")
    return deployment
