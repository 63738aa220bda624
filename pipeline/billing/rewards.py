"""Provider rewards, read from ClickHouse (R8.2, R11.7)."""

from clickhouse_connect.driver.client import Client

from pipeline.billing.sums import read_sums
from pipeline.domain.instants import DAY_US, day_of
from pipeline.domain.months import month_of
from pipeline.domain.rewards import NOT_IN_CATALOG, RewardReport, RewardRow


def read_rewards(
    client: Client, month: str, provider: str | None = None, *, currency: str | None = None
) -> RewardReport:
    """Return what providers, or one of them, are owed for what was posted in a month.

    Lines name no currency: `currency` is that of the catalog. Raises ValueError when the month is none, RollupMovingError.
    """
    span = month_of(month)
    where = None if provider is None else {"provider": "" if provider == NOT_IN_CATALOG else provider}
    rows = read_sums(
        client,
        ("provider", "model"),
        since=day_of(span.start_us // DAY_US),
        until=day_of(span.end_us // DAY_US),
        where=where,
    )
    return RewardReport(
        month,
        currency,
        tuple(
            RewardRow(
                provider=row["provider"],
                model=row["model"],
                lines=row["lines"],
                input_tokens=row["input_tokens"],
                cached_input_tokens=row["cached_input_tokens"],
                output_tokens=row["output_tokens"],
                cost_pico=row["cost_pico"],
                reward_pico=row["provider_reward_pico"],
            )
            for row in rows
        ),
    )
