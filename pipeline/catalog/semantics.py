"""Checks what holds between the values of a catalog: tiers, dates, overlaps, migrations, single values."""

from collections.abc import Iterator, Sequence
from itertools import pairwise

from pipeline.catalog.faults import Fault
from pipeline.catalog.positions import YamlFile
from pipeline.catalog.rows import plan_key, rows_of
from pipeline.catalog.terms import Move, Term, day_us, moves_of, signed_terms
from pipeline.domain.instants import format_instant

_SINGLE_KEYS = ("currency", "platform_fee_percent", "payouts")


def semantic_faults(name: str, files: Sequence[YamlFile]) -> list[Fault]:
    """Return the faults of meaning; `name` is the catalog's own path."""
    return [
        *_single_values(name, files),
        *_tier_faults(files),
        *_empty_subscriptions(files),
        *_migration_faults(files),
        *_conflicting_moves(moves_of(rows_of(files, "migrations"))),
        *_overlaps(files),
    ]


def _single_values(name: str, files: Sequence[YamlFile]) -> Iterator[Fault]:
    readable = [file for file in files if isinstance(file.root, dict)]
    if len(readable) == len(files) and not any("currency" in file.root for file in files):
        place = files[0].mark(())
        hint = "write three capital letters such as USD"
        yield Fault(name if len(files) > 1 else files[0].name, *place, "currency", "is missing", hint)
    for key in _SINGLE_KEYS:
        holders = [file for file in readable if key in file.root]
        for file in holders[1:]:
            if file.root[key] != holders[0].root[key]:
                other = f"{holders[0].name}:{holders[0].mark((key,)).line}"
                yield file.fault((key,), f"differs from the one in {other}", "keep one of them")


def _tier_faults(files: Sequence[YamlFile]) -> Iterator[Fault]:
    for plan in rows_of(files, "plans"):
        for price_row in plan.rows("prices"):
            tiers = price_row.rows("tiers")
            for tier in tiers[:-1]:
                if "up_to" not in tier.value:
                    yield tier.fault(("up_to",), "is missing", "only the last tier goes on without end")
            if tiers and "up_to" in tiers[-1].value:
                hint = "leave it out: the last tier prices all further units"
                yield tiers[-1].fault(("up_to",), "stands in the last tier", hint)
            for lower, upper in pairwise(tiers):
                low, high = lower.whole("up_to"), upper.whole("up_to")
                if low is not None and high is not None and high <= low:
                    yield upper.fault(("up_to",), f"{high} does not rise above {low}", "put the tiers in rising order")


def _empty_subscriptions(files: Sequence[YamlFile]) -> Iterator[Fault]:
    for row in rows_of(files, "subscriptions"):
        start_us, end_us = day_us(row, "start"), day_us(row, "end")
        if start_us is not None and end_us is not None and end_us <= start_us:
            hint = "the end is the first day that is no longer covered, so it lies after the start"
            yield row.fault(("end",), f"{row.text('end')} does not lie after the start {row.text('start')}", hint)


def _migration_faults(files: Sequence[YamlFile]) -> Iterator[Fault]:
    apps = _plan_apps(files)
    for row in rows_of(files, "migrations"):
        left, entered = plan_key(row, "from", "plan"), plan_key(row, "to", "plan")
        if left is None or entered is None:
            continue
        if left == entered:
            yield row.fault(("to",), "is the version that is left", "name the version to move to")
        elif left in apps and entered in apps and apps[left] != apps[entered]:
            message = f"version {entered[1]} is of app {apps[entered]}, version {left[1]} of app {apps[left]}"
            yield row.fault(("to",), message, "a migration stays within one app: give the other app's plan its own id")


def _plan_apps(files: Sequence[YamlFile]) -> dict[tuple[str, int], str]:
    apps: dict[tuple[str, int], str] = {}
    for row in rows_of(files, "plans"):
        key, app = plan_key(row), row.text("app")
        if key is not None and app is not None:
            apps.setdefault(key, app)
    return apps


def _conflicting_moves(moves: Sequence[Move]) -> Iterator[Fault]:
    """Yield the migrations that share a customer with another one from the same version on the same day.

    On different days they apply in order: the later one takes who is on that version by then.
    """
    by_left: dict[tuple[str, int, int], list[Move]] = {}
    for move in moves:
        earlier = by_left.setdefault((move.plan, move.from_version, move.effective_us), [])
        other = next((each for each in earlier if _share_a_customer(each, move)), None)
        if other is not None:
            message = f"the migration at {other.row.place()} moves customers named here from this version on this day"
            yield move.row.fault(("customers",), message, "let one migration of a day move each customer")
        earlier.append(move)


def _share_a_customer(one: Move, other: Move) -> bool:
    if one.customers is None or other.customers is None:
        return True
    return not one.customers.isdisjoint(other.customers)


def _overlaps(files: Sequence[YamlFile]) -> Iterator[Fault]:
    """Yield the subscriptions that begin within another one of the same customer and app (R4.3).

    As they are signed: a migration splits a subscription and stays within its app, so it cannot add an overlap.
    """
    apps = _plan_apps(files)
    grouped: dict[tuple[str, str], list[Term]] = {}
    for term in signed_terms(rows_of(files, "subscriptions")):
        app = apps.get((term.plan, term.version))
        if app is not None:
            grouped.setdefault((term.customer, app), []).append(term)
    for app_of_customer, terms in grouped.items():
        terms.sort(key=lambda term: term.start_us)
        longest = terms[0]
        for term in terms[1:]:
            if longest.holds(term.start_us):
                yield _overlap(*app_of_customer, longest, term)
            if _ends_later(term, longest):
                longest = term


def _ends_later(term: Term, other: Term) -> bool:
    return other.end_us is not None and (term.end_us is None or term.end_us > other.end_us)


def _overlap(customer: str, app: str, earlier: Term, later: Term) -> Fault:
    day = format_instant(later.start_us)[:10]
    message = f"overlaps the subscription at {earlier.signed.place()} of customer {customer} and app {app} from {day}"
    hint = f"end one on {day} at the latest" if earlier.start_us < later.start_us else "remove one, or set its end"
    return later.signed.fault(("start",), message, hint)
