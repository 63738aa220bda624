"""Who may do what: the one place that decides (deny by default)."""

from collections.abc import Callable
from enum import Enum
from typing import NamedTuple

from pipeline.access.keys import Principal
from pipeline.domain.catalog import Catalog


class Action(Enum):
    """What can be asked for."""

    EMIT = "emit usage events"
    READ_QUOTA = "read quota"
    WRITE_GRANTS = "write grants"
    READ_BILLS = "read statements and usage"
    READ_EARNINGS = "read earnings, payouts and margin risk"
    READ_REWARDS = "read provider rewards"
    OPERATE = "operate the pipeline"


class Resource(NamedTuple):
    """What it is asked for; what is None is not asked for in particular."""

    customer: str | None = None
    deployment: str | None = None
    app: str | None = None
    builder: str | None = None


class Sight(NamedTuple):
    """Whose usage and bills a principal sees; None stands for all."""

    customer: str | None
    apps: frozenset[str] | None


_Rule = Callable[[Principal, Resource, Catalog], str | None]


def refusal(principal: Principal, action: Action, resource: Resource, catalog: Catalog) -> str | None:
    """Return why a principal may not do something, None when it may.

    The reason names only what the principal knows already: that something else exists is not told.
    """
    if principal.scope == "operator":
        return None
    rule = _RULES.get((principal.scope, action))
    if rule is None:
        return f"a key of scope {principal.scope} may not {action.value}"
    return rule(principal, resource, catalog)


def readable_apps(principal: Principal, catalog: Catalog) -> frozenset[str] | None:
    """Return the apps whose usage a principal may see of a customer that it may read; None for all of them."""
    if principal.scope != "builder":
        return None
    return frozenset(app.id for app in catalog.apps.values() if app.builder == principal.owner)


def sight_of(principal: Principal, catalog: Catalog) -> Sight:
    """Return what a principal that may read bills sees of them, when it asks for no customer in particular."""
    return Sight(principal.owner if principal.scope == "customer" else None, readable_apps(principal, catalog))


def sees_costs(principal: Principal) -> bool:
    """Return whether a principal sees what of a charge is cost and what is earned, in what it may read.

    A customer is told its price, not how platform, provider and builder share it.
    """
    return principal.scope in ("builder", "operator")


def _refusal_to_emit(principal: Principal, resource: Resource, catalog: Catalog) -> str | None:
    own = catalog.deployments.get(principal.owner or "")
    if own is None:
        return f"deployment {principal.owner!r} of this key is not in the catalog"
    if resource.deployment != own.id:
        return f"source: this key may emit for deployment {own.id!r} only"
    if resource.customer != own.customer:
        return f"subject: deployment {own.id!r} belongs to customer {own.customer!r}"
    return None


def _refusal_to_read(principal: Principal, resource: Resource, catalog: Catalog) -> str | None:
    """Refuse to read of other customers, and of deployments that are another's or of another builder's app."""
    apps = readable_apps(principal, catalog)
    seen = [
        deployment
        for deployment in catalog.deployments.values()
        if deployment.customer == resource.customer and (apps is None or deployment.app in apps)
    ]
    if not _may_read_customer(principal, resource.customer, catalog, is_customer_of_app=bool(seen)):
        return f"this key may not read the quota of that customer; it is for {principal.scope} {principal.owner!r}"
    if resource.deployment is not None and resource.deployment not in {each.id for each in seen}:
        return f"customer {resource.customer!r} has no such deployment that this key may read"
    return None


def _may_read_customer(
    principal: Principal, customer: str | None, catalog: Catalog, *, is_customer_of_app: bool
) -> bool:
    if customer not in catalog.customers:
        return False
    if principal.scope == "deployment":
        own = catalog.deployments.get(principal.owner or "")
        return own is not None and own.customer == customer
    if principal.scope == "customer":
        return principal.owner == customer
    return principal.scope == "builder" and is_customer_of_app


def _refusal_of_others_bills(principal: Principal, resource: Resource, catalog: Catalog) -> str | None:
    """Refuse a customer's key the bills of others; which apps it has is for its bills to say."""
    if principal.owner in catalog.customers and resource.customer in (None, principal.owner):
        return None
    return _not_these_bills(principal)


def _refusal_of_others_apps(principal: Principal, resource: Resource, catalog: Catalog) -> str | None:
    """Refuse a builder's key other builders' apps, and customers who have none of its own."""
    apps = readable_apps(principal, catalog) or frozenset()
    if resource.app is not None:
        apps &= {resource.app}
    if resource.customer is not None:
        deployed = {each.app for each in catalog.deployments.values() if each.customer == resource.customer}
        subscribed = {app for customer, app in catalog.subscriptions if customer == resource.customer}
        apps &= deployed | subscribed
    return None if apps else _not_these_bills(principal)


def _not_these_bills(principal: Principal) -> str:
    return f"this key may not read these bills; it is for {principal.scope} {principal.owner!r}"


def _refusal_of_others_earnings(principal: Principal, resource: Resource, catalog: Catalog) -> str | None:
    if principal.owner in catalog.builders and resource.builder == principal.owner:
        return None
    return f"this key may not read these earnings; it is for builder {principal.owner!r}"


_RULES: dict[tuple[str, Action], _Rule] = {
    ("deployment", Action.EMIT): _refusal_to_emit,
    ("deployment", Action.READ_QUOTA): _refusal_to_read,
    ("customer", Action.READ_QUOTA): _refusal_to_read,
    ("builder", Action.READ_QUOTA): _refusal_to_read,
    ("customer", Action.READ_BILLS): _refusal_of_others_bills,
    ("builder", Action.READ_BILLS): _refusal_of_others_apps,
    ("builder", Action.READ_EARNINGS): _refusal_of_others_earnings,
}
"""What a scope may do beside the operator's, and within which bounds; what is not here is refused."""
