"""What of a catalog a gate must know to answer for some customers, as JSON: no other customer, no fee, no name is in it."""

from collections.abc import Iterable

import msgspec

from pipeline.domain.catalog import App, Catalog, Deployment, Model, Plan, Subscription

SCHEMA = 1


class _Subscribed(msgspec.Struct, array_like=True):
    customer: str
    plan: str
    version: int
    start_us: int
    end_us: int | None


class _CatalogView(msgspec.Struct):
    schema: int
    currency: str
    customers: list[str]
    models: list[Model]
    apps: list[App]
    deployments: list[Deployment]
    plans: list[Plan]
    subscriptions: list[_Subscribed]


_encode = msgspec.json.Encoder(order="deterministic").encode
_decode = msgspec.json.Decoder(_CatalogView).decode


def encode_view(catalog: Catalog, customers: Iterable[str]) -> bytes:
    """Return what of a catalog concerns some customers."""
    named = sorted(set(customers) & catalog.customers.keys())
    wanted = set(named)
    subscriptions = [
        each for customer in named for app in catalog.apps for each in catalog.subscriptions.get((customer, app), ())
    ]
    plans = {(each.plan.id, each.plan.version): each.plan for each in subscriptions}
    apps = {plan.app for plan in plans.values()}
    return _encode(
        _CatalogView(
            SCHEMA,
            catalog.currency,
            named,
            list(catalog.models.values()),
            [app for app in catalog.apps.values() if app.id in apps],
            [each for each in catalog.deployments.values() if each.customer in wanted],
            list(plans.values()),
            [
                _Subscribed(each.customer, each.plan.id, each.plan.version, each.start_us, each.end_us)
                for each in subscriptions
            ],
        )
    )


def decode_view(value: bytes) -> Catalog:
    """Return the catalog that a view shows; it decides and prices like the whole one, and can pay nobody out.

    Raises ValueError for one that we cannot read.
    """
    try:
        view = _decode(value)
    except msgspec.MsgspecError as error:
        raise ValueError(f"a catalog view cannot be read: {error}") from None
    if view.schema != SCHEMA:
        raise ValueError(f"a catalog view has schema {view.schema}, we read {SCHEMA}: update this program")
    plans = {(plan.id, plan.version): plan for plan in view.plans}
    subscriptions: dict[tuple[str, str], tuple[Subscription, ...]] = {}
    for each in view.subscriptions:
        plan = plans[each.plan, each.version]
        key = (each.customer, plan.app)
        subscription = Subscription(each.customer, plan, each.start_us, each.end_us)
        subscriptions[key] = (*subscriptions.get(key, ()), subscription)
    return Catalog(
        currency=view.currency,
        platform_fee_percent_pico=0,
        models={model.id: model for model in view.models},
        builders={},
        apps={app.id: app for app in view.apps},
        customers=dict.fromkeys(view.customers, ""),
        deployments={deployment.id: deployment for deployment in view.deployments},
        plans=plans,
        subscriptions=subscriptions,
    )
