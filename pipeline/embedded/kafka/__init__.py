"""A small durable Kafka protocol broker for one machine: what the pipeline uses, and nothing of a cluster.

| file | owns |
|---|---|
| `wire` | the binary encoding of requests and answers, from field lists |
| `messages` | which APIs and versions are spoken, and error codes |
| `data_messages`, `group_messages`, `admin_messages` | their fields |
| `batches` | reading record batches: header, checksum, keys, times |
| `log` | one partition: an append-only file, its index in memory, idempotent producers |
| `cleaning` | compaction and retention of a log, done when it is opened |
| `topics` | the topics, their settings and logs, in one folder |
| `groups` | consumer groups: membership, rebalances, eviction |
| `offsets` | committed offsets, an append-only file |
| `data_api`, `group_api`, `admin_api` | the answers to requests |
| `server` | connections |

What it promises and what it lacks is in `docs/embedded-broker.md`.
"""
