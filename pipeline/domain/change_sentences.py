"""Why a bill changed, in sentences: what each change adds, biggest first, with counts in the customer's units."""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from pipeline.domain.changes import (
    PARTS,
    Cell,
    ChangeExplanation,
    ChangeSentence,
    Decomposition,
    Extra,
    PartName,
    decompose,
)
from pipeline.domain.changes_cells import Side, UsageGroup
from pipeline.domain.explanations_words import amount_text, cents_text
from pipeline.domain.money import divide_half_even, round_to_cents
from pipeline.domain.words import count_of, plural

SENTENCES_MAX = 8
"""Of one part; what is smaller is summed into one more."""
_PRICE_STEP_PICO = 10**8
"""Average prices are shown with four decimals."""
_LEFT_OVER = {
    "volume": "other changes of volume",
    "mix": "other moves between models and features",
    "allowance": "other units that allowances and grants covered, or did not cover any more",
    "blocked": "other blocked units",
    "price": "other changes of price",
    "cost": "other changes of what calls cost",
    "surcharge": "other changes of surcharges",
}


class _Item(NamedTuple):
    """A change that a sentence is about."""

    part: PartName
    pico: int
    text: str
    workspace: str | None = None
    feature: str | None = None
    unit: str | None = None


def explain_difference(
    customer: str,
    app: str,
    period: str,
    against: str | None,
    old: Iterable[UsageGroup],
    new: Iterable[UsageGroup],
) -> ChangeExplanation:
    """Return why the statement of a period (`new`) differs from that of another (`old`, empty when there is none)."""
    old = tuple(old)
    found = decompose(old, new)
    notes = () if old else (_nothing_before(customer, app, against),)
    return ChangeExplanation(
        customer,
        app,
        period,
        against,
        found.old_cents,
        found.new_cents,
        tuple(_sentences(found)),
        _headline(customer, app, period, against if old else None, found),
        notes,
    )


def _nothing_before(customer: str, app: str, against: str | None) -> str:
    if against is None:
        return f"This is the first period of {customer} with {app}: it is compared with nothing."
    return f"{customer} used nothing of {app} in period {against}: it is compared with nothing."


def _headline(customer: str, app: str, period: str, against: str | None, found: Decomposition) -> str:
    new, old = (cents_text(cents).lstrip("+") for cents in (found.new_cents, found.old_cents))
    if against is None:
        return f"{customer}, {app}: {new} in period {period}."
    change = cents_text(found.difference_cents) if found.difference_cents else "no change of the total"
    return f"{customer}, {app}: {new} in period {period}, {old} in period {against}: {change}."


def _sentences(found: Decomposition) -> Iterator[ChangeSentence]:
    """Yield what each change adds in cents, biggest first, and last what rounding adds."""
    sentences = [sentence for part in PARTS[:-1] for sentence in _of_part(part, found)]
    sentences.sort(key=lambda each: (-abs(each.cents), PARTS.index(each.part), each.text))
    yield from sentences
    rounding = found.difference_cents - sum(each.cents for each in sentences)
    if rounding:
        yield ChangeSentence("rounding", rounding, "rounding to cents, of statement rows and of these parts", 0)


def _of_part(part: PartName, found: Decomposition) -> Iterator[ChangeSentence]:
    """Yield the sentences of a part; what is too small for one of its own is summed into one."""
    items = [item for item in _items(part, found) if item.pico]
    items.sort(key=lambda item: (-abs(item.pico), item.text))
    shown = [item for item in items[:SENTENCES_MAX] if round_to_cents(item.pico)]
    for item in shown:
        yield ChangeSentence(part, round_to_cents(item.pico), item.text, *item[1:2], *item[3:])
    rest_pico = sum(item.pico for item in items[len(shown) :])
    if round_to_cents(rest_pico):
        yield ChangeSentence(part, round_to_cents(rest_pico), _LEFT_OVER.get(part, part), rest_pico)


