"""Margin risk: what a vendor's customers cost against what they pay by use, and who needs a plan change.

The licence is not in the pipeline: what use does not pay for, it has to carry.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Literal

from pipeline.domain.explanations_words import cents_text, listed, tenths_text
from pipeline.domain.money import round_to_cents
from pipeline.domain.statements import format_exact

Level = Literal["act", "watch", "fine"]
Flag = Literal["uncovered", "below_cost", "heavy", "growing"]
LEVELS: tuple[Level, ...] = ("act", "watch", "fine")
MONTHS = 3
"""Of the trend, the month at hand included."""
HEAVY_TIMES = 3
"""Heavy costs so many times what the median customer of the app costs."""
HEAVY_CUSTOMERS_MIN = 3
"""With fewer customers in an app a median says nothing."""
GROWING_PERCENT = 20
"""Growing has at least so much more included cost than the month before, in each month of the trend."""
KINDS = ("usage", "failed", "repeat", "non_billable")
"""The kinds of lines whose cost may be charged to nobody; that of `byok` lines is 0."""


@dataclass(frozen=True, slots=True)
class MonthSums:
    """Lines of one kind of a (builder, app, customer) in a calendar month, by posting time. Amounts in picodollars."""

    builder: str
    app: str
    customer: str
    month: str
    kind: str
    lines: int
    blocked: int
    cost_pico: int
    cost_charged_pico: int
    charge_pico: int
    earnings_pico: int


@dataclass(slots=True)
class Month:
    """A customer of an app in one month; amounts in picodollars."""

    lines: int = 0
    blocked: int = 0
    cost_pico: int = 0
    """What all calls cost, whoever pays."""
    cost_charged_pico: int = 0
    """What of it was charged, and is owed to providers (R6.9)."""
    charge_pico: int = 0
    earnings_pico: int = 0
    carried_pico: dict[str, int] = field(default_factory=dict)
    """Kind of line to the cost of it that was charged to nobody."""

    def add(self, sums: MonthSums) -> None:
        """Add lines of one kind."""
        self.lines += sums.lines
        self.blocked += sums.blocked
        self.cost_pico += sums.cost_pico
        self.cost_charged_pico += sums.cost_charged_pico
        self.charge_pico += sums.charge_pico
        self.earnings_pico += sums.earnings_pico
        carried = sums.cost_pico - sums.cost_charged_pico
        self.carried_pico[sums.kind] = self.carried_pico.get(sums.kind, 0) + carried

    @property
    def included_pico(self) -> int:
        """Return the cost that was charged to nobody."""
        return self.cost_pico - self.cost_charged_pico

    @property
    def gap_pico(self) -> int:
        """Return what the licence has to carry: cost less charge; below zero, use pays for itself."""
        return self.cost_pico - self.charge_pico


@dataclass(frozen=True, slots=True)
class Margin:
    """A customer of an app in the month, with the trend and what is to be said about it."""

    builder: str
    app: str
    customer: str
    customer_name: str
    trend: tuple[tuple[str, Month], ...]
    """Month to sums, oldest first; the last is the month at hand."""
    median: tuple[int, int] | None
    """Cost of the median customer of the app, as numerator and denominator; None when it is 0."""
    flags: tuple[Flag, ...]
    level: Level
    sentence: str

    @property
    def month(self) -> Month:
        """Return the sums of the month at hand."""
        return self.trend[-1][1]

    @property
    def ratio(self) -> tuple[int, int] | None:
        """Return cost against the median customer's as an exact fraction."""
        if self.median is None:
            return None
        return self.month.cost_pico * self.median[1], self.median[0]

    def as_dict(self) -> dict[str, Any]:
        """Return the row as JSON."""
        month = self.month
        ratio = self.ratio
        return {
            "builder": self.builder,
            "app": self.app,
            "customer": self.customer,
            "customer_name": self.customer_name,
            "level": self.level,
            "flags": list(self.flags),
            "sentence": self.sentence,
            "lines": month.lines,
            "blocked": month.blocked,
            **_amounts("cost", month.cost_pico),
            **_amounts("provider_reward", month.cost_charged_pico),
            **_amounts("revenue", month.charge_pico),
            **_amounts("builder_earnings", month.earnings_pico),
            **_amounts("included_cost", month.included_pico),
            "included_cost_by_kind_pico": {kind: month.carried_pico.get(kind, 0) for kind in KINDS},
            **_amounts("gap", month.gap_pico),
            "times_median": None if ratio is None else tenths_text(*ratio),
            "times_median_exact": None if ratio is None else f"{ratio[0]}/{ratio[1]}",
            "trend": [
                {"month": name, **_amounts("cost", each.cost_pico), **_amounts("revenue", each.charge_pico)}
                | _amounts("gap", each.gap_pico)
                for name, each in self.trend
            ],
        }


