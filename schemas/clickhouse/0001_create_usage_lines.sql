-- Lines as the workers rate them (R7.1), as often as they were sent. Readers use the views, which show each line once.
--
-- A line is (customer, seq), and nothing else of it is certain to stay: after a crash a grant may be applied in another
-- order, and the same line comes back with a larger version and another period (docs/decisions/0003-line-storage.md).
-- So the order key is exactly the identity, and there is no partition key: FINAL then always sees every version.
--
-- A number that is absent from a message gets a value that the constraints refuse, so that it cannot count as 0.
CREATE TABLE IF NOT EXISTS usage.usage_lines
(
    customer String,
    seq UInt64 CODEC(Delta, ZSTD),
    version UInt64 DEFAULT 18446744073709551615 CODEC(Delta, ZSTD),
    event_id String,
    source LowCardinality(String),
    time DateTime64(6, 'UTC') DEFAULT '2299-12-31 00:00:00' CODEC(Delta, ZSTD),
    posted_at DateTime64(6, 'UTC') DEFAULT '2299-12-31 00:00:00' CODEC(Delta, ZSTD),
    period Date DEFAULT '2149-06-06',
    late Bool,
    builder LowCardinality(String),
    app LowCardinality(String),
    plan LowCardinality(String),
    plan_version UInt64,
    deployment LowCardinality(String),
    environment LowCardinality(String),
    workspace LowCardinality(String),
    feature LowCardinality(String),
    model LowCardinality(String),
    class LowCardinality(String),
    request_type LowCardinality(Nullable(String)),
    unit LowCardinality(String),
    kind LowCardinality(String),
    quantity UInt64 DEFAULT 18446744073709551615,
    included UInt64 DEFAULT 18446744073709551615,
    granted UInt64 DEFAULT 18446744073709551615,
    overage UInt64 DEFAULT 18446744073709551615,
    blocked UInt64 DEFAULT 18446744073709551615,
    input_tokens UInt64 DEFAULT 18446744073709551615,
    cached_input_tokens UInt64 DEFAULT 18446744073709551615,
    output_tokens UInt64 DEFAULT 18446744073709551615,
    cost_pico Int128 DEFAULT toInt128('170141183460469231731687303715884105727'),
    cost_charged_pico Int128 DEFAULT toInt128('170141183460469231731687303715884105727'),
    margin_pico Int128 DEFAULT toInt128('170141183460469231731687303715884105727'),
    surcharge_pico Int128 DEFAULT toInt128('170141183460469231731687303715884105727'),
    charge_pico Int128 DEFAULT toInt128('170141183460469231731687303715884105727'),
    provider_reward_pico Int128 DEFAULT toInt128('170141183460469231731687303715884105727'),
    builder_earnings_pico Int128 DEFAULT toInt128('170141183460469231731687303715884105727'),
    pools Array(Tuple(id LowCardinality(String), scope_value LowCardinality(String), units UInt64)),

    INDEX by_period period TYPE minmax GRANULARITY 1,

    CONSTRAINT is_a_line CHECK customer != '' AND seq > 0 AND version < 18446744073709551615
        AND event_id != '' AND source != '' AND app != '' AND plan != '' AND deployment != '' AND environment != ''
        AND workspace != '' AND feature != '' AND model != '' AND unit != ''
        AND kind IN ('usage', 'byok', 'non_billable', 'failed', 'repeat')
        AND period < toDate('2149-06-06') AND posted_at < toDateTime64('2299-12-31 00:00:00', 6, 'UTC')
        AND time < toDateTime64('2299-12-31 00:00:00', 6, 'UTC'),
    -- R2.2: no count is above 10^12.
    CONSTRAINT counts_in_range CHECK greatest(
        quantity, included, granted, overage, blocked, input_tokens, cached_input_tokens, output_tokens
    ) <= 1000000000000,
    -- R5.3: what a view shows as Decimal(38, 12).
    CONSTRAINT amounts_in_range CHECK greatest(
            cost_pico, cost_charged_pico, margin_pico, surcharge_pico, charge_pico, provider_reward_pico,
            builder_earnings_pico) < toInt128('100000000000000000000000000000000000000')
        AND least(
            cost_pico, cost_charged_pico, margin_pico, surcharge_pico, charge_pico, provider_reward_pico,
            builder_earnings_pico) > toInt128('-100000000000000000000000000000000000000'),
    -- R7.3, R6.9, R6.7, R6.4.
    CONSTRAINT quantity_is_conserved
        CHECK included + granted + overage + blocked = if(kind = 'usage', quantity, 0),
    CONSTRAINT charge_is_conserved CHECK charge_pico = provider_reward_pico + builder_earnings_pico
        AND charge_pico = cost_charged_pico + margin_pico + surcharge_pico,
    CONSTRAINT pools_are_conserved CHECK arraySum(pools.units) = included + granted
)
ENGINE = ReplacingMergeTree(version)
ORDER BY (customer, seq);
