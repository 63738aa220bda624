-- Sums of a customer's lines by day and by everything that people ask for: absolute values, written again as a whole when a
-- day has got further lines. The rows of a (customer, day) with the largest `upto` count, and hold all lines of the day with
-- seq <= upto. Exact whatever was re-sent; how far it is: usage.freshness_v1 (docs/sql.md, docs/decisions/0009).
--
-- No partition key: the rows of a refresh must become one part, or a crash could show half of them.
CREATE TABLE IF NOT EXISTS usage.rollup_days
(
    customer String,
    period Date,
    app LowCardinality(String),
    day Date,
    builder LowCardinality(String),
    plan LowCardinality(String),
    plan_version UInt64,
    deployment LowCardinality(String),
    environment LowCardinality(String),
    workspace LowCardinality(String),
    feature LowCardinality(String),
    model LowCardinality(String),
    class LowCardinality(String),
    provider LowCardinality(String),
    unit LowCardinality(String),
    kind LowCardinality(String),
    late Bool,
    upto UInt64,
    last_seq UInt64,
    lines UInt64,
    quantity UInt128,
    included UInt128,
    granted UInt128,
    overage UInt128,
    blocked UInt128,
    input_tokens UInt128,
    cached_input_tokens UInt128,
    output_tokens UInt128,
    cost_pico Int256,
    cost_charged_pico Int256,
    margin_pico Int256,
    surcharge_pico Int256,
    charge_pico Int256,
    provider_reward_pico Int256,
    builder_earnings_pico Int256
)
ENGINE = ReplacingMergeTree(upto)
ORDER BY (customer, period, app, day, feature, unit, workspace, deployment, environment, model, class, provider, kind, late,
          plan, plan_version, builder);

-- The last line of each customer: which customers have lines that are not rolled up yet.
CREATE TABLE IF NOT EXISTS usage.line_heads
(
    customer String,
    seq SimpleAggregateFunction(max, UInt64)
)
ENGINE = AggregatingMergeTree
ORDER BY customer;

CREATE MATERIALIZED VIEW IF NOT EXISTS usage.line_heads_view TO usage.line_heads
AS SELECT customer, max(seq) AS seq FROM usage.usage_lines GROUP BY customer;

-- What was there before; the largest counts, so it may run again.
INSERT INTO usage.line_heads SELECT customer, max(seq) FROM usage.usage_lines GROUP BY customer;

-- A refresh reads the days of one customer: a customer's lines stand in about the order of time.
ALTER TABLE usage.usage_lines ADD INDEX IF NOT EXISTS by_posted_at posted_at TYPE minmax GRANULARITY 1;
ALTER TABLE usage.usage_lines MATERIALIZE INDEX by_posted_at;