def _items(part: PartName, found: Decomposition) -> Iterator[_Item]:
    if part in ("late", "at_cost"):
        yield from (_extra(each) for each in found.extras if (part == "late") == (not each.kind))
        return
    cells = [cell for cell in found.cells if part in cell.parts]
    if part in ("volume", "mix"):
        whole = _grouped(found.cells, ("workspace", "unit", "counted"))
        touched = {tuple(cell.key[:3]) for cell in cells}
        say = _volume if part == "volume" else _mix
        yield from (say(group) for names, group in whole.items() if names in touched)
    elif part in ("allowance", "blocked"):
        for group in _grouped(found.cells, ("unit", "counted")).values():
            yield _not_paid(part, group)
    else:
        for group in _grouped(cells if part == "cost" else found.cells, ("feature", "unit", "counted")).values():
            yield _price(part, group)


def _grouped(cells: Iterable[Cell], names: tuple[str, ...]) -> dict[tuple[object, ...], list[Cell]]:
    groups: dict[tuple[object, ...], list[Cell]] = {}
    for cell in cells:
        groups.setdefault(tuple(getattr(cell.key, name) for name in names), []).append(cell)
    return groups


def _sum(cells: Iterable[Cell], part: PartName) -> int:
    return sum(cell.parts.get(part, 0) for cell in cells)


def _volume(cells: list[Cell]) -> _Item:
    key = cells[0].key
    old, new = (sum(getattr(cell, side).quantity for cell in cells) for side in ("old", "new"))
    features: dict[str, int] = {}
    for cell in cells:
        change = cell.new.quantity - cell.old.quantity
        features[cell.key.feature] = features.get(cell.key.feature, 0) + change
    grows = 1 if new > old else -1
    biggest = max(sorted(features), key=lambda name: grows * features[name])
    of_feature = f" ({biggest})" if len(features) == 1 else f" (mostly {biggest})"
    where = f"in workspace {key.workspace}"
    if not old:
        text = f"{count_of(new, key.noun)} {where}, which used none before{of_feature}"
    elif not new:
        text = f"no {plural(key.noun)} any more {where}, {old:,} before{of_feature}"
    else:
        text = f"{_more(old, new, key.noun)} {where}{of_feature}"
    return _Item("volume", _sum(cells, "volume"), text, key.workspace, biggest, key.unit)


def _mix(cells: list[Cell]) -> _Item:
    """Say what moved, from where the most is missing to where the most came."""
    moves = [(cell.new.quantity - cell.scaled, cell) for cell in cells]
    gained = max(moves, key=lambda move: move[0])[1]
    lost = min(moves, key=lambda move: move[0])[1]
    moved = sum(units for units, _ in moves if units > 0)
    text = (
        f"{count_of(moved, gained.key.noun)} in workspace {gained.key.workspace} moved from {_place(lost, gained)} "
        f"to {_place(gained, lost)}"
    )
    if len(cells) > 2:
        text += " and the like"
    return _Item("mix", _sum(cells, "mix"), text, gained.key.workspace, gained.key.feature, gained.key.unit)


def _place(cell: Cell, other: Cell) -> str:
    """Return in what a cell differs from another: its model, its feature or both."""
    key = cell.key
    model = f"{key.model} ({key.model_class})" if key.model_class != other.key.model_class else key.model
    if (key.model, key.model_class) == other.key[4:]:
        return key.feature
    return model if key.feature == other.key.feature else f"{key.feature} with {model}"


