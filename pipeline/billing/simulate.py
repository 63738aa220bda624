"""What a simulation reads from ClickHouse: the lines of a period, as numbers, and the bills that they make (R7.1, R8.1)."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from clickhouse_connect.driver.client import Client

from pipeline.domain.catalog import Catalog, Model
from pipeline.domain.grants import Grant
from pipeline.domain.resim import Bills, Sums, bill_of
from pipeline.rating.resim_lines import KINDS, LATE, LineRating, Rows, ShapeOf
from pipeline.rating.resim_log import Fingerprint, History

PART_LINES = 100_000
"""Customers are read together until they have so many lines."""
_BLOCK_ROWS = 65_536
_TRIES = 5
_NAMES_MAX = 100
"""Customers that one query names: they travel in its address."""
_SHAPE = "cityHash64(source, environment, workspace, feature, model, unit, catalog)"
_ROW = np.dtype(
    [("shape", "<u8"), ("posted", "<i8"), ("quantity", "<u8"), ("cost", "<u8"), ("cost_high", "<i8"), ("code", "u1")]
)
"""A row as RowBinary has it; an Int128 is two words, the low one first."""

_CUSTOMERS = """
SELECT customer, count() FROM usage.usage_lines FINAL
WHERE period = {period:Date} AND (empty({customers:Array(String)}) OR customer IN {customers:Array(String)})
GROUP BY customer ORDER BY customer
"""
_PERIODS = """
SELECT toString(period) FROM usage.usage_lines GROUP BY period ORDER BY period DESC LIMIT 12
"""
_VERSIONS = """
SELECT catalog FROM usage.usage_lines FINAL
WHERE period = {period:Date} AND (empty({customers:Array(String)}) OR customer IN {customers:Array(String)})
GROUP BY catalog ORDER BY max(posted_at), catalog
"""
_WHERE = "period = {period:Date} AND customer >= {first:String} AND customer <= {last:String}"
_SUMS = f"""
SELECT
    {_SHAPE} AS shape, customer, app, builder, plan, plan_version, source, environment, workspace, feature, model, unit,
    count(), sum(overage), sum(blocked), toString(sum(toInt256(charge_pico))), toString(sum(toInt256(builder_earnings_pico)))
FROM usage.usage_lines FINAL
WHERE {_WHERE}
GROUP BY shape, customer, app, builder, plan, plan_version, source, environment, workspace, feature, model, unit
"""  # noqa: S608 - nothing of a user's is in it
_ROWS = f"""
SELECT
    {_SHAPE},
    toUnixTimestamp64Micro(posted_at),
    quantity,
    cost_pico,
    toUInt8(transform(toString(kind), {list(KINDS)!r}, {list(range(len(KINDS)))!r}, 255) + if(late, {LATE}, 0))
FROM usage.usage_lines FINAL
WHERE {_WHERE}
ORDER BY customer, seq
"""  # noqa: S608 - nothing of a user's is in it
_SAME_COST = """
SELECT DISTINCT customer FROM usage.usage_lines FINAL
WHERE period = {period:Date} AND model = {model:String} AND kind != 'byok' AND catalog IN {versions:Array(String)}
    AND (empty({customers:Array(String)}) OR customer IN {customers:Array(String)})
    AND cost_pico = toInt128(input_tokens) * toInt128({input:String})
        + toInt128(cached_input_tokens) * toInt128({cached:String}) + toInt128(output_tokens) * toInt128({output:String})
    AND ({gone:Bool} OR cost_pico != toInt128(input_tokens) * toInt128({new_input:String})
        + toInt128(cached_input_tokens) * toInt128({new_cached:String})
        + toInt128(output_tokens) * toInt128({new_output:String}))
"""


_CHANGES = """
SELECT customer, seq, catalog
FROM (
    SELECT customer, seq, catalog, lagInFrame(catalog, 1, '-') OVER (PARTITION BY customer ORDER BY seq) AS before
    FROM usage.usage_lines FINAL WHERE customer IN {customers:Array(String)}
)
WHERE catalog != before
ORDER BY customer, seq
"""
_FINGERPRINTS = """
SELECT
    customer, count(), toString(sum(toUInt256(version))), toString(sum(toUInt256(version) * seq)),
    toString(sum(toInt256(charge_pico) * toInt256(seq)))
