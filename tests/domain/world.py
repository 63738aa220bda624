"""A small world for tests of the rules: one customer, one deployment, one plan, and events sent one after another."""

from copy import copy
from dataclasses import replace
from typing import Any

from pipeline.domain.admission import Envelope
from pipeline.domain.catalog import App, Catalog, Deployment, Model, Plan, Subscription
from pipeline.domain.dedupe import HORIZON_MS, accepted_ms
from pipeline.domain.events import UsageEvent
from pipeline.domain.grants import Grant, TopUp
from pipeline.domain.instants import parse_instant
from pipeline.domain.lines import Line
from pipeline.domain.rating import Rated, apply_grant, rate_event
from pipeline.domain.rejects import Rejected
from pipeline.domain.state import Account, CustomerState
from pipeline.domain.terms import TermsIndex

DOLLAR = 10**12
CENT = 10**10
NOON = "2026-11-10T12:00:00Z"
MEMORIES = {
    "oldest_identity_ms",
    "tariffs",
    "late_tariffs",
    "pool_slots",
    "budget_slots",
    "changed",
    "quota_changed",
    "answers",
}
"""Of a state: what can be worked out again."""


def at(text: str) -> int:
    return parse_instant(text)


def ms(text: str) -> int:
    return parse_instant(text) // 1000


class World:
    """Rates events of customer `acme`; every event costs one cent unless it says otherwise."""

    def __init__(self, plan: Plan | None = None, **changes: Any) -> None:
        self.plan = plan or Plan("team", 1, "docflow", **changes)
        self.catalog = Catalog(
            currency="USD",
            platform_fee_percent_pico=5 * DOLLAR,
            models={
                "small": Model("small", "p", "standard", 250_000, 25_000, 2_000_000),
                "large": Model("large", "p", "premium", 5_000_000, 500_000, 25_000_000),
            },
            builders={"northwind": "Northwind"},
            apps={"docflow": App("docflow", "northwind")},
            customers={"acme": "Acme", "other": "Other"},
            deployments={
                "dep": Deployment("dep", "acme", "docflow"),
                "dep2": Deployment("dep2", "acme", "docflow"),
                "dep-other": Deployment("dep-other", "other", "docflow"),
                "dep-air": Deployment("dep-air", "acme", "docflow", air_gapped=True),
            },
            plans={("team", 1): self.plan},
            subscriptions={("acme", "docflow"): (Subscription("acme", self.plan, at("2026-01-01T00:00:00Z")),)},
        )
        self.state = CustomerState("acme")
        self.terms = TermsIndex(self.catalog)
        self.alerts: list[tuple[str, str, int, int]] = []
        self._count = 0

    def subscribe(self, *subscriptions: Subscription) -> None:
        self.use(replace(self.catalog, subscriptions={("acme", "docflow"): subscriptions}))

    def use(self, catalog: Catalog) -> None:
        """Go on under another catalog, as a worker does that is started again: look-ups are not remembered."""
        self.catalog, self.terms = catalog, TermsIndex(catalog)
        self.state.forget_tariffs()

    def event(self, **changes: Any) -> UsageEvent:
        self._count += 1
        fields: dict[str, Any] = {
            "id": f"e{self._count}",
            "source": "dep",
            "customer": "acme",
            "time_us": at(NOON),
            "environment": "production",
            "workspace": "legal",
            "feature": "contract-extraction",
            "model": "small",
            "unit": "document",
            "cost_pico": CENT,
        }
        if "time" in changes:
            changes["time_us"] = at(changes.pop("time"))
        return UsageEvent(**{**fields, **changes})

    def send(
        self, event: UsageEvent, sent: str | None = None, *, key: str | None = "acme", offline: bool = False
    ) -> Rated | None:
        timestamp_ms = ms(sent) if sent else event.time_us // 1000
        envelope = Envelope(key, timestamp_ms, offline)
        return rate_event(self.terms, self.state, event, envelope)

    def line(self, sent: str | None = None, **changes: Any) -> Line:
        """Send an event that is accepted and return its line."""
        rated = self.send(self.event(**changes), sent)
        assert rated is not None
        line, alerts = rated
        self.alerts += [(alert.id, alert.scope_value, alert.threshold, alert.seq) for alert in alerts]
        return line

    def code(self, event: UsageEvent, sent: str | None = None, **envelope: Any) -> str:
        """Send an event that is rejected and return the code; the state must not have changed."""
        before = snapshot(self.state)
        try:
            self.send(event, sent, **envelope)
        except Rejected as rejected:
            assert snapshot(self.state) == before, "a rejected event leaves no trace (R2.3)"
            return rejected.code
        raise AssertionError("accepted")

    def grant(self, identity: str, quantity: int, sent: str = NOON, **changes: Any) -> bool:
        return apply_grant(
            self.catalog, self.state, Grant(identity, "acme", quantity, **changes), Envelope("acme", ms(sent))
        )

    def top_up(self, identity: str, amount_pico: int, sent: str = NOON) -> bool:
        return apply_grant(self.catalog, self.state, TopUp(identity, "acme", amount_pico), Envelope("acme", ms(sent)))


def snapshot(state: CustomerState) -> dict[str, Any]:
    """Return all that a state remembers, by field; untouched counters count as absent, and so do expired identities."""
    plain = {name: getattr(state, name) for name in state.__struct_fields__ if name not in MEMORIES}
    horizon_ms = state.watermark_ms - HORIZON_MS
    return plain | {
        "grant_ids": sorted(state.grant_ids),
        "grants": [copy(pool) for pool in state.grants],
        "accounts": {key: _account(account) for key, account in state.accounts.items()},
        "identities": sorted(entry for entry in state.identities if accepted_ms(entry) >= horizon_ms),
    }


def _account(account: Account) -> tuple[Any, ...]:
    counters = {}
    for window, each in account.windows.items():
        counters |= {(window, "pool", *key): used.balance for key, used in each.pools.items() if used.balance}
        counters |= {
            (window, "budget", *key): (spent.units, spent.charge_pico)
            for key, spent in each.budgets.items()
            if spent.units or spent.charge_pico
        }
    return account.retires_us, counters, dict(account.tiers), sorted(account.operations)


def match(**accepted: str) -> dict[str, frozenset[str]]:
    return {key: frozenset({value}) for key, value in accepted.items()}
