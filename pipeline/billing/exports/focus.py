"""A statement as FOCUS 1.4 cost and usage rows (docs/exports.md maps every column)."""

from collections.abc import Iterator
from itertools import groupby

from pipeline.billing.exports.document import CENT_PICO, Charge, Document, decimal_of
from pipeline.billing.exports.sheets import Cell, sheet
from pipeline.domain.instants import DAY_US, day_start_us, format_instant
from pipeline.domain.money import round_to_cents
from pipeline.domain.periods import Period
from pipeline.domain.statements import USAGE
from pipeline.domain.words import count_of, plural

_COSTS = ("BilledCost", "ContractedCost", "EffectiveCost", "ListCost")
_TEXTS = {
    "x_Catalog": "catalog",
    "x_Environment": "environment",
    "x_Feature": "feature",
    "x_Kind": "kind",
    "x_Model": "model",
    "x_Plan": "plan",
    "x_Unit": "unit",
    "x_Workspace": "workspace",
}
_COUNTS = {
    "x_Blocked": "blocked",
    "x_CachedInputTokens": "cached_input_tokens",
    "x_Granted": "granted",
    "x_Included": "included",
    "x_InputTokens": "input_tokens",
    "x_Lines": "lines",
    "x_OutputTokens": "output_tokens",
    "x_Overage": "overage",
    "x_PlanVersion": "plan_version",
    "x_Quantity": "quantity",
}
"""Columns of ours, and the field of a charge that each shows."""
COLUMNS = (
    "BilledCost",
    "BillingAccountId",
    "BillingAccountName",
    "BillingCurrency",
    "BillingPeriodEnd",
    "BillingPeriodStart",
    "ChargeCategory",
    "ChargeClass",
    "ChargeDescription",
    "ChargeFrequency",
    "ChargePeriodEnd",
    "ChargePeriodStart",
    "ConsumedQuantity",
    "ConsumedUnit",
    "ContractedCost",
    "EffectiveCost",
    "HostProviderName",
    "InvoiceIssuerName",
    "ListCost",
    "PricingQuantity",
    "PricingUnit",
    "ResourceId",
    "ResourceName",
    "ResourceType",
    "ServiceCategory",
    "ServiceName",
    "ServiceProviderName",
    "ServiceSubcategory",
    "SkuId",
    "SkuMeter",
    "SkuPriceDetails",
    "SkuPriceId",
    "SubAccountId",
    "SubAccountName",
    *sorted([*_TEXTS, *_COUNTS, "x_App", "x_Late", "x_StatementState", "x_Surcharge"]),
)
"""FOCUS's in alphabetical order, then ours."""
_NUMBERS = frozenset({*_COSTS, *_COUNTS, "ConsumedQuantity", "PricingQuantity", "x_Surcharge"})
_KINDS = {
    "byok": "with the customer's own key",
    "non_billable": "in an environment that is not billed",
    "failed": "failed",
    "repeat": "repeated",
}


def to_focus(document: Document) -> bytes:
    """Return the document's charges as CSV, whose BilledCost sums to the total of the statement that they make up."""
    return sheet(COLUMNS, focus_rows(document), _NUMBERS)


def focus_rows(document: Document) -> Iterator[dict[str, Cell]]:
    """Yield a row a charge and, for each statement row, one for what rounding it to the cent adds (R5.4)."""
    shared = _shared(document)
    charges = sorted(document.charges, key=lambda charge: (charge.feature, charge.unit))
    for (feature, unit), of_row in groupby(charges, key=lambda charge: (charge.feature, charge.unit)):
        exact_pico = 0
        for charge in of_row:
            exact_pico += charge.charge_pico
            yield shared | _usage(document, charge)
        if rounding_pico := round_to_cents(exact_pico) * CENT_PICO - exact_pico:
            yield shared | _rounding(document.period, feature, unit, rounding_pico)


def _shared(document: Document) -> dict[str, Cell]:
    statement, parties, period = document.statement, document.parties, document.period
    return {
        "BillingAccountId": statement.customer,
        "BillingAccountName": parties.customer_name,
        "BillingCurrency": parties.currency,
        "BillingPeriodEnd": _instant(period.end_us),
        "BillingPeriodStart": _instant(period.start_us),
        "HostProviderName": parties.builder_name,
        "InvoiceIssuerName": parties.issuer,
        "ServiceCategory": "AI and Machine Learning",
        "ServiceName": statement.app,
        "ServiceProviderName": parties.builder_name,
        "ServiceSubcategory": "Generative AI",
        "x_App": statement.app,
        "x_StatementState": statement.state,
    }


def _usage(document: Document, charge: Charge) -> dict[str, Cell]:
    day_us = day_start_us(charge.day)
    sku = f"{document.statement.app}/{charge.feature}/{charge.unit}"
    measured = plural(charge.unit).capitalize()
    of_charge: dict[str, Cell] = {name: getattr(charge, field) for name, field in (_TEXTS | _COUNTS).items()}
    costs: dict[str, Cell] = dict.fromkeys(_COSTS, decimal_of(charge.charge_pico))
    return (
        costs
        | of_charge
        | {
            "ChargeCategory": "Usage",
            "ChargeDescription": _description(charge),
            "ChargeFrequency": "Usage-Based",
            "ChargePeriodEnd": _instant(day_us + DAY_US),
            "ChargePeriodStart": _instant(day_us),
            "ConsumedQuantity": charge.quantity,
            "ConsumedUnit": measured,
            "PricingQuantity": charge.overage,
            "PricingUnit": measured,
            "ResourceId": charge.deployment,
            "ResourceName": charge.deployment,
            "ResourceType": "Deployment",
            "SkuId": sku,
            "SkuMeter": charge.feature,
            "SkuPriceId": sku,
            "SubAccountId": charge.workspace,
            "SubAccountName": charge.workspace,
            "x_Late": "true" if charge.late else "false",
            "x_Surcharge": decimal_of(charge.surcharge_pico),
        }
    )


def _rounding(period: Period, feature: str, unit: str, pico: int) -> dict[str, Cell]:
    costs: dict[str, Cell] = dict.fromkeys(_COSTS, decimal_of(pico))
    return costs | {
        "ChargeCategory": "Adjustment",
        "ChargeDescription": f"{feature}, {plural(unit)}: rounding of the period's charges to the cent",
        "ChargeFrequency": "One-Time",
        "ChargePeriodEnd": _instant(period.end_us),
        "ChargePeriodStart": _instant(period.start_us),
        "x_Feature": feature,
        "x_Unit": unit,
    }


def _description(charge: Charge) -> str:
    if charge.kind != USAGE:
        calls = count_of(charge.lines, "call")
        return f"{charge.feature}: {calls} {_KINDS.get(charge.kind, charge.kind)}"
    return f"{charge.feature} in workspace {charge.workspace}: {count_of(charge.quantity, charge.unit)}, {charge.overage:,} paid"


def _instant(us: int) -> str:
    return f"{format_instant(us)[:19]}Z"
