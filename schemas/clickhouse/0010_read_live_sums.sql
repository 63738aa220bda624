-- The views over the rollup become live: the rollup's rows, and the lines that are not in it yet (decisions/0009). One query has
-- one snapshot of every table (`enable_shared_storage_snapshot_in_query`, on by default), so a refresh in between is seen
-- whole or not at all, and every line counts once.

-- The largest `upto` of each customer, in the very part that the rows are in: read without reading them.
ALTER TABLE usage.rollup_days MODIFY SETTING deduplicate_merge_projection_mode = 'rebuild';
ALTER TABLE usage.rollup_days ADD PROJECTION IF NOT EXISTS heads (SELECT customer, max(upto) GROUP BY customer);
ALTER TABLE usage.rollup_days MATERIALIZE PROJECTION heads;

-- Customers with lines that are not rolled up: those behind `upto`, up to `head`.
CREATE OR REPLACE VIEW usage.rollup_behind AS
SELECT customer, max(done) AS upto, max(seq) AS head
FROM (
    SELECT customer, toUInt64(seq) AS seq, toUInt64(0) AS done FROM usage.line_heads
    UNION ALL
    SELECT customer, toUInt64(0) AS seq, max(upto) AS done FROM usage.rollup_days GROUP BY customer
)
GROUP BY customer
HAVING head > upto;

-- What every figure is summed from: the rows of the rollup, and each line behind it as a row. Lines behind are looked up by
-- the primary key in blocks of 256 numbers, of which those up to `upto` are left out.
CREATE OR REPLACE VIEW usage.live_days AS
SELECT
    customer, period, app, day, builder, plan, plan_version, deployment, environment, workspace, feature, model, class,
    provider, unit, kind, late, last_seq, lines, quantity, included, granted, overage, blocked, input_tokens,
    cached_input_tokens, output_tokens, cost_pico, cost_charged_pico, margin_pico, surcharge_pico, charge_pico,
    provider_reward_pico, builder_earnings_pico
FROM usage.rollup_days FINAL
UNION ALL
SELECT
    customer, period, app, toDate(posted_at) AS day, builder, plan, plan_version, deployment, environment, workspace, feature,
    model, class, provider, unit, kind, late, seq AS last_seq, toUInt64(1) AS lines,
    toUInt128(usage_lines.quantity) AS quantity, toUInt128(usage_lines.included) AS included,
    toUInt128(usage_lines.granted) AS granted, toUInt128(usage_lines.overage) AS overage,
    toUInt128(usage_lines.blocked) AS blocked, toUInt128(usage_lines.input_tokens) AS input_tokens,
    toUInt128(usage_lines.cached_input_tokens) AS cached_input_tokens,
    toUInt128(usage_lines.output_tokens) AS output_tokens, toInt256(usage_lines.cost_pico) AS cost_pico,
    toInt256(usage_lines.cost_charged_pico) AS cost_charged_pico, toInt256(usage_lines.margin_pico) AS margin_pico,
    toInt256(usage_lines.surcharge_pico) AS surcharge_pico, toInt256(usage_lines.charge_pico) AS charge_pico,
    toInt256(usage_lines.provider_reward_pico) AS provider_reward_pico,
    toInt256(usage_lines.builder_earnings_pico) AS builder_earnings_pico
FROM usage.usage_lines FINAL
WHERE (customer, intDiv(seq, 256)) IN (
        SELECT customer, arrayJoin(range(intDiv(upto + 1, 256), intDiv(head, 256) + 1)) FROM usage.rollup_behind
    )
    AND (customer, seq) NOT IN (
        SELECT customer, arrayJoin(range(toUInt64(intDiv(upto + 1, 256) * 256), upto + 1)) FROM usage.rollup_behind
    );

