"""Name what a case exercises, so that the generator cannot silently stop covering something."""

from collections import Counter
from collections.abc import Iterator
from itertools import pairwise

from tests.model.naive import Result

CODES = ["malformed", "too_large", "invalid_field", "wrong_key", "time_in_future", "unknown_customer"]
CODES += ["unknown_deployment", "wrong_customer", "air_gapped", "id_conflict", "no_subscription", "unknown_price"]
WANTED = {
    *(f"reject {code}" for code in CODES),
    *["whole record malformed", "whole record too_large", "grant malformed", "grant invalid_field"],
    *["grant wrong_key", "grant unknown_customer", "repeated grant id"],
    *["duplicate", "duplicate after exactly 35 days", "accepted again after 35 days"],
    *["late", "late by the exact end of grace", "time at a period's first instant"],
    *(f"kind {kind}" for kind in ("usage", "byok", "non_billable", "failed", "repeat")),
    *["failed charged", "repeat charged", "byok without a price", "model outside the catalog", "imported offline"],
    *(f"allowance per {per}" for per in ("period", "day", "hour")),
    *(f"allowance scope {scope}" for scope in ("customer", "deployment", "workspace")),
    *["allowance weighted", "grant used", "grant weighted", "two pools in one line", "two grants in one line"],
    *["allowance and grant in one line", "pool partly covers"],
    *(f"policy {policy} leaves overage" for policy in ("invoice", "prepaid")),
    *["policy block blocks", "policy prepaid blocks", "wallet goes below 0"],
    *["block budget by quantity cuts", "block budget by amount cuts", "overage and blocked in one line"],
    *["zero quantity included", "zero quantity priced", "zero quantity blocked"],
    *["price margin", "price flat", "price tiers", "price none", "several tiers in one line", "negative margin"],
    *["surcharge", "fraction rounds", "fraction ties", "huge charge", "statement row on half a cent"],
    *(f"alert {what} per {per}" for what in ("allowance", "budget") for per in ("period", "day", "hour")),
    *["several alerts in one line", "record time goes back", "leap day", "migrated line"],
}


def covered(catalog: dict, records: list[dict], result: Result) -> Counter[str]:
    """Count what one rated case exercised."""
    found: Counter[str] = Counter(result.notes)
    topics = {record["offset"]: record["topic"] for record in records}
    for reject in result.rejects:
        grant = topics[reject["offset"]] == "billing.grants"
        found[f"{'grant' if grant else 'reject'} {reject['code']}"] += 1
        if reject["index"] is None:
            found[f"whole record {reject['code']}"] += 1
    for before, after in pairwise(records):
        found["record time goes back"] += after["ts"] < before["ts"]
    air_gapped = {row["id"] for row in catalog["deployments"] if row.get("connectivity") == "air_gapped"}
    subscribed = {(row["customer"], row["plan"], row["version"]) for row in catalog["subscriptions"]}
    for line, fact in zip(result.lines, result.facts, strict=True):
        found["imported offline"] += line["source"] in air_gapped
        found["migrated line"] += (line["customer"], line["plan"], line["plan_version"]) not in subscribed
        found.update(of_fact(fact))
    halves = [row for one in result.statements for row in one["rows"] if row["charge_pico"] % 10**10 == 5 * 10**9]
    found["statement row on half a cent"] += len(halves)
    return found


def of_fact(fact: dict) -> Iterator[str]:
    """Yield what one line exercised."""
    event = fact["event"]
    yield f"kind {fact['kind']}"
    yield "late" if fact["late"] else "in time"
    if (event["time"].month, event["time"].day) == (2, 29):
        yield "leap day"
    if event["time"] == fact["period"]:
        yield "time at a period's first instant"
    if event["model"] == "no-such-model":
        yield (
            "byok without a price"
            if event["route"] == "byok" and event["cost"] is None
            else "model outside the catalog"
        )
    if fact["kind"] in ("failed", "repeat") and fact["charge_pico"]:
        yield f"{fact['kind']} charged"
    if abs(fact["charge_pico"]) > 10**24:
        yield "huge charge"
    if fact["kind"] == "usage":
        yield from of_pools(fact)
        yield from of_rest(fact)
        yield from of_price(fact)
        yield from of_alerts(fact)


def of_pools(fact: dict) -> Iterator[str]:
    """Yield which pools covered the quantity."""
    taken = [take["row"] for take in fact["taken"]]
    kinds = ["grant" if row["into"] == "granted" else "allowance" for row in taken]
    for kind, row in zip(kinds, taken, strict=True):
        if kind == "allowance":
            yield f"allowance per {row.get('per') or 'period'}"
            yield f"allowance scope {row.get('scope') or 'customer'}"
        else:
            yield "grant used"
        if row["weight"] > 1:
            yield f"{kind} weighted"
    if len(taken) > 1:
        yield "two pools in one line"
    if kinds.count("grant") > 1:
        yield "two grants in one line"
    if len(set(kinds)) == 2:
        yield "allowance and grant in one line"
    if taken and fact["overage"] + fact["blocked"]:
        yield "pool partly covers"


def of_rest(fact: dict) -> Iterator[str]:
    """Yield what became of the rest."""
    zero = fact["event"]["quantity"] == 0
    if zero:
        yield (
            "zero quantity included"
            if not fact["rest"]
            else f"zero quantity {'priced' if fact['fraction'] else 'blocked'}"
        )
    elif fact["rest"]:
        if fact["overage"]:
            yield f"policy {fact['policy']} leaves overage"
        if fact["overage"] and fact["blocked"]:
            yield "overage and blocked in one line"
    if fact["rest"] and not fact["open"]:
        yield f"policy {fact['policy']} blocks"
    for form in fact["cut_by"]:
        yield f"block budget by {form} cuts"
    if fact["wallet_after"] < 0 and fact["policy"] == "prepaid":
        yield "wallet goes below 0"


def of_price(fact: dict) -> Iterator[str]:
    """Yield how overage was priced."""
    if not fact["fraction"]:
        return
    row = None if fact["row"] is None else fact["plan"]["prices"][fact["row"]]
    if row is None:
        yield "price none"
    else:
        yield "price margin" if "margin_percent" in row else f"price {'tiers' if 'tiers' in row else 'flat'}"
    if fact["tiers_used"] > 1:
        yield "several tiers in one line"
    if fact["margin_pico"] < 0:
        yield "negative margin"
    if fact["surcharge_pico"]:
        yield "surcharge"
    exact = fact["cost_pico"] * fact["fraction"]
    if exact.denominator > 1:
        yield "fraction ties" if exact.denominator == 2 else "fraction rounds"


def of_alerts(fact: dict) -> Iterator[str]:
    """Yield which alerts fired."""
    if len(fact["alerts"]) > 1:
        yield "several alerts in one line"
    for name, _, _ in fact["alerts"]:
        what, rows = ("allowance", "allowances") if name.startswith("a") else ("budget", "budgets")
        row = next(row for row in fact["plan"][rows] if row["id"] == name)
        yield f"alert {what} per {row.get('per') or 'period'}"
