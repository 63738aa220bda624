"""The catalog of SPEC.md section 4 as the naive model reads it."""

from datetime import UTC, datetime
from fractions import Fraction

from tests.model.naive_input import Rejected
from tests.model.naive_time import midnight

FOR_EVER = datetime.max.replace(tzinfo=UTC)


def pico(amount: str) -> int:
    """Return an amount of the currency in picodollars (R5.1)."""
    exact = Fraction(amount) * 10**12
    assert exact.denominator == 1, amount
    return exact.numerator


class Catalog:
    """A plain catalog with its rows found by id."""

    def __init__(self, plain: dict):
        self.models = {row["id"]: row for row in plain.get("models") or []}
        self.apps = {row["id"]: row for row in plain.get("apps") or []}
        self.customers = {row["id"]: row for row in plain.get("customers") or []}
        self.deployments = {row["id"]: row for row in plain.get("deployments") or []}
        self.plans = {
            (row["id"], row["version"]): {"anchor_day": 1, "grace_hours": 72, **row} for row in plain.get("plans") or []
        }
        self.subscriptions = migrated(plain.get("subscriptions") or [], plain.get("migrations") or [])

    def subscription(self, customer: str, app: str, moment: datetime) -> dict:
        """Return the one subscription that applies (R4.3), or raise Rejected."""
        for row in self.subscriptions:
            if row["customer"] == customer and self.plan(row)["app"] == app and row["start"] <= moment < row["end"]:
                return row
        raise Rejected("no_subscription")

    def plan(self, subscription: dict) -> dict:
        """Return the plan version of a subscription."""
        return self.plans[subscription["plan"], subscription["version"]]


def migrated(subscriptions: list[dict], migrations: list[dict]) -> list[dict]:
    """Cut each subscription in two where a migration moves it (R4.3)."""
    rows = []
    for row in subscriptions:
        end = midnight(row["end"]) if row.get("end") is not None else FOR_EVER
        rows.append({**row, "start": midnight(row["start"]), "end": end})
    for move in sorted(migrations, key=lambda row: midnight(row["effective"])):
        effective = midnight(move["effective"])
        after = []
        for row in rows:
            listed = move["customers"] == "all" or row["customer"] in move["customers"]
            meant = (row["plan"], row["version"]) == (move["plan"], move["from"])
            if listed and meant and row["start"] <= effective < row["end"]:
                after.append({**row, "end": effective})
                after.append({**row, "start": effective, "version": move["to"]})
            else:
                after.append(row)
        rows = after
    return rows


def matches(match: dict | None, facts: dict) -> bool:
    """Tell whether all keys of a match hold; absent or empty means everything (R4.2)."""
    return all(not values or facts[key] in values for key, values in (match or {}).items())
