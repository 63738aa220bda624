"""What a unit of a cell was worth in the old statement: the yardstick for volume, mix, allowance and blocked units.

Where a unit has a price of its own, models and workspaces whose prices overlap share the average: a tier is reached by all
of them together, and which of them came later means nothing. Where the price is a percentage on the cost, each has its own.
What was not paid before has the old price of its feature and unit, if there is one, else its own new one.
"""

from collections.abc import Mapping
from typing import NamedTuple

from pipeline.domain.changes_cells import CellKey, PriceRange, Side
from pipeline.domain.money import divide_half_even

_SHARE_ROUNDING = 2
"""Millionths of the cost by which a margin of one percentage may differ from line to line."""
_Family = tuple[str, str, bool]


class UnitPrice(NamedTuple):
    """An average price: base and surcharge, each as picodollars for so many units."""

    base_pico: int
    base_units: int
    surcharge_pico: int
    surcharge_units: int
    pooled: bool = False
    """Shared with others, as a unit has a price of its own."""

    def of(self, units: int, divisor: int = 1) -> int:
        """Return the price of units / divisor, in picodollars."""
        base = divide_half_even(units * self.base_pico, self.base_units * divisor)
        return base + divide_half_even(units * self.surcharge_pico, self.surcharge_units * divisor)

    def base_of(self, units: int) -> int:
        """Return the price of units without surcharges."""
        return divide_half_even(units * self.base_pico, self.base_units)

    def surcharge_of(self, units: int) -> int:
        """Return the surcharges on units."""
        return divide_half_even(units * self.surcharge_pico, self.surcharge_units)


UNPRICED = UnitPrice(0, 1, 0, 1)
"""Of a cell of which nothing is paid in either statement."""


def unit_prices(old: Mapping[CellKey, Side], new: Mapping[CellKey, Side]) -> dict[CellKey, UnitPrice]:
    """Return what a unit of each cell is worth; cells that are missing are unpriced."""
    before, after = _side_prices(old), _side_prices(new)
    shared_before, shared_after = _shared(before), _shared(after)
    found = {}
    for key in old.keys() | new.keys():
        own, later = before.get(key), after.get(key)
        shared = shared_before.get(_family(key))
        if own is None and later is not None and shared is not None:
            own = shared._replace(surcharge_pico=later.surcharge_pico, surcharge_units=later.surcharge_units)
        price = own or later or shared or shared_after.get(_family(key))
        if price is not None:
            found[key] = price
    return found


def follows_cost(old: Side, new: Side, old_pico: int, new_pico: int) -> bool:
    """Return whether an amount is the same share of the cost on both sides, within the rounding of each line (R6.7)."""
    if old.cost_pico <= 0 or new.cost_pico <= 0:
        return False
    apart = abs(new_pico * old.cost_pico - old_pico * new.cost_pico)
    return 2 * apart <= new.lines * old.cost_pico + old.lines * new.cost_pico


def _side_prices(side: Mapping[CellKey, Side]) -> dict[CellKey, UnitPrice]:
    """Return the prices in one statement, of the cells of which something was paid."""
    families: dict[_Family, list[CellKey]] = {}
    for key in sorted(side):
        if side[key].paid:
            families.setdefault(_family(key), []).append(key)
    found: dict[CellKey, UnitPrice] = {}
    for keys in families.values():
        by_cost = [key for key in keys if _is_by_cost(side[key])]
        found |= {key: _price(side, key, [key], pooled=False) for key in by_cost}
        for pool in _overlapping(side, [key for key in keys if key not in by_cost]):
            found |= {key: _price(side, key, pool, pooled=True) for key in pool}
    return found


def _is_by_cost(cell: Side) -> bool:
    """Return whether the lines have one margin in percent of their cost, and not one price."""
    if cell.unit_price is None or cell.margin_share is None:
        return True
    share, price = cell.margin_share, cell.unit_price
    return share.greatest - share.least <= _SHARE_ROUNDING and price.least < price.greatest


def _overlapping(side: Mapping[CellKey, Side], keys: list[CellKey]) -> list[list[CellKey]]:
    """Return cells in pools: those in one pool have unit prices whose ranges overlap, from one to the next."""
    pools: list[list[CellKey]] = []
    reach = 0
    for (least, greatest), key in sorted((side[key].unit_price or PriceRange(0, 0), key) for key in keys):
        if pools and least <= reach:
            pools[-1].append(key)
            reach = max(reach, greatest)
        else:
            pools.append([key])
            reach = greatest
    return pools


def _price(side: Mapping[CellKey, Side], key: CellKey, pool: list[CellKey], *, pooled: bool) -> UnitPrice:
    base_pico = sum(side[each].base_pico for each in pool)
    units = sum(side[each].paid for each in pool)
    return UnitPrice(base_pico, units, side[key].surcharge_pico, side[key].paid, pooled)


def _shared(prices: Mapping[CellKey, UnitPrice]) -> dict[_Family, UnitPrice]:
    """Return the price of each feature and unit that has one and the same for all, without surcharges."""
    families: dict[_Family, set[UnitPrice]] = {}
    for key, price in prices.items():
        families.setdefault(_family(key), set()).add(price._replace(surcharge_pico=0, surcharge_units=1))
    return {
        family: price for family, several in families.items() if len(several) == 1 for price in several if price.pooled
    }


def _family(key: CellKey) -> _Family:
    return key.feature, key.unit, key.counted