-- The rows of statements (R8.1) before rounding: quantities of kind `usage`, the charge of every kind.
-- A statement rounds each row's charge to the cent, half to even, and sums the rounded rows (R5.4).
CREATE OR REPLACE VIEW usage.statements_v1 AS
SELECT
    customer,
    app,
    period,
    feature,
    unit,
    sumIf(live_days.quantity, kind = 'usage') AS quantity,
    sum(live_days.included) AS included,
    sum(live_days.granted) AS granted,
    sum(live_days.overage) AS overage,
    sum(live_days.blocked) AS blocked,
    CAST(sum(live_days.charge_pico) * toDecimal128('0.000000000001', 12), 'Decimal(38, 12)') AS charge,
    sum(live_days.lines) AS lines
FROM usage.live_days
GROUP BY customer, app, period, feature, unit;

-- Their parts, not rounded.
CREATE OR REPLACE VIEW usage.statement_details_v1 AS
SELECT
    customer,
    app,
    period,
    feature,
    unit,
    workspace,
    deployment,
    environment,
    model,
    sumIf(live_days.quantity, kind = 'usage') AS quantity,
    sum(live_days.included) AS included,
    sum(live_days.granted) AS granted,
    sum(live_days.overage) AS overage,
    sum(live_days.blocked) AS blocked,
    sum(live_days.input_tokens) AS input_tokens,
    sum(live_days.cached_input_tokens) AS cached_input_tokens,
    sum(live_days.output_tokens) AS output_tokens,
    CAST(sum(live_days.charge_pico) * toDecimal128('0.000000000001', 12), 'Decimal(38, 12)') AS charge,
    sum(live_days.lines) AS lines
FROM usage.live_days
GROUP BY customer, app, period, feature, unit, workspace, deployment, environment, model;

-- Usage by day of posting (UTC). Not grouped, so that only what is asked for is read: sum the rows.
CREATE OR REPLACE VIEW usage.usage_daily_v1 AS
SELECT
    day,
    customer,
    app,
    builder,
    deployment,
    environment,
    workspace,
    feature,
    model,
    class,
    provider,
    unit,
    kind,
    lines,
    if(kind = 'usage', live_days.quantity, toUInt128(0)) AS quantity,
    included,
    granted,
    overage,
    blocked,
    input_tokens,
    cached_input_tokens,
    output_tokens,
    CAST(cost_pico * toDecimal128('0.000000000001', 12), 'Decimal(38, 12)') AS cost,
    CAST(cost_charged_pico * toDecimal128('0.000000000001', 12), 'Decimal(38, 12)') AS cost_charged,
    CAST(margin_pico * toDecimal128('0.000000000001', 12), 'Decimal(38, 12)') AS margin,
    CAST(surcharge_pico * toDecimal128('0.000000000001', 12), 'Decimal(38, 12)') AS surcharge,
    CAST(charge_pico * toDecimal128('0.000000000001', 12), 'Decimal(38, 12)') AS charge,
    CAST(provider_reward_pico * toDecimal128('0.000000000001', 12), 'Decimal(38, 12)') AS provider_reward,
    CAST(builder_earnings_pico * toDecimal128('0.000000000001', 12), 'Decimal(38, 12)') AS builder_earnings,
    period,
    plan,
    plan_version,
    late
FROM usage.live_days;

-- What builders have earned, by calendar month of posting (R8.2).
CREATE OR REPLACE VIEW usage.builder_earnings_v1 AS
SELECT
    toStartOfMonth(day) AS month,
    builder,
    app,
    customer,
    sum(live_days.lines) AS lines,
    CAST(sum(charge_pico) * toDecimal128('0.000000000001', 12), 'Decimal(38, 12)') AS charge,
    CAST(sum(builder_earnings_pico) * toDecimal128('0.000000000001', 12), 'Decimal(38, 12)') AS builder_earnings
FROM usage.live_days
GROUP BY month, builder, app, customer;

-- What providers are owed, by calendar month of posting: a ledger of its own (R8.2).
CREATE OR REPLACE VIEW usage.provider_rewards_v1 AS
SELECT
    toStartOfMonth(day) AS month,
    provider,
    model,
    sum(live_days.lines) AS lines,
    CAST(sum(provider_reward_pico) * toDecimal128('0.000000000001', 12), 'Decimal(38, 12)') AS provider_reward
