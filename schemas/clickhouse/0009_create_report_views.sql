-- Views for people and BI (docs/sql.md). Stable: columns are only ever added, another meaning gets another name (_v2).
-- Amounts are Decimal(38, 12) of the currency. Views over usage_lines are live; views over the rollup say in
-- usage.freshness_v1 how far they are.

-- Each line once, with every column of R7.1, the catalog version that rated it, and its model's provider.
CREATE OR REPLACE VIEW usage.lines_v1 AS
SELECT
    customer,
    seq,
    event_id,
    source,
    time,
    posted_at,
    period,
    late,
    builder,
    app,
    plan,
    plan_version,
    deployment,
    environment,
    workspace,
    feature,
    model,
    class,
    request_type,
    unit,
    kind,
    quantity,
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
    builder_earnings_pico * toDecimal128('0.000000000001', 12) AS builder_earnings,
    pools,
    catalog,
    provider
FROM usage.usage_lines FINAL;

-- The parts of statement rows (R8.1), not rounded, from the lines: live.
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
    sumIf(usage_lines.quantity, kind = 'usage') AS quantity,
    sum(usage_lines.included) AS included,
    sum(usage_lines.granted) AS granted,
    sum(usage_lines.overage) AS overage,
    sum(usage_lines.blocked) AS blocked,
    sum(usage_lines.input_tokens) AS input_tokens,
    sum(usage_lines.cached_input_tokens) AS cached_input_tokens,
    sum(usage_lines.output_tokens) AS output_tokens,
    CAST(sum(toInt256(charge_pico)) * toDecimal128('0.000000000001', 12), 'Decimal(38, 12)') AS charge,
    count() AS lines
FROM usage.usage_lines FINAL
GROUP BY customer, app, period, feature, unit, workspace, deployment, environment, model;

-- Usage by day of posting (UTC), from the rollup.
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
    sum(rollup_days.lines) AS lines,
    sumIf(rollup_days.quantity, kind = 'usage') AS quantity,
    sum(rollup_days.included) AS included,
    sum(rollup_days.granted) AS granted,
    sum(rollup_days.overage) AS overage,
    sum(rollup_days.blocked) AS blocked,
    sum(rollup_days.input_tokens) AS input_tokens,
    sum(rollup_days.cached_input_tokens) AS cached_input_tokens,
    sum(rollup_days.output_tokens) AS output_tokens,
    CAST(sum(cost_pico) * toDecimal128('0.000000000001', 12), 'Decimal(38, 12)') AS cost,
    CAST(sum(cost_charged_pico) * toDecimal128('0.000000000001', 12), 'Decimal(38, 12)') AS cost_charged,
    CAST(sum(margin_pico) * toDecimal128('0.000000000001', 12), 'Decimal(38, 12)') AS margin,
    CAST(sum(surcharge_pico) * toDecimal128('0.000000000001', 12), 'Decimal(38, 12)') AS surcharge,
    CAST(sum(charge_pico) * toDecimal128('0.000000000001', 12), 'Decimal(38, 12)') AS charge,
    CAST(sum(provider_reward_pico) * toDecimal128('0.000000000001', 12), 'Decimal(38, 12)') AS provider_reward,
    CAST(sum(builder_earnings_pico) * toDecimal128('0.000000000001', 12), 'Decimal(38, 12)') AS builder_earnings
FROM usage.rollup_days FINAL
GROUP BY day, customer, app, builder, deployment, environment, workspace, feature, model, class, provider, unit, kind;

