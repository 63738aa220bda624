"""Rate one accepted event by SPEC.md section 6, for the naive model.

What a line did is kept as a fact: a dict with what it took from which pool, and what it charged. Every balance is the
start minus what the facts before this one took.
"""

from datetime import datetime
from fractions import Fraction
from typing import Any

from tests.model.naive_catalog import Catalog, matches, pico
from tests.model.naive_input import Rejected
from tests.model.naive_time import window_of

ZERO_UNITS = {
    "included": 0,
    "granted": 0,
    "overage": 0,
    "blocked": 0,
    "pools": [],
    "taken": [],
    "row": None,
    "tiers_used": 1,
}
ZERO_MONEY = {"cost_charged_pico": 0, "margin_pico": 0, "surcharge_pico": 0, "charge_pico": 0}


def rate_money(
    event: dict, posted_at: datetime, period: datetime, plan: dict, catalog: Catalog, customer: Any
) -> tuple[dict, list[tuple]]:
    """Return the fact of one event and its alerts (id, scope_value, threshold)."""
    model = catalog.models.get(event["model"])
    fact: dict[str, Any] = {"event": event, "plan": plan, "posted_at": posted_at, "period": period}
    fact["class"] = model["class"] if model else "standard"
    fact["seen"] = {**event, "class": fact["class"], "deployment": event["source"]}  # what a match looks at
    fact["cost_pico"] = cost_of(event, model)
    fact.update(ZERO_UNITS, prepaid=False, budgets=[], **ZERO_MONEY)
    before = [earlier for earlier in customer.facts if same_contract(earlier, fact)]
    fact["kind"] = kind_of(fact, before)
    if fact["kind"] in ("failed", "repeat"):
        policy = plan.get("failed" if fact["kind"] == "failed" else "repeats") or "free"
        if policy == "cost":
            fact["cost_charged_pico"] = fact["charge_pico"] = fact["cost_pico"]
    if fact["kind"] != "usage":
        return fact, []
    waterfall(fact, customer)
    apply_policy(fact, before, customer)
    price(fact, before, customer)
    return fact, alerts_of(fact, before, customer)


def same_contract(one: dict, other: dict) -> bool:
    """Tell whether two facts belong to one (plan, version, period) (R4.5)."""
    return all(
        (one["plan"]["id"], one["plan"]["version"], one["period"])[i]
        == (other["plan"]["id"], other["plan"]["version"], other["period"])[i]
        for i in range(3)
    )


def cost_of(event: dict, model: dict | None) -> int:
    """Return what the provider is owed (R5.2), or raise Rejected."""
    if event["route"] == "byok":
        return 0
    if event["cost"] is not None:
        return event["cost"]
    if model is None:
        raise Rejected("unknown_price")
    per_token = {name: Fraction(model[name]) * 10**12 / 10**6 for name in ("input", "cached_input", "output")}
    exact = sum(event[f"{name}_tokens"] * each for name, each in per_token.items())
    assert exact.denominator == 1
    return int(exact)


def kind_of(fact: dict, before: list[dict]) -> str:
    """Return the first kind that holds (R6.2)."""
    event, environments = fact["event"], fact["plan"].get("environments")
    if event["route"] == "byok":
        return "byok"
    if environments is not None and event["environment"] not in environments:
        return "non_billable"
    if event["status"] == "failed":
        return "failed"
    for earlier in before:
        same = all(earlier["event"][name] == event[name] for name in ("source", "operation", "unit"))
        if event["operation"] is not None and same and earlier["kind"] == "usage" and earlier["event"]["quantity"] >= 1:
            return "repeat"
    return "usage"


def scope_value(row: dict, fact: dict) -> str:
    """Return what one pool or budget of this row is kept for (R4.2)."""
    scope = row.get("scope") or "customer"
    return "" if scope == "customer" else fact["seen"][scope]


