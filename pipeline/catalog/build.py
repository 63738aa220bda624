"""The domain's catalog from rows that have been checked."""

from collections.abc import Sequence
from typing import Any

from pipeline.catalog.document import canonical_document, digest_of, read_document
from pipeline.catalog.positions import YamlFile
from pipeline.catalog.rows import rows_of
from pipeline.catalog.terms import moves_of, terms_in_force
from pipeline.domain.catalog import (
    DEFAULT_ALERTS,
    DEFAULT_GRACE_HOURS,
    STANDARD_CLASS,
    Allowance,
    App,
    Budget,
    Catalog,
    Deployment,
    Match,
    Model,
    PayoutTerms,
    Plan,
    PriceRow,
    Subscription,
    Surcharge,
    Tier,
)
from pipeline.domain.money import PICO_DECIMALS, parse_decimal

_MODEL_PRICE_DECIMALS = 6
"""A price per 10^6 tokens with 6 decimals is a whole number of picodollars per token."""


def build_catalog(files: Sequence[YamlFile]) -> Catalog:
    """Return the catalog of files without faults, migrations applied (R4.1 to R4.3)."""
    plans = {(value["id"], value["version"]): _plan(value) for value in _values(files, "plans")}
    names = {section: _names(files, section) for section in ("builders", "customers")}
    return Catalog(
        currency=_single(files, "currency"),
        platform_fee_percent_pico=_decimal(_single(files, "platform_fee_percent")),
        models={value["id"]: _model(value) for value in _values(files, "models")},
        builders=names["builders"],
        apps={value["id"]: App(value["id"], value["builder"]) for value in _values(files, "apps")},
        customers=names["customers"],
        deployments={value["id"]: _deployment(value) for value in _values(files, "deployments")},
        plans=plans,
        subscriptions=_subscriptions(files, plans),
        payouts=_payout_terms(_single(files, "payouts") or {}),
        digest=digest_of(canonical_document(files)),
    )


def catalog_of_document(document: bytes) -> Catalog:
    """Return the catalog of a document that was checked before it was published (R10.4). Raises ValueError."""
    return build_catalog([read_document(document)])


def _values(files: Sequence[YamlFile], section: str) -> list[dict[str, Any]]:
    return [row.value for row in rows_of(files, section)]


def _single(files: Sequence[YamlFile], key: str) -> Any:
    return next((file.root[key] for file in files if key in file.root), None)


def _names(files: Sequence[YamlFile], section: str) -> dict[str, str]:
    return {value["id"]: value.get("name", value["id"]) for value in _values(files, section)}


def _decimal(value: str | int | None, decimals: int = PICO_DECIMALS) -> int:
    return 0 if value is None else parse_decimal(str(value), decimals=decimals)


def _model(value: dict[str, Any]) -> Model:
    prices = [_decimal(value[key], _MODEL_PRICE_DECIMALS) for key in ("input", "cached_input", "output")]
    return Model(value["id"], value["provider"], value.get("class", STANDARD_CLASS), *prices)


def _deployment(value: dict[str, Any]) -> Deployment:
    return Deployment(value["id"], value["customer"], value["app"], value.get("connectivity") == "air_gapped")


def _plan(value: dict[str, Any]) -> Plan:
    environments = value.get("environments")
    return Plan(
        id=value["id"],
        version=value["version"],
        app=value["app"],
        anchor_day=value.get("anchor_day", 1),
        grace_hours=value.get("grace_hours", DEFAULT_GRACE_HOURS),
        environments=None if environments is None else frozenset(environments),
        allowances=tuple(_allowance(row) for row in value.get("allowances", ())),
        overage=dict(value.get("overage", {})),
        prices=tuple(_price_row(row) for row in value.get("prices", ())),
        surcharges=tuple(_surcharge(row) for row in value.get("surcharges", ())),
        budgets=tuple(_budget(row) for row in value.get("budgets", ())),
        failed=value.get("failed", "free"),
        repeats=value.get("repeats", "free"),
    )


def _payout_terms(value: dict[str, Any]) -> PayoutTerms:
    return PayoutTerms(value.get("hold_days", PayoutTerms().hold_days), _decimal(value.get("minimum")))


def _match(value: dict[str, Any]) -> Match:
    return {key: frozenset(accepted) for key, accepted in value.get("match", {}).items() if accepted}


def _alerts(value: dict[str, Any]) -> tuple[int, ...]:
    return tuple(sorted({*value.get("alerts", DEFAULT_ALERTS)}))


def _allowance(value: dict[str, Any]) -> Allowance:
    return Allowance(
        id=value["id"],
        included=value["included"],
        scope=value.get("scope", "customer"),
        per=value.get("per", "period"),
        match=_match(value),
        credits=dict(value["credits"]) if "credits" in value else None,
        alerts=_alerts(value),
    )


def _price_row(value: dict[str, Any]) -> PriceRow:
    if "margin_percent" in value:
        return PriceRow(_match(value), _decimal(value["margin_percent"]))
    if "price" in value:
        return PriceRow(_match(value), tiers=(Tier(None, _decimal(value["price"])),))
    tiers = tuple(Tier(tier.get("up_to"), _decimal(tier["price"])) for tier in value["tiers"])
    return PriceRow(_match(value), tiers=tiers)


def _surcharge(value: dict[str, Any]) -> Surcharge:
    return Surcharge(
        value["id"], _match(value), _decimal(value.get("per_unit")), _decimal(value.get("percent_of_cost"))
    )


def _budget(value: dict[str, Any]) -> Budget:
    return Budget(
        id=value["id"],
        blocks=value["action"] == "block",
        amount_pico=_decimal(value["amount"]) if "amount" in value else None,
        quantity=value.get("quantity"),
        scope=value.get("scope", "customer"),
        per=value.get("per", "period"),
        match=_match(value),
        alerts=_alerts(value),
    )


def _subscriptions(
    files: Sequence[YamlFile], plans: dict[tuple[str, int], Plan]
) -> dict[tuple[str, str], tuple[Subscription, ...]]:
    terms = terms_in_force(rows_of(files, "subscriptions"), moves_of(rows_of(files, "migrations")))
    grouped: dict[tuple[str, str], list[Subscription]] = {}
    for term in sorted(terms, key=lambda term: term.start_us):
        plan = plans[term.plan, term.version]
        subscription = Subscription(term.customer, plan, term.start_us, term.end_us)
        grouped.setdefault((term.customer, plan.app), []).append(subscription)
    return {key: tuple(each) for key, each in grouped.items()}