-- The same by hour of posting, from the lines: live; filter by customer or by time.
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
    count() AS lines,
    sumIf(usage_lines.quantity, kind = 'usage') AS quantity,
    sum(usage_lines.included) AS included,
    sum(usage_lines.granted) AS granted,
    sum(usage_lines.overage) AS overage,
    sum(usage_lines.blocked) AS blocked,
    sum(usage_lines.input_tokens) AS input_tokens,
    sum(usage_lines.cached_input_tokens) AS cached_input_tokens,
    sum(usage_lines.output_tokens) AS output_tokens,
    CAST(sum(toInt256(cost_pico)) * toDecimal128('0.000000000001', 12), 'Decimal(38, 12)') AS cost,
    CAST(sum(toInt256(cost_charged_pico)) * toDecimal128('0.000000000001', 12), 'Decimal(38, 12)') AS cost_charged,
    CAST(sum(toInt256(margin_pico)) * toDecimal128('0.000000000001', 12), 'Decimal(38, 12)') AS margin,
    CAST(sum(toInt256(surcharge_pico)) * toDecimal128('0.000000000001', 12), 'Decimal(38, 12)') AS surcharge,
    CAST(sum(toInt256(charge_pico)) * toDecimal128('0.000000000001', 12), 'Decimal(38, 12)') AS charge,
    CAST(sum(toInt256(provider_reward_pico)) * toDecimal128('0.000000000001', 12), 'Decimal(38, 12)') AS provider_reward,
    CAST(sum(toInt256(builder_earnings_pico)) * toDecimal128('0.000000000001', 12), 'Decimal(38, 12)') AS builder_earnings
FROM usage.usage_lines FINAL
GROUP BY hour, customer, app, builder, deployment, environment, workspace, feature, model, class, provider, unit, kind;

-- What builders have earned, by calendar month of posting (R8.2), from the rollup.
CREATE OR REPLACE VIEW usage.builder_earnings_v1 AS
SELECT
    toStartOfMonth(day) AS month,
    builder,
    app,
    customer,
    sum(rollup_days.lines) AS lines,
    CAST(sum(charge_pico) * toDecimal128('0.000000000001', 12), 'Decimal(38, 12)') AS charge,
    CAST(sum(builder_earnings_pico) * toDecimal128('0.000000000001', 12), 'Decimal(38, 12)') AS builder_earnings
FROM usage.rollup_days FINAL
GROUP BY month, builder, app, customer;

-- What providers are owed, by calendar month of posting: a ledger of its own (R8.2), from the rollup.
CREATE OR REPLACE VIEW usage.provider_rewards_v1 AS
SELECT
    toStartOfMonth(day) AS month,
    provider,
    model,
    sum(rollup_days.lines) AS lines,
    CAST(sum(provider_reward_pico) * toDecimal128('0.000000000001', 12), 'Decimal(38, 12)') AS provider_reward
FROM usage.rollup_days FINAL
GROUP BY month, provider, model;

-- What customers cost and bring, by calendar month: `cost_carried` is what no charge covers and the licence must, from the rollup.
CREATE OR REPLACE VIEW usage.margin_v1 AS
SELECT
    toStartOfMonth(day) AS month,
    builder,
    app,
    customer,
    sum(rollup_days.lines) AS lines,
    CAST(sum(rollup_days.cost_pico) * toDecimal128('0.000000000001', 12), 'Decimal(38, 12)') AS cost,
    CAST(sum(rollup_days.cost_charged_pico) * toDecimal128('0.000000000001', 12), 'Decimal(38, 12)') AS cost_charged,
    CAST((sum(rollup_days.cost_pico) - sum(rollup_days.cost_charged_pico)) * toDecimal128('0.000000000001', 12), 'Decimal(38, 12)') AS cost_carried,
    CAST(sum(rollup_days.charge_pico) * toDecimal128('0.000000000001', 12), 'Decimal(38, 12)') AS revenue,
    CAST((sum(rollup_days.charge_pico) - sum(rollup_days.cost_pico)) * toDecimal128('0.000000000001', 12), 'Decimal(38, 12)') AS margin
FROM usage.rollup_days FINAL
GROUP BY month, builder, app, customer;

