"""Compare two ratings of one journal and name the first difference."""

from collections import defaultdict
from typing import Any


def assert_same(expected: Any, got: Any) -> None:
    """Fail with the first difference between two results (lines, rejects, alerts, statements).

    Lines and alerts are compared in order within a customer, in no order across customers; rejects in order within
    a record offset, in no order across them; statements in order.
    """
    difference = first_difference(expected, got)
    assert difference is None, difference


def first_difference(expected: Any, got: Any) -> str | None:
    """Return the first difference in words, or None."""
    parts = [
        ("line", expected.lines, got.lines, "customer", "seq"),
        ("reject", expected.rejects, got.rejects, "offset", "index"),
        ("alert", expected.alerts, got.alerts, "customer", "seq"),
        ("statement", expected.statements, got.statements, "customer", "period"),
    ]
    for what, wanted, found, group, name in parts:
        difference = grouped_difference(what, list(wanted), list(found), group, name)
        if difference:
            return difference
    return None


def grouped_difference(what: str, wanted: list[dict], found: list[dict], group: str, name: str) -> str | None:
    """Compare two lists of rows group by group."""
    want_by, found_by = by_group(wanted, group), by_group(found, group)
    for value in sorted(set(want_by) | set(found_by), key=str):
        left, right = want_by.get(value, []), found_by.get(value, [])
        for number in range(max(len(left), len(right))):
            where = f"{what} {number + 1} of {group} {value!r}"
            if number >= len(left):
                return f"{where}: one too many: {right[number]}"
            if number >= len(right):
                return f"{where}: missing: {left[number]}"
            if left[number] != right[number]:
                named = f"{where} ({name} {left[number].get(name)!r})"
                return f"{named}: {field_difference(left[number], right[number])}\nexpected {left[number]}\ngot      {right[number]}"
    return None


def field_difference(left: Any, right: Any, path: str = "") -> str:
    """Name the first field in which two rows differ."""
    if isinstance(left, dict) and isinstance(right, dict):
        for key in [*left, *(key for key in right if key not in left)]:
            if key not in left or key not in right:
                return f"field {path}{key}: only {'got' if key in right else 'expected'}"
            if left[key] != right[key]:
                return field_difference(left[key], right[key], f"{path}{key}.")
    if isinstance(left, list) and isinstance(right, list):
        for number, (one, other) in enumerate(zip(left, right, strict=False)):
            if one != other:
                return field_difference(one, other, f"{path}{number}.")
        return f"field {path.rstrip('.')}: expected {len(left)} entries, got {len(right)}"
    return f"field {path.rstrip('.')}: expected {left!r}, got {right!r}"


def by_group(rows: list[dict], group: str) -> dict[Any, list[dict]]:
    """Sort rows into groups, order kept within."""
    groups: dict[Any, list[dict]] = defaultdict(list)
    for row in rows:
        groups[row[group]].append(row)
    return groups
