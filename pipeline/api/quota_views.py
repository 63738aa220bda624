"""What a caller is shown of a customer's quota."""

from dataclasses import replace
from typing import Any

import msgspec

from pipeline.codec.catalog_view import encode_view
from pipeline.codec.quota import decision_as_dict, decode_quota, encode_quota
from pipeline.domain.catalog import Catalog
from pipeline.domain.decisions import Decision
from pipeline.domain.instants import format_instant
from pipeline.domain.quota import QuotaRecord
from pipeline.domain.statements import format_exact

Apps = frozenset[str] | None
"""Of a builder, to whom only they are shown; None = all."""
_NAMES = {"pico": "amount", "left_pico": "left_amount"}
"""Of decimal amounts whose name is not that of the integer without `_pico`."""


def shown_view(catalog: Catalog, customer: str, apps: Apps) -> bytes:
    """Return what of the catalog concerns a customer, as JSON."""
    if apps is not None:
        catalog = replace(
            catalog,
            apps={name: app for name, app in catalog.apps.items() if name in apps},
            deployments={name: each for name, each in catalog.deployments.items() if each.app in apps},
        )
    return encode_view(catalog, [customer])


def shown_record(value: bytes, catalog: Catalog, apps: Apps) -> bytes:
    """Return a quota record as JSON, without what belongs to apps that are not the caller's. Raises ValueError.

    The wallet and the grants are the customer's for all its apps; they decide about each.
    """
    return value if apps is None else encode_quota(_of_apps(decode_quota(value), catalog, apps))


def _of_apps(record: QuotaRecord, catalog: Catalog, apps: frozenset[str]) -> QuotaRecord:
    plans = {key for key, plan in catalog.plans.items() if plan.app in apps}
    deployments = {name for name, deployment in catalog.deployments.items() if deployment.app in apps}
    return msgspec.structs.replace(
        record,
        accounts=[each for each in record.accounts if (each.plan, each.plan_version) in plans],
        held=[each for each in record.held if each.request.deployment in deployments],
        answers=[each for each in record.answers if each.source in deployments],
    )


def shown_decision(decision: Decision) -> dict[str, Any]:
    """Return a decision as JSON values: beside each integer of money and of time the same for people (R5.3)."""
    shown: dict[str, Any] = _readable(decision_as_dict(decision))
    return shown


def _readable(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return [_readable(each) for each in value]
    if not isinstance(value, dict):
        return value
    shown = {}
    for name, each in value.items():
        shown[name] = _readable(each)
        if name.endswith("pico"):
            shown[_NAMES.get(name) or name.removesuffix("_pico")] = None if each is None else format_exact(each)
        elif name.endswith("_us"):
            shown[name.removesuffix("_us")] = None if each is None else format_instant(each)
    return shown
