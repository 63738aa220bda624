"""A copy of a customer's state to try something on: of accounts and windows only those that are looked at are copied."""

from collections.abc import Mapping
from copy import copy
from typing import Any

from pipeline.domain.state import Account, AccountKey, Counters, CustomerState, WindowKey


class _Windows(dict[WindowKey, Counters]):
    """The windows of an account; one is copied when it is first asked for."""

    def __init__(self, originals: Mapping[WindowKey, Counters]) -> None:
        super().__init__()
        self._originals = originals

    def get(self, key: WindowKey, default: Any = None) -> Any:
        if key not in self and (found := self._originals.get(key)) is not None:
            pools = {name: copy(used) for name, used in found.pools.items()}
            self[key] = Counters(pools, {name: copy(spent) for name, spent in found.budgets.items()})
        return super().get(key, default)


class _Accounts(dict[AccountKey, Account]):
    """The accounts of a customer; one is copied when it is first asked for."""

    def __init__(self, originals: Mapping[AccountKey, Account]) -> None:
        super().__init__()
        self._originals = originals

    def get(self, key: AccountKey, default: Any = None) -> Any:
        if key not in self and (found := self._originals.get(key)) is not None:
            self[key] = Account(found.retires_us, _Windows(found.windows), dict(found.tiers))
        return super().get(key, default)


def scratch_of(state: CustomerState) -> CustomerState:
    """Return a state with the balances of another, that may be changed; it has no identities, operations or reservations."""
    return CustomerState(
        state.customer,
        state.watermark_ms,
        state.seq,
        state.wallet_pico,
        grants=[copy(pool) for pool in state.grants],
        accounts=_Accounts(state.accounts),
    )
