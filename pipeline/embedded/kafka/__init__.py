"""A small durable Kafka protocol broker for one machine: what the pipeline uses, and nothing of a cluster.

| file | owns |
|---|---|
| `wire` | the binary encoding of requests and answers, from field lists |
| `messages` | which APIs and versions are spoken, and error codes |
| `data_messages`, `group_messages`, `admin_messages`, `transaction_messages` | their fields |
| `batches` | record batches: header, checksum, records, markers |
| `log` | one partition: an append-only file |
| `index` | what is where in it, and which transactions are open or aborted; in memory |
| `producers` | the last batches of its idempotent producers |
| `cleaning`, `replacement` | compaction and retention of a log that is in use |
| `topics` | the topics, their settings and logs, in one folder |
| `journal` | small tables as append-only files of JSON lines |
| `transactions`, `transaction` | transactional ids: epochs, what is open, how it ends |
| `groups`, `members` | consumer groups: membership, rebalances, eviction |
| `offsets` | committed offsets |
| `data_api`, `transaction_api`, `group_api`, `admin_api` | the answers to requests |
| `server` | connections |

What it promises and what it lacks is in `docs/embedded-broker.md`.
"""