FROM usage.live_days
GROUP BY month, provider, model;

-- What customers cost and bring, by calendar month: `cost_carried` is what no charge covers and the licence must.
CREATE OR REPLACE VIEW usage.margin_v1 AS
SELECT
    toStartOfMonth(day) AS month,
    builder,
    app,
    customer,
    sum(live_days.lines) AS lines,
    CAST(sum(cost_pico) * toDecimal128('0.000000000001', 12), 'Decimal(38, 12)') AS cost,
    CAST(sum(cost_charged_pico) * toDecimal128('0.000000000001', 12), 'Decimal(38, 12)') AS cost_charged,
    CAST((sum(cost_pico) - sum(cost_charged_pico)) * toDecimal128('0.000000000001', 12), 'Decimal(38, 12)') AS cost_carried,
    CAST(sum(charge_pico) * toDecimal128('0.000000000001', 12), 'Decimal(38, 12)') AS revenue,
    CAST((sum(charge_pico) - sum(cost_pico)) * toDecimal128('0.000000000001', 12), 'Decimal(38, 12)') AS margin
FROM usage.live_days
GROUP BY month, builder, app, customer;

-- The same by hour of posting, from the lines: filter by customer or by time. Not grouped either.
CREATE OR REPLACE VIEW usage.usage_hourly_v1 AS
SELECT
    toStartOfHour(posted_at) AS hour,
    customer,
    app,
    builder,
    deployment,
    environment,
    workspace,
    feature,
    model,
    class,
    provider,
    unit,
    kind,
    toUInt64(1) AS lines,
    if(kind = 'usage', toUInt64(usage_lines.quantity), toUInt64(0)) AS quantity,
    included,
    granted,
    overage,
    blocked,
    input_tokens,
    cached_input_tokens,
    output_tokens,
    cost_pico * toDecimal128('0.000000000001', 12) AS cost,
    cost_charged_pico * toDecimal128('0.000000000001', 12) AS cost_charged,
    margin_pico * toDecimal128('0.000000000001', 12) AS margin,
    surcharge_pico * toDecimal128('0.000000000001', 12) AS surcharge,
    charge_pico * toDecimal128('0.000000000001', 12) AS charge,
    provider_reward_pico * toDecimal128('0.000000000001', 12) AS provider_reward,
    builder_earnings_pico * toDecimal128('0.000000000001', 12) AS builder_earnings
FROM usage.usage_lines FINAL;

-- Which statements there are, and which of them are frozen (R10). Until when a period is open is in the catalog.
CREATE OR REPLACE VIEW usage.statement_states_v1 AS
SELECT
    statements.customer AS customer,
    statements.app AS app,
    statements.period AS period,
    closings.id != '' AS frozen,
    if(closings.id != '', closings.cut_off, NULL) AS cut_off,
    statements.lines AS lines,
    statements.last_seq AS last_seq
FROM (
    SELECT customer, app, period, sum(live_days.lines) AS lines, max(live_days.last_seq) AS last_seq
    FROM usage.live_days GROUP BY customer, app, period
) AS statements
LEFT JOIN (SELECT customer, app, period, id, cut_off FROM usage.closings FINAL) AS closings USING (customer, app, period);

-- How fresh the data is. `sink`: up to which offset each partition is in ClickHouse, and when that was known. `rollup`: lines that
-- the views look up one by one, because they are not rolled up yet, and the customers whose lines they are.
CREATE OR REPLACE VIEW usage.freshness_v1 AS
SELECT 'sink' AS part, concat(topic, '/', toString(partition)) AS name, at, toUInt64(next_offset) AS value
FROM usage.sink_positions FINAL
UNION ALL
SELECT 'rollup' AS part, entry.1 AS name, now64(6, 'UTC') AS at, entry.2 AS value
FROM (
    SELECT arrayJoin([('lines behind', toUInt64(sum(head - upto))), ('customers behind', toUInt64(count()))]) AS entry
    FROM usage.rollup_behind
);
