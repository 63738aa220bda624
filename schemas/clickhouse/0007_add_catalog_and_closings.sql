-- Which catalog version rated a line, and whose model it used: a replay takes what was in force, and what providers are owed
-- needs no catalog. Lines from before have ''.
ALTER TABLE usage.usage_lines ADD COLUMN IF NOT EXISTS catalog LowCardinality(String);
ALTER TABLE usage.usage_lines ADD COLUMN IF NOT EXISTS provider LowCardinality(String);
ALTER TABLE usage.usage_lines_in ADD COLUMN IF NOT EXISTS catalog String;
ALTER TABLE usage.usage_lines_in ADD COLUMN IF NOT EXISTS provider String;
-- In place: a line that is inserted while there is no view would be lost.
ALTER TABLE usage.usage_lines_in_view MODIFY QUERY SELECT * FROM usage.usage_lines_in;

-- Closings as the workers write them to billing.closings (R10): the statement of (customer, app, period) is the lines of the
-- period up to `cut_off`, for ever. The first record of a closing counts, whatever is sent again.
CREATE TABLE IF NOT EXISTS usage.closings
(
    id String,
    customer String,
    app String,
    period Date,
    cut_off UInt64,
    closed_at DateTime64(6, 'UTC'),
    catalog String,
    kafka_partition UInt32,
    kafka_offset UInt64,
    precedence UInt64 MATERIALIZED 18446744073709551615 - kafka_offset
)
ENGINE = ReplacingMergeTree(precedence)
ORDER BY (customer, app, period);

-- Payouts as they were made, from billing.payouts (R11). The first record of an id counts: a payout is made once.
-- `fee_pico` is the month's fee; `fee_booked_pico` what the platform's account gets with the payout: that and what the fees of
-- earlier months have changed by.
CREATE TABLE IF NOT EXISTS usage.payouts
(
    id String,
    builder String,
    month Date,
    made_at DateTime64(6, 'UTC'),
    currency String,
    earnings_pico Int128,
    fee_percent_pico Int128,
    fee_pico Int128,
    fee_booked_pico Int128,
    carried_in_pico Int128,
    paid_pico Int128,
    carried_out_pico Int128,
    kafka_partition UInt32,
    kafka_offset UInt64,
    precedence UInt64 MATERIALIZED 18446744073709551615 - kafka_offset
)
ENGINE = ReplacingMergeTree(precedence)
ORDER BY id;