def key_of(what: str, row: dict, fact: dict) -> tuple:
    """Name one window of one allowance or budget (R4.2, R4.5)."""
    plan = fact["plan"]
    window = window_of(fact["posted_at"], fact["period"], row.get("per") or "period")
    return (what, plan["id"], plan["version"], fact["period"], row["id"], scope_value(row, fact), window)


def pools_of(fact: dict, customer: Any) -> list[dict]:
    """Return the matching pools in the order of R6.4, each with its balance."""
    unit, moment = fact["event"]["unit"], fact["posted_at"]
    pools = [
        {**row, "key": key_of("allowance", row, fact), "start": row["included"], "into": "included"}
        for row in fact["plan"].get("allowances") or []
    ]
    grants = [
        gift
        for gift in customer.gifts
        if gift["type"] == "grant"
        and gift["effective_at"] <= moment
        and (gift["expires_at"] is None or moment < gift["expires_at"])
    ]
    last = datetime.max.replace(tzinfo=moment.tzinfo)
    grants.sort(key=lambda gift: (gift["priority"], gift["expires_at"] or last, gift["id"]))
    pools += [{**row, "key": ("grant", row["id"]), "start": row["quantity"], "into": "granted"} for row in grants]
    matching = []
    for pool in pools:
        credit = pool.get("credits")
        weight = 1 if credit is None else credit.get(unit)
        if weight is not None and matches(pool.get("match"), fact["seen"]):
            balance = pool["start"] - used(pool["key"], customer)
            matching.append({**pool, "weight": weight, "balance": balance})
    return matching


def used(key: tuple, customer: Any) -> int:
    """Return what was ever taken from one window of a pool."""
    return sum(take["amount"] for fact in customer.facts for take in fact["taken"] if take["key"] == key)


