-- Where the sink inserts lines; nothing is stored here. usage.usage_lines gets them through the view below.
--
-- JSON read into LowCardinality costs 200 ns a value, in plain String 50; a view converts whole columns, for a tenth of
-- that. The columns are those of usage.usage_lines, whose constraints hold for what the view brings; so are the defaults:
-- a number that is absent gets a value that the constraints refuse. Whoever adds a column adds it to both, and to the view.
CREATE TABLE IF NOT EXISTS usage.usage_lines_in
(
    customer String,
    seq UInt64,
    version UInt64 DEFAULT 18446744073709551615,
    event_id String,
    source String,
    time DateTime64(6, 'UTC') DEFAULT '2299-12-31 00:00:00',
    posted_at DateTime64(6, 'UTC') DEFAULT '2299-12-31 00:00:00',
    period Date DEFAULT '2149-06-06',
    late Bool,
    builder String,
    app String,
    plan String,
    plan_version UInt64,
    deployment String,
    environment String,
    workspace String,
    feature String,
    model String,
    class String,
    request_type Nullable(String),
    unit String,
    kind String,
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
    pools Array(Tuple(id String, scope_value String, units UInt64))
)
ENGINE = Null;

CREATE MATERIALIZED VIEW IF NOT EXISTS usage.usage_lines_in_view TO usage.usage_lines
AS SELECT * FROM usage.usage_lines_in;