FROM usage.usage_lines FINAL WHERE customer IN {customers:Array(String)} GROUP BY customer
"""
_LINE_VERSIONS = "SELECT seq, version FROM usage.usage_lines FINAL WHERE customer = {customer:String}"


class MovingError(Exception):
    """Lines of the period came in faster than they could be read."""


@dataclass(frozen=True, slots=True)
class Part:
    """Customers that are simulated together: all from `first` to `last` that have lines in the period."""

    period: str
    first: str
    last: str
    lines: int


@dataclass(frozen=True, slots=True)
class PartResult:
    """What became of a part."""

    old: Bills
    new: Bills
    """Of those whose lines say enough."""
    obstacles: Mapping[str, str]
    """Why those of the others do not."""
    lines: int


def read_customers(client: Client, period: str, customers: Sequence[str]) -> list[tuple[str, int]]:
    """Return who has lines in a period, in order, and how many; of all customers when none is named."""
    found = client.query(_CUSTOMERS, parameters={"period": period, "customers": list(customers)})
    return [(name, count) for name, count in found.result_rows]


def read_periods(client: Client) -> list[str]:
    """Return the latest periods that have lines."""
    return [period for (period,) in client.query(_PERIODS).result_rows]


def read_versions_of_lines(client: Client, period: str, customers: Sequence[str]) -> list[str]:
    """Return the digests of the catalog versions that rated the lines of a period, the latest last (R10.4).

    '' stands for lines from before lines named it.
    """
    found = client.query(_VERSIONS, parameters={"period": period, "customers": list(customers)})
    return [digest for (digest,) in found.result_rows]


def parts_of(period: str, customers: Sequence[tuple[str, int]], lines_max: int = PART_LINES) -> list[Part]:
    """Cut customers into parts of about so many lines, the largest first."""
    parts: list[Part] = []
    first, lines = "", 0
    for number, (name, count) in enumerate(customers):
        first = first or name
        lines += count
        if lines >= lines_max or number == len(customers) - 1:
            parts.append(Part(period, first, name, lines))
            first, lines = "", 0
    return sorted(parts, key=lambda part: -part.lines)


def customers_of_unclear_cost(
    client: Client, period: str, customers: Sequence[str], versions: Sequence[str], model: Model, new: Model | None
) -> set[str]:
    """Return whose lines cost what the model's tokens do, and would cost another amount at its new price.

    Such a line does not say whether the cost was reported, and stays, or worked out (R5.2). `new` is None for a model that
    is gone.
    """
    after = new or model
    parameters: dict[str, Any] = {
        "period": period,
        "customers": list(customers),
        "versions": list(versions),
        "model": model.id,
        "gone": new is None,
        "input": str(model.input_pico),
        "cached": str(model.cached_input_pico),
        "output": str(model.output_pico),
        "new_input": str(after.input_pico),
        "new_cached": str(after.cached_input_pico),
        "new_output": str(after.output_pico),
    }
    return {name for (name,) in client.query(_SAME_COST, parameters=parameters).result_rows}


def read_histories(client: Client, customers: Collection[str]) -> dict[str, tuple[History, Fingerprint]]:
    """Return which catalog version rated which lines of customers, in all periods, and what tells their ratings apart."""
    found = {name: (History(), Fingerprint()) for name in customers}
    names = sorted(customers)
    for start in range(0, len(names), _NAMES_MAX):
        parameters = {"customers": names[start : start + _NAMES_MAX]}
        for name, seq, digest in client.query(_CHANGES, parameters=parameters).result_rows:
            found[name][0].starts.append(seq)
            found[name][0].digests.append(digest)
        for name, lines, *sums in client.query(_FINGERPRINTS, parameters=parameters).result_rows:
            found[name] = found[name][0], Fingerprint(lines, *map(int, sums))
    return found


def read_line_versions(client: Client, customer: str) -> dict[int, int]:
    """Return the version of each of a customer's lines, by number."""
    rows = client.query(_LINE_VERSIONS, parameters={"customer": customer}).result_rows
    return {seq: version for seq, version in rows}  # noqa: C416 - typed


def simulate_part(
    client: Client, part: Part, new: Catalog, grants: Mapping[str, Sequence[Grant]], left_out: frozenset[str]
) -> PartResult:
    """Rate the lines of a part under a catalog; customers that are `left_out` have an old bill only.

    Raises MovingError when lines keep coming in between two looks.
    """
    parameters = {"period": part.period, "first": part.first, "last": part.last}
    for _ in range(_TRIES):
        old, shapes, counts = _read_sums(client, parameters)
        if all(of.customer in left_out for of in shapes.values()):
            return PartResult(old, {}, {}, sum(counts.values()))
        rating = LineRating(new, grants)
        rating.expect(shapes, left_out)
        try:
            for rows in _blocks(client, parameters):
                rating.rate(rows)
        except KeyError:
            continue
        if rating.counts() == counts:
            return PartResult(old, rating.bills(), rating.obstacles(), sum(counts.values()))
    raise MovingError(f"lines of {part.period} keep coming in: simulate it once the sink stands still")


def _read_sums(client: Client, parameters: dict[str, Any]) -> tuple[Bills, dict[int, ShapeOf], dict[int, int]]:
    """Return the bills as they are, what the numbers of shapes mean, and how many lines each has."""
    bills: Bills = {}
    shapes: dict[int, ShapeOf] = {}
    counts: dict[int, int] = {}
    for (
        number,
        customer,
        app,
        builder,
        plan,
        version,
        *shape,
        lines,
        overage,
        blocked,
        charge,
        earnings,
    ) in client.query(_SUMS, parameters=parameters).result_rows:
        of = ShapeOf(customer, app, tuple(shape))
        if shapes.setdefault(number, of) != of:
            raise RuntimeError(f"two shapes of lines have the same hash {number}: {of} and {shapes[number]}")
        counts[number] = counts.get(number, 0) + lines
        bill = bill_of(bills, customer, app)
        bill.builder = builder
        bill.plans.add((plan, version))
        bill.row(of.shape[3], of.shape[5]).add(Sums(lines, overage, blocked, int(charge), int(earnings)))
    return bills, shapes, counts


def _blocks(client: Client, parameters: dict[str, Any]) -> Iterator[Rows]:
    """Yield the lines of a part by customer and seq."""
    with client.raw_stream(_ROWS, parameters=parameters, fmt="RowBinary") as stream:
        rest = b""
        while content := stream.read(_BLOCK_ROWS * _ROW.itemsize):
            content = rest + content
            whole = len(content) // _ROW.itemsize * _ROW.itemsize
            rest = content[whole:]
            if whole:
                yield _rows(np.frombuffer(content, _ROW, whole // _ROW.itemsize))
    if rest:
        raise RuntimeError("ClickHouse's answer ends within a row")


def _rows(block: Any) -> Rows:
    costs = block["cost"].tolist()
    high = block["cost_high"]
    if high.any():
        costs = [low + (above << 64) for low, above in zip(costs, high.tolist(), strict=True)]
    return Rows(
        block["shape"].tolist(), block["posted"].tolist(), block["quantity"].tolist(), costs, block["code"].tolist()
    )
