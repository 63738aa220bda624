"""The waterfall over allowances and grants (R6.4)."""

from collections.abc import Iterator

import msgspec

from pipeline.domain.alerts import Alert
from pipeline.domain.events import UsageEvent
from pipeline.domain.lines import PoolUse
from pipeline.domain.state import Account, CustomerState, GrantPool
from pipeline.domain.tariffs import PoolSlot, Tariff
from pipeline.domain.terms import attributes_of, matches, weight_of


class Cover(msgspec.Struct):
    """What pools cover of a quantity. `coverable` says whether any matching pool could cover at least one unit (R6.6)."""

    rest: int
    included: int
    granted: int
    coverable: bool
    pools: list[tuple[PoolSlot, int, int]]
    """Allowances, the units that each covers, and what one unit costs it."""
    grants: list[tuple[GrantPool, int, int]]
    """Grants, the units that each covers, and what one unit costs it."""


def cover(state: CustomerState, account: Account, tariff: Tariff, event: UsageEvent, posted_us: int) -> Cover:
    """Return what the matching pools cover of an event, in order, without taking it yet (R6.4)."""
    rest = event.quantity
    coverable = False
    pools = []
    for slot, weight in tariff.pools:
        if not slot.start_us <= posted_us < slot.end_us:
            slot.enter(account, posted_us)
        affordable = (slot.included - slot.used.balance) // weight
        if affordable > 0:
            coverable = True
            units = min(affordable, rest)
            if units:
                rest -= units
                pools.append((slot, units, weight))
    covered = Cover(rest, event.quantity - rest, 0, coverable, pools, [])
    if state.grants:
        _cover_by_grants(covered, state, tariff, event, posted_us)
    return covered


def _cover_by_grants(covered: Cover, state: CustomerState, tariff: Tariff, event: UsageEvent, posted_us: int) -> None:
    for pool, weight in grants_in_effect(state, tariff, event, posted_us):
        affordable = pool.balance // weight
        if affordable > 0:
            covered.coverable = True
            units = min(affordable, covered.rest)
            if units:
                covered.rest -= units
                covered.granted += units
                covered.grants.append((pool, units, weight))


def grants_in_effect(
    state: CustomerState, tariff: Tariff, event: UsageEvent, posted_us: int
) -> Iterator[tuple[GrantPool, int]]:
    """Yield the grants that an event may draw on, each with what one unit costs it, in order (R6.4)."""
    attributes = attributes_of(event, tariff.terms.model)
    for pool in state.grants:
        grant = pool.grant
        weight = weight_of(grant.credits, event.unit)
        if (
            weight is not None
            and pool.effective_us <= posted_us
            and (grant.expires_us is None or posted_us < grant.expires_us)
            and matches(grant.match, attributes)
        ):
            yield pool, weight


def take(state: CustomerState, tariff: Tariff, covered: Cover, alerts: list[Alert]) -> list[PoolUse]:
    """Take from the pools what they cover, add the alerts, and return the pools as a line names them (R6.4, R6.10)."""
    uses = []
    for slot, units, weight in covered.pools:
        slot.take(state, tariff, units * weight, alerts)
        uses.append(PoolUse(slot.limits.id, slot.scope_value, units))
    if covered.grants:
        state.quota_changed = True
        for pool, units, weight in covered.grants:
            pool.balance -= units * weight
            uses.append(PoolUse(pool.grant.id, "", units))
        state.grants = [pool for pool in state.grants if pool.balance]
    return uses