def waterfall(fact: dict, customer: Any) -> None:
    """Cover the quantity from allowances, then grants (R6.4); `rest` is what is left (R6.6 included)."""
    quantity = rest = fact["event"]["quantity"]
    fact["taken"], fact["pools"] = [], []
    pools = pools_of(fact, customer)
    for pool in pools:
        units = min(rest, pool["balance"] // pool["weight"])
        if units > 0:
            rest -= units
            fact[pool["into"]] += units
            fact["taken"].append({"key": pool["key"], "amount": units * pool["weight"], "row": pool})
            where = pool["key"][5] if pool["into"] == "included" else ""
            fact["pools"].append({"id": pool["id"], "scope_value": where, "units": units})
    fact["rest"] = rest
    if quantity == 0 and not any(pool["balance"] // pool["weight"] >= 1 for pool in pools):
        fact["rest"] = 1  # R6.6: as if one unit were left


def apply_policy(fact: dict, before: list[dict], customer: Any) -> None:
    """Split what is left into overage and blocked, and set the fraction (R6.5, R6.6)."""
    overage_rules = fact["plan"].get("overage") or {}
    policy = overage_rules.get(fact["event"]["unit"]) or overage_rules.get("default") or "invoice"
    fact["prepaid"] = policy == "prepaid"
    fact["policy"] = policy
    overage = fact["rest"]
    if policy == "block" or (policy == "prepaid" and wallet(customer) <= 0):
        overage = 0
    fact["open"], fact["cut_by"] = overage, []
    for row in fact["plan"].get("budgets") or []:
        if not matches(row.get("match"), fact["seen"]):
            continue
        key = key_of("budget", row, fact)
        fact["budgets"] = [*fact["budgets"], {"key": key, "row": row}]
        left = overage
        if row["action"] == "block" and row.get("quantity") is not None:
            left = min(overage, row["quantity"] - spent(key, before, "overage"))
        elif row["action"] == "block" and spent(key, before, "charge_pico") >= pico(row["amount"]):
            left = 0
        if left < overage:
            fact["cut_by"] = [*fact["cut_by"], "amount" if row.get("quantity") is None else "quantity"]
        overage = left
    if fact["event"]["quantity"] == 0:
        fact["fraction"] = Fraction(overage)
        return
    fact["overage"] = overage
    fact["blocked"] = fact["rest"] - overage
    fact["fraction"] = Fraction(overage, fact["event"]["quantity"])


def spent(key: tuple, before: list[dict], what: str) -> int:
    """Return how much of a budget's window the lines before this one used."""
    return sum(fact[what] for fact in before if any(budget["key"] == key for budget in fact["budgets"]))


def wallet(customer: Any) -> int:
    """Return the prepaid money left: topups less the charges of prepaid lines (R2.5, R6.8)."""
    paid_in = sum(gift["amount"] for gift in customer.gifts if gift["type"] == "topup")
    return paid_in - sum(fact["charge_pico"] for fact in customer.facts if fact["prepaid"])


def price(fact: dict, before: list[dict], customer: Any) -> None:
    """Set cost_charged, margin, surcharge and charge (R6.7)."""
    overage = fact["overage"]
    cost_charged = round(fact["cost_pico"] * fact["fraction"])  # a Fraction rounds half to even
    margin = 0
    for number, row in enumerate(fact["plan"].get("prices") or []):
        if not matches(row.get("match"), fact["seen"]):
            continue
        if row.get("margin_percent") is not None:
            margin = round(cost_charged * Fraction(row["margin_percent"]) / 100)
        else:
            priced = sum(earlier["overage"] for earlier in before if earlier["row"] == number)
            tiers = row.get("tiers") or [{"price": row["price"]}]
            margin = graduated(tiers, priced + overage) - graduated(tiers, priced) - cost_charged
            tops = [tier["up_to"] for tier in tiers if tier.get("up_to") is not None]
            fact["tiers_used"] = 1 + sum(priced < top < priced + overage for top in tops)
        fact["row"] = number
        break
    surcharge = 0
    for row in fact["plan"].get("surcharges") or []:
        if matches(row.get("match"), fact["seen"]):
            surcharge += pico(row.get("per_unit") or "0") * overage
            surcharge += round(Fraction(row.get("percent_of_cost") or "0") * cost_charged / 100)
    fact["cost_charged_pico"], fact["margin_pico"], fact["surcharge_pico"] = cost_charged, margin, surcharge
    fact["charge_pico"] = cost_charged + margin + surcharge
    fact["wallet_after"] = wallet(customer) - (fact["charge_pico"] if fact["prepaid"] else 0)


def graduated(tiers: list[dict], units: int) -> int:
    """Return the price of the first so many units of a period, tier by tier."""
    total = below = 0
    for tier in tiers:
        top = units if tier.get("up_to") is None else min(units, tier["up_to"])
        if top > below:
            total += (top - below) * pico(tier["price"])
            below = top
    return total


def alerts_of(fact: dict, before: list[dict], customer: Any) -> list[tuple]:
    """Return the thresholds that this line is the first to reach (R6.10), and remember them."""
    alerts = []
    shares = [  # (key, row, used including this line, limit)
        (take["key"], take["row"], used(take["key"], customer) + take["amount"], take["row"]["start"])
        for take in fact["taken"]
        if take["row"]["into"] == "included"
    ]
    for budget in fact["budgets"]:
        key, row = budget["key"], budget["row"]
        if row.get("quantity") is not None:
            shares.append((key, row, spent(key, before, "overage") + fact["overage"], row["quantity"]))
        if row.get("amount") is not None:
            shares.append((key, row, spent(key, before, "charge_pico") + fact["charge_pico"], pico(row["amount"])))
    for key, row, now, limit in shares:
        thresholds = row["alerts"] if row.get("alerts") is not None else [80, 100]
        for threshold in sorted(set(thresholds)):
            if limit > 0 and now * 100 >= threshold * limit and (key, threshold) not in customer.fired:
                customer.fired.append((key, threshold))
                alerts.append((row["id"], key[5], threshold))
    return alerts
