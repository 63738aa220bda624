"""Who may do what: the one place that decides (deny by default)."""

from enum import Enum
from typing import NamedTuple

from pipeline.access.keys import Principal
from pipeline.domain.catalog import Catalog


class Action(Enum):
    """What can be asked for."""

    EMIT = "emit usage events"
    READ_QUOTA = "read quota"
    WRITE_GRANTS = "write grants"


class Resource(NamedTuple):
    """What it is asked for: a customer, a deployment of it, or neither."""

    customer: str | None = None
    deployment: str | None = None


def refusal(principal: Principal, action: Action, resource: Resource, catalog: Catalog) -> str | None:
    """Return why a principal may not do something, None when it may.

    The reason names only what the principal knows already: that something else exists is not told.
    """
    if principal.scope == "operator":
        return None
    if action is Action.EMIT and principal.scope == "deployment":
        return _refusal_to_emit(principal, resource, catalog)
    if action is Action.READ_QUOTA:
        return _refusal_to_read(principal, resource, catalog)
    return f"a key of scope {principal.scope} may not {action.value}"


def readable_apps(principal: Principal, catalog: Catalog) -> frozenset[str] | None:
    """Return the apps whose usage a principal may see of a customer that it may read; None for all of them."""
    if principal.scope != "builder":
        return None
    return frozenset(app.id for app in catalog.apps.values() if app.builder == principal.owner)


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
