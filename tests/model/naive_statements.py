"""Statements of SPEC.md R8.1 and R5.4 from lines, for the naive model."""

from fractions import Fraction

SUMMED = ["included", "granted", "overage", "blocked", "charge_pico"]


def statements(lines: list[dict]) -> list[dict]:
    """Return a statement for each (customer, app, period), rows by (feature, unit)."""
    whole = []
    for customer, app, period in sorted({(line["customer"], line["app"], line["period"]) for line in lines}):
        mine = [line for line in lines if (line["customer"], line["app"], line["period"]) == (customer, app, period)]
        rows, total = [], 0
        for feature, unit in sorted({(line["feature"], line["unit"]) for line in mine}):
            of_row = [line for line in mine if (line["feature"], line["unit"]) == (feature, unit)]
            row = {"feature": feature, "unit": unit}
            row["quantity"] = sum(line["quantity"] for line in of_row if line["kind"] == "usage")
            row.update({name: sum(line[name] for line in of_row) for name in SUMMED})
            cents = round(Fraction(row["charge_pico"], 10**10))
            rows.append({**row, "amount": money(cents)})
            total += cents
        whole.append({"customer": customer, "app": app, "period": period, "rows": rows, "total": money(total)})
    return whole


def money(cents: int) -> str:
    """Write cents as an amount with two decimals."""
    sign = "-" if cents < 0 else ""
    return f"{sign}{abs(cents) // 100}.{abs(cents) % 100:02}"