@dataclass(frozen=True, slots=True)
class MarginReport:
    """The customers of a month, the riskiest first."""

    month: str
    currency: str
    rows: tuple[Margin, ...]

    def by_app(self) -> list[list[Margin]]:
        """Return the rows of each builder's app, the customer that costs most first."""
        apps: dict[tuple[str, str], list[Margin]] = {}
        for row in sorted(self.rows, key=lambda row: (-row.month.cost_pico, row.customer)):
            apps.setdefault((row.builder, row.app), []).append(row)
        return [rows for _, rows in sorted(apps.items())]

    def as_dict(self) -> dict[str, Any]:
        """Return the report as JSON; `totals` are the sums of the rows, `apps` name the heaviest customer of each."""
        months = [row.month for row in self.rows]
        return {
            "month": self.month,
            "currency": self.currency,
            "rows": [row.as_dict() for row in self.rows],
            "apps": [_app_dict(rows) for rows in self.by_app()],
            "totals": {
                "lines": sum(each.lines for each in months),
                **_amounts("cost", sum(each.cost_pico for each in months)),
                **_amounts("provider_reward", sum(each.cost_charged_pico for each in months)),
                **_amounts("revenue", sum(each.charge_pico for each in months)),
                **_amounts("builder_earnings", sum(each.earnings_pico for each in months)),
                **_amounts("included_cost", sum(each.included_pico for each in months)),
                **_amounts("gap", sum(each.gap_pico for each in months)),
            },
        }


def margins_of(
    months: Sequence[str], currency: str, names: Mapping[str, str], sums: Iterable[MonthSums]
) -> MarginReport:
    """Return the report of the last of some months, oldest first; the others are for the trend.

    `names` are those of customers, by id.
    """
    found: dict[tuple[str, str, str], dict[str, Month]] = {}
    for each in sums:
        by_month = found.setdefault((each.builder, each.app, each.customer), {name: Month() for name in months})
        by_month[each.month].add(each)
    current = {key: by_month for key, by_month in found.items() if by_month[months[-1]].lines}
    costs: dict[tuple[str, str], list[int]] = {}
    for (builder, app, _), by_month in current.items():
        costs.setdefault((builder, app), []).append(by_month[months[-1]].cost_pico)
    rows = [
        _margin(key, names.get(key[2], key[2]), by_month, costs[key[:2]], currency) for key, by_month in current.items()
    ]
    rows.sort(key=lambda row: (LEVELS.index(row.level), -row.month.gap_pico, row.builder, row.app, row.customer))
    return MarginReport(months[-1], currency, tuple(rows))


def _margin(
    key: tuple[str, str, str], name: str, by_month: dict[str, Month], costs: list[int], currency: str
) -> Margin:
    trend = tuple(by_month.items())
    median = _median(costs)
    flags = tuple(_flags([month for _, month in trend], median, len(costs)))
    level = _level(flags)
    sentence = _sentence(name, key[1], trend, median, flags, level, currency)
    return Margin(*key, name, trend, median, flags, level, sentence)


def _median(costs: list[int]) -> tuple[int, int] | None:
    """Return the median as a fraction: of an even count, the mean of the two in the middle."""
    ordered, middle = sorted(costs), len(costs) // 2
    median = (ordered[middle], 1) if len(costs) % 2 else (ordered[middle - 1] + ordered[middle], 2)
    return median if median[0] > 0 else None


def _flags(trend: list[Month], median: tuple[int, int] | None, customers: int) -> Iterator[Flag]:
    month = trend[-1]
    if month.gap_pico > 0:
        yield "uncovered"
    if month.earnings_pico < 0:
        yield "below_cost"
    if (
        median is not None
        and customers >= HEAVY_CUSTOMERS_MIN
        and month.cost_pico * median[1] >= HEAVY_TIMES * median[0]
    ):
        yield "heavy"
    if all(
        old.included_pico > 0 and new.included_pico * 100 >= old.included_pico * (100 + GROWING_PERCENT)
        for old, new in pairwise(trend)
    ):
        yield "growing"


def _level(flags: Sequence[Flag]) -> Level:
    """Return `act` for who is sold below cost, or carried by the licence and heavy or growing; `watch` for who is carried."""
    if "below_cost" in flags or ("uncovered" in flags and ("heavy" in flags or "growing" in flags)):
        return "act"
    return "watch" if "uncovered" in flags else "fine"


def _sentence(
    name: str,
    app: str,
    trend: tuple[tuple[str, Month], ...],
    median: tuple[int, int] | None,
    flags: Sequence[Flag],
    level: Level,
    currency: str,
) -> str:
    month = trend[-1][1]
    texts = [f"{name} cost {_money(month.cost_pico, currency)} and paid {_money(month.charge_pico, currency)} by use"]
    if "uncovered" in flags:
        texts.append(f"the licence carries {_money(month.gap_pico, currency)}")
    if "below_cost" in flags:
        texts.append(f"its paid usage is sold {_money(-month.earnings_pico, currency)} below cost")
    if "heavy" in flags and median is not None:
        times = tenths_text(month.cost_pico * median[1], median[0])
        texts.append(f"it costs {times} times what the median customer of {app} costs")
    if "growing" in flags:
        texts.append(f"its included cost grew by {listed([_growth(*pair) for pair in pairwise(trend)])}")
    needs = {"act": " It needs another plan.", "watch": "", "fine": ""}[level]
    return f"{'; '.join(texts)}.{needs}"


def _growth(old: tuple[str, Month], new: tuple[str, Month]) -> str:
    percent = tenths_text((new[1].included_pico - old[1].included_pico) * 100, old[1].included_pico)
    return f"{percent} % in {new[0]}"


def _money(pico: int, currency: str) -> str:
    return f"{cents_text(round_to_cents(pico)).lstrip('+')} {currency}"


def _app_dict(rows: list[Margin]) -> dict[str, Any]:
    shown = rows[0].as_dict()
    names = ("builder", "app", "times_median", "times_median_exact", "cost", "cost_pico")
    return {name: shown[name] for name in names} | {"customers": len(rows), "heaviest": rows[0].customer}


def _amounts(name: str, pico: int) -> dict[str, Any]:
    return {name: format_exact(pico), f"{name}_pico": pico}
