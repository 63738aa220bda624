"""Statements to be exported, made up by hypothesis from charges."""

from hypothesis import strategies as st

from pipeline.billing.exports.document import Charge, Document, Parties
from pipeline.domain.statements import DetailRow, Statement, StatementRow

NAMES = st.sampled_from(["search", "=cmd|' /C calc'!A0", 'büro, "west"', "<script>alert(1)</script>", "-2+3", "@sum"])
COUNTS = st.integers(0, 10**12)
AMOUNTS = st.integers(-(10**20), 10**20)
PARTIES = Parties("Acme <b>GmbH</b>", "Northwind & Sons", "Platform", "USD")


@st.composite
def charges(draw: st.DrawFn) -> Charge:
    included, granted, overage, blocked = (draw(COUNTS) for _ in range(4))
    return Charge(
        draw(st.sampled_from(["2026-11-03", "2026-11-30"])),
        draw(NAMES),
        draw(st.sampled_from(["document", "query"])),
        *(draw(NAMES) for _ in range(4)),
        draw(st.sampled_from(["usage", "failed"])),
        draw(st.booleans()),
        "team",
        1,
        "0" * 32,
        1,
        included + granted + overage + blocked,
        included,
        granted,
        overage,
        blocked,
        *(draw(COUNTS) for _ in range(3)),
        draw(AMOUNTS),
        draw(AMOUNTS),
    )


@st.composite
def documents(draw: st.DrawFn) -> Document:
    """Draw a document whose statement is the sum of its charges, with detail by workspace."""
    made = tuple(draw(st.lists(charges(), min_size=1, max_size=6)))
    rows = []
    for feature, unit in sorted({(each.feature, each.unit) for each in made}):
        of_row = [each for each in made if (each.feature, each.unit) == (feature, unit)]
        names = sorted({each.workspace for each in of_row})
        parts = tuple(_part(name, [each for each in of_row if each.workspace == name]) for name in names)
        sums = [sum(getattr(part, field) for part in parts) for field in _COUNTED]
        rows.append(StatementRow(feature, unit, *sums, parts))
    statement = Statement("acme", "helpdesk", "2026-11-01", tuple(rows), "workspace", "frozen", 7)
    return Document(statement, PARTIES, made)


_COUNTED = ("quantity", "included", "granted", "overage", "blocked", "charge_pico")


def _part(name: str, made: list[Charge]) -> DetailRow:
    fields = (*_COUNTED, "input_tokens", "cached_input_tokens", "output_tokens")
    return DetailRow(name, *(sum(getattr(each, field) for each in made) for field in fields))