def _not_paid(part: PartName, cells: list[Cell]) -> _Item:
    key = cells[0].key
    name = "covered" if part == "allowance" else "blocked"
    old, new = (sum(getattr(getattr(cell, side), name) for cell in cells) for side in ("old", "new"))
    by = "covered by allowances and grants" if part == "allowance" else "blocked, which costs nothing"
    if new == old:
        text = f"as many {plural(key.noun)} were {by}, but others of another price"
    else:
        were = "was" if abs(new - old) == 1 else "were"
        text = f"{_more(old, new, key.noun)} {were} {by} ({new:,} instead of {old:,})"
        worth = sum(cell.price.of(getattr(cell.new, name) + getattr(cell.old, name)) for cell in cells)
        expected = -divide_half_even(worth * (new - old), new + old)
        if 2 * abs(_sum(cells, part) - expected) > abs(expected):
            text += ", and others of another price"
    return _Item(part, _sum(cells, part), text, unit=key.unit)


def _price(part: PartName, cells: list[Cell]) -> _Item:
    """Say what a unit came to on average, and what it would have come to as before."""
    key = cells[0].key
    pico = _sum(cells, part)
    paid = sum(cell.new.paid for cell in cells)
    amount = {"price": "base_pico", "cost": "cost_pico", "surcharge": "surcharge_pico"}[part]
    new_pico = sum(getattr(cell.new, amount) for cell in cells)
    old_pico = sum(_at_old_price(cell, amount) for cell in cells)
    text = f"other prices of {plural(key.noun)} of {key.feature}"
    if paid:
        new_each, old_each = (_average_text(each, paid) for each in (new_pico, old_pico))
        what = {
            "price": f"a {key.noun} of {key.feature} was {{}} on average instead of {{}}{_plans(cells)}",
            "cost": f"the calls behind a {key.noun} of {key.feature} cost {{}} on average instead of {{}}{_tokens(cells)}",
            "surcharge": f"surcharges on a {key.noun} of {key.feature} were {{}} on average instead of {{}}",
        }[part]
        text = what.format(new_each, old_each)
    return _Item(part, pico, text, feature=key.feature, unit=key.unit)


def _at_old_price(cell: Cell, amount: str) -> int:
    """Return what the units that are paid now would have come to as before."""
    if amount == "base_pico":
        return cell.price.base_of(cell.new.paid)
    if amount == "surcharge_pico":
        return cell.price.surcharge_of(cell.new.paid)
    old: Side = cell.old
    return divide_half_even(cell.new.paid * old.cost_pico, old.paid) if old.paid else cell.new.cost_pico


def _average_text(pico: int, units: int) -> str:
    return amount_text(divide_half_even(pico, units * _PRICE_STEP_PICO) * _PRICE_STEP_PICO)


def _plans(cells: list[Cell]) -> str:
    old, new = (
        " and ".join(f"{plan} {version}" for plan, version in sorted(set().union(*(each.plans for each in sides))))
        for sides in ([cell.old for cell in cells], [cell.new for cell in cells])
    )
    return f" (plan {new} instead of {old})" if old != new else " (same plan version: other tiers or price rows)"


def _tokens(cells: list[Cell]) -> str:
    sides = [(sum(side.tokens for side in each), sum(side.quantity for side in each)) for each in _sides(cells)]
    if not all(quantity for _, quantity in sides):
        return ""
    old, new = (divide_half_even(tokens, quantity) for tokens, quantity in sides)
    return f" ({new:,} tokens each instead of {old:,})" if old != new else " (as many tokens, at another price)"


def _sides(cells: list[Cell]) -> tuple[list[Side], list[Side]]:
    return [cell.old for cell in cells], [cell.new for cell in cells]


def _extra(extra: Extra) -> _Item:
    old, new = extra.old_lines, extra.new_lines
    if not extra.kind:
        late = f"usage of earlier periods that came late: {count_of(new, 'line')} here, {old:,} there"
        return _Item("late", extra.pico, late)
    noun = "failed call" if extra.kind == "failed" else "repeated call"
    text = f"{plural(noun)} charged at cost: {new:,}, before {old:,}"
    return _Item("at_cost", extra.pico, text)


def _more(old: int, new: int, noun: str) -> str:
    count = abs(new - old)
    return f"{count:,} {'more' if new > old else 'fewer'} {noun if count == 1 else plural(noun)}"
