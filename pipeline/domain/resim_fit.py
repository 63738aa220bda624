"""Whether lines say enough to be rated under another catalog: they do not hold all of their events.

A line lacks its event's operation and record timestamp; whether it failed shows only where its environment is billable.
So lines serve where the other catalog gives each the same kind, period and lateness; else the log has to be rated.
"""

from collections import defaultdict
from collections.abc import Iterable

from pipeline.domain.catalog import Catalog, Deployment, Model, Plan, Subscription
from pipeline.domain.events import UsageEvent
from pipeline.domain.grants import Grant
from pipeline.domain.periods import Period
from pipeline.domain.terms import Terms, attributes_of, matches, weight_of


class Fit:
    """Compares two catalogs customer by customer, for a period."""

    def __init__(self, old: Catalog, new: Catalog, period: Period) -> None:
        self._old = old
        self._new = new
        self._period = period
        self._deployments = [_by_customer(catalog) for catalog in (old, new)]
        self._apps = [_apps(catalog) for catalog in (old, new)]

    def obstacle(self, customer: str) -> str | None:
        """Return why the lines of a customer do not say enough; None when they do."""
        if customer not in self._new.customers:
            return "it is not in the new catalog"
        before, after = (each.get(customer) for each in self._deployments)
        if before != after:
            return "its deployments change"
        apps = self._apps[0].get(customer, set()) | self._apps[1].get(customer, set())
        return next((reason for app in sorted(apps) if (reason := self._of_app(customer, app))), None)

    def _of_app(self, customer: str, app: str) -> str | None:
        old, new = (self._spans(catalog, customer, app) for catalog in (self._old, self._new))
        if [each[:2] for each in old] != [each[:2] for each in new]:
            return f"its subscription to {app} begins, ends or changes at another time"
        pairs = {(_key(one[2]), _key(other[2])) for one, other in zip(old, new, strict=True)}
        if not len(pairs) == len({one for one, _ in pairs}) == len({other for _, other in pairs}):
            return f"its plan versions of {app} within the period are joined or divided"
        for name in ("anchor_day", "grace_hours", "environments"):
            if any(getattr(one[2], name) != getattr(other[2], name) for one, other in zip(old, new, strict=True)):
                return f"{name} of its plan of {app} changes"
        return None

    def _spans(self, catalog: Catalog, customer: str, app: str) -> list[tuple[int, int, Plan]]:
        """Return which plan applies when within the period."""
        start_us, end_us = self._period.start_us, self._period.end_us
        found = []
        for each in catalog.subscriptions.get((customer, app), ()):
            from_us, until_us = max(each.start_us, start_us), _end_us(each, end_us)
            if from_us < until_us:
                found.append((from_us, until_us, each.plan))
        return _joined(found)


def _key(plan: Plan) -> tuple[str, int]:
    return plan.id, plan.version


def _end_us(subscription: Subscription, end_us: int) -> int:
    return end_us if subscription.end_us is None else min(subscription.end_us, end_us)


def _joined(spans: list[tuple[int, int, Plan]]) -> list[tuple[int, int, Plan]]:
    """Join spans that follow each other under one plan version: they are one account (R4.5)."""
    found: list[tuple[int, int, Plan]] = []
    for span in spans:
        if found and found[-1][1] == span[0] and _key(found[-1][2]) == _key(span[2]):
            found[-1] = (found[-1][0], span[1], span[2])
        else:
            found.append(span)
    return found


def _by_customer(catalog: Catalog) -> dict[str, dict[str, Deployment]]:
    found: dict[str, dict[str, Deployment]] = defaultdict(dict)
    for deployment in catalog.deployments.values():
        found[deployment.customer][deployment.id] = deployment
    return found


def _apps(catalog: Catalog) -> dict[str, set[str]]:
    found: dict[str, set[str]] = defaultdict(set)
    for customer, app in catalog.subscriptions:
        found[customer].add(app)
    return found


def repriced_models(old: Catalog, new: Catalog) -> list[tuple[Model, Model | None]]:
    """Return the models whose price changes, or that are gone (None): a line does not say whether it reported its cost."""
    found = []
    for name, model in sorted(old.models.items()):
        other = new.models.get(name)
        if other is None or _prices(model) != _prices(other):
            found.append((model, other))
    return found


def _prices(model: Model) -> tuple[int, int, int]:
    return model.input_pico, model.cached_input_pico, model.output_pico


def may_draw_on(grants: Iterable[Grant], event: UsageEvent, terms: Terms) -> bool:
    """Return whether one of some grants takes what an event uses (R6.4), whenever it is in effect."""
    attributes = attributes_of(event, terms.model)
    return any(
        weight_of(grant.credits, event.unit) is not None and matches(grant.match, attributes) for grant in grants
    )
