-- Which records of usage.lines a sink may have inserted more than once: those of an insert that it repeated because it did
-- not know the outcome of the first, and those that an earlier sink may have inserted before it could say so. Noted before
-- the repeat. A line that is stored several times without being in here was put in by somebody else (`usage audit`).
CREATE TABLE IF NOT EXISTS usage.sink_repeats
(
    topic LowCardinality(String),
    partition UInt32,
    first_offset UInt64,
    next_offset UInt64,
    at DateTime64(6, 'UTC') DEFAULT now64(6)
)
ENGINE = MergeTree
ORDER BY (topic, partition, first_offset);
