-- Up to where each partition of usage.lines is in usage.usage_lines: the latest row of a partition counts.
-- `next_offset` is the offset of the first record that may not be in yet; `at` is when the sink knew.
CREATE TABLE IF NOT EXISTS usage.sink_positions
(
    topic LowCardinality(String),
    partition UInt32,
    next_offset UInt64,
    at DateTime64(6, 'UTC') DEFAULT now64(6)
)
ENGINE = ReplacingMergeTree(at)
ORDER BY (topic, partition);
