"""The waterfall over allowances and grants (R6.4)."""

from collections.abc import Iterator
from dataclasses import dataclass, field

from pipeline.domain.alerts import Growth
from pipeline.domain.instants import DAY_US
from pipeline.domain.periods import window_start
from pipeline.domain.state import PERIOD, Account, CounterKey, Counters, CustomerState, GrantPool, WindowKey
from pipeline.domain.terms import PoolTerms, Terms, matches, weight_of


@dataclass(frozen=True, slots=True)
class Draw:
    """What one pool covers: units, and the balance that they cost it. Exactly one of `pool` and `grant` is set."""

    units: int
    balance: int
    pool: PoolTerms | None = None
    grant: GrantPool | None = None


@dataclass(slots=True)
class Cover:
    """The waterfall's result. `coverable` says whether any matching pool could cover at least one unit (R6.6)."""

    rest: int
    included: int = 0
    granted: int = 0
    coverable: bool = False
    draws: list[Draw] = field(default_factory=list)


def window_key(shelf: int, per: str, posted_us: int) -> WindowKey:
    """Return where the counters are kept of the window that holds the posting time."""
    return (PERIOD if per == "period" else posted_us // DAY_US * DAY_US, shelf)


def counter_key(identity: str, scope_value: str, per: str, posted_us: int) -> CounterKey:
    """Return the place of a pool or budget within its counters: hour windows share their day's counters."""
    return (identity, scope_value, window_start(per, posted_us) if per == "hour" else -1)


def pool_used(account: Account, pool: PoolTerms, posted_us: int) -> int:
    """Return how much of an allowance is used in the window that holds the posting time."""
    counters = account.windows.get(window_key(pool.shelf, pool.allowance.per, posted_us))
    if counters is None:
        return 0
    return counters.pools.get(counter_key(pool.allowance.id, pool.scope_value, pool.allowance.per, posted_us), 0)


def cover(state: CustomerState, account: Account, terms: Terms, unit: str, quantity: int, posted_us: int) -> Cover:
    """Return what the matching pools cover of a quantity, in order, without taking it yet (R6.4)."""
    result = Cover(rest=quantity)
    for pool in terms.pools:
        left = pool.allowance.included - pool_used(account, pool, posted_us)
        units = _cover_from(result, left, pool.weight)
        if units:
            result.included += units
            result.draws.append(Draw(units, units * pool.weight, pool=pool))
    for grant, weight in _grants_in_effect(state, terms, unit, posted_us):
        units = _cover_from(result, grant.balance, weight)
        if units:
            result.granted += units
            result.draws.append(Draw(units, units * weight, grant=grant))
    return result


def _cover_from(result: Cover, balance: int, weight: int) -> int:
    affordable = balance // weight
    if affordable <= 0:
        return 0
    result.coverable = True
    units = min(result.rest, affordable)
    result.rest -= units
    return units


def take(state: CustomerState, account: Account, covered: Cover, posted_us: int, growth: Growth) -> None:
    """Take from the pools what they cover (R6.4)."""
    for draw in covered.draws:
        if draw.grant is not None:
            draw.grant.balance -= draw.balance
        elif draw.pool is not None:
            allowance = draw.pool.allowance
            window = window_key(draw.pool.shelf, allowance.per, posted_us)
            counters = account.windows.setdefault(window, Counters())
            key = counter_key(allowance.id, draw.pool.scope_value, allowance.per, posted_us)
            before = counters.pools.get(key, 0)
            counters.pools[key] = before + draw.balance
            growth.note(
                window,
                allowance.id,
                draw.pool.scope_value,
                allowance.alerts,
                allowance.included,
                before,
                before + draw.balance,
            )
    if covered.granted:
        state.grants = [pool for pool in state.grants if pool.balance]


def _grants_in_effect(state: CustomerState, terms: Terms, unit: str, posted_us: int) -> Iterator[tuple[GrantPool, int]]:
    for pool in state.grants:
        grant = pool.grant
        weight = weight_of(grant.credits, unit)
        if (
            weight is not None
            and pool.effective_us <= posted_us
            and (grant.expires_us is None or posted_us < grant.expires_us)
            and matches(grant.match, terms.attributes)
        ):
            yield pool, weight