-- Double entry (R8.2, R11): for each line what the customer owes (positive) against what provider and builder are due
-- (negative), and for each payout what leaves the builder's account. Each posting sums to zero. Live.
CREATE OR REPLACE VIEW usage.postings_v1 AS
SELECT concat('line/', customer, '/', toString(seq)) AS posting, posted_at AS at, entry.1 AS kind, entry.2 AS account, entry.3 AS amount
FROM (
    SELECT customer, seq, posted_at, arrayJoin([
        ('customer', customer, CAST(charge_pico * toDecimal128('0.000000000001', 12), 'Decimal(38, 12)')),
        ('provider', toString(provider), CAST(-provider_reward_pico * toDecimal128('0.000000000001', 12), 'Decimal(38, 12)')),
        ('builder', toString(builder), CAST(-builder_earnings_pico * toDecimal128('0.000000000001', 12), 'Decimal(38, 12)'))
    ]) AS entry
    FROM usage.usage_lines FINAL
)
UNION ALL
SELECT concat('payout/', id) AS posting, made_at AS at, entry.1 AS kind, entry.2 AS account, entry.3 AS amount
FROM (
    SELECT id, made_at, arrayJoin([
        ('builder', builder, CAST((paid_pico + fee_booked_pico) * toDecimal128('0.000000000001', 12), 'Decimal(38, 12)')),
        ('platform_fee', '', CAST(-fee_booked_pico * toDecimal128('0.000000000001', 12), 'Decimal(38, 12)')),
        ('paid_out', '', CAST(-paid_pico * toDecimal128('0.000000000001', 12), 'Decimal(38, 12)'))
    ]) AS entry
    FROM usage.payouts FINAL
);

-- Closings (R10): the statement is the lines of the period up to `cut_off`, for ever.
CREATE OR REPLACE VIEW usage.closings_v1 AS
SELECT customer, app, period, cut_off, closed_at, catalog, id FROM usage.closings FINAL;

-- Payouts that were made (R11).
CREATE OR REPLACE VIEW usage.payouts_v1 AS
SELECT
    id, builder, month, made_at, currency,
    CAST(earnings_pico * toDecimal128('0.000000000001', 12), 'Decimal(38, 12)') AS earnings,
    CAST(fee_pico * toDecimal128('0.000000000001', 12), 'Decimal(38, 12)') AS fee,
    CAST(carried_in_pico * toDecimal128('0.000000000001', 12), 'Decimal(38, 12)') AS carried_in,
    CAST(paid_pico * toDecimal128('0.000000000001', 12), 'Decimal(38, 12)') AS paid,
    CAST(carried_out_pico * toDecimal128('0.000000000001', 12), 'Decimal(38, 12)') AS carried_out
FROM usage.payouts FINAL;

-- Which statements there are, and which of them are frozen, from the rollup. Until when a period is open is in the catalog.
CREATE OR REPLACE VIEW usage.statement_states_v1 AS
SELECT
    statements.customer AS customer,
    statements.app AS app,
    statements.period AS period,
    closings.id != '' AS frozen,
    if(closings.id != '', closings.cut_off, NULL) AS cut_off,
    statements.lines AS lines
FROM (
    SELECT customer, app, period, sum(rollup_days.lines) AS lines FROM usage.rollup_days FINAL GROUP BY customer, app, period
) AS statements
LEFT JOIN (SELECT customer, app, period, id, cut_off FROM usage.closings FINAL) AS closings USING (customer, app, period);

-- How fresh the data is. `sink`: when lines of each partition were last put in. `rollup`: how many customers and lines are
-- not rolled up yet; 0 means that the views over the rollup hold every line that is here.
CREATE OR REPLACE VIEW usage.freshness_v1 AS
SELECT 'sink' AS part, concat(topic, '/', toString(partition)) AS name, at, toUInt64(next_offset) AS value
FROM usage.sink_positions FINAL
UNION ALL
SELECT 'rollup' AS part, 'lines behind' AS name, now64(6, 'UTC') AS at, sum(heads.seq - done.upto) AS value
FROM (SELECT customer, max(seq) AS seq FROM usage.line_heads GROUP BY customer) AS heads
LEFT JOIN (SELECT customer, max(upto) AS upto FROM usage.rollup_days GROUP BY customer) AS done USING customer;
