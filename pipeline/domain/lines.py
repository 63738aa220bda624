"""Lines: the rated results of accepted events (R7.1)."""

from collections.abc import Sequence
from typing import Literal

import msgspec

Kind = Literal["usage", "byok", "non_billable", "failed", "repeat"]


class PoolUse(msgspec.Struct, gc=False, frozen=True):
    """Units of a line that one allowance or grant covered."""

    id: str
    scope_value: str
    units: int


class Line(msgspec.Struct, gc=False, frozen=True, array_like=True):
    """One accepted event, rated; its fields are those of R7.1, in that order.

    Amounts are picodollars, times RFC 3339 in UTC with microseconds.
    """

    customer: str
    seq: int
    event_id: str
    source: str
    time: str
    posted_at: str
    period: str
    late: bool
    builder: str
    app: str
    plan: str
    plan_version: int
    deployment: str
    environment: str
    workspace: str
    feature: str
    model: str
    model_class: str = msgspec.field(name="class")
    request_type: str | None
    unit: str
    kind: Kind
    quantity: int
    included: int
    granted: int
    overage: int
    blocked: int
    input_tokens: int
    cached_input_tokens: int
    output_tokens: int
    cost_pico: int
    cost_charged_pico: int
    margin_pico: int
    surcharge_pico: int
    charge_pico: int
    """What the customer owes for the line (R6.7)."""
    pools: Sequence[PoolUse]
    provider_reward_pico: int
    """What the provider is owed (R6.9)."""
    builder_earnings_pico: int
    """What the builder earns; may be negative (R6.9)."""
    version: int
    """Says which rating of the line is the latest (DESIGN 4.7)."""
    catalog: str
    """Digest of the catalog version that rated it (R10.4)."""
    provider: str
    """Of the model, who is owed the reward (R8.2); empty for a model that the catalog does not have."""
