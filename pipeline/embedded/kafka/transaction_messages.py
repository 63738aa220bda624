"""List the fields of requests about producer ids and transactions, named as in Kafka's own definitions."""

from pipeline.embedded.kafka.wire import Api, api

TRANSACTION_APIS: list[Api] = [
    api(
        22,
        "init_producer_id",
        (0, 1),
        """transactional_id string
        transaction_timeout_ms i32""",
        """throttle_time_ms i32
        error_code i16
        producer_id i64
        producer_epoch i16""",
    ),
    api(
        24,
        "add_partitions_to_txn",
        (0, 2),
        """transactional_id string
        producer_id i64
        producer_epoch i16
        topics [
            name string
            partitions []i32
        ]""",
        """throttle_time_ms i32
        results [
            name string
            partitions [
                partition_index i32
                error_code i16
            ]
        ]""",
    ),
    api(
        25,
        "add_offsets_to_txn",
        (0, 2),
        """transactional_id string
        producer_id i64
        producer_epoch i16
        group_id string""",
        """throttle_time_ms i32
        error_code i16""",
    ),
    api(
        26,
        "end_txn",
        (0, 2),
        """transactional_id string
        producer_id i64
        producer_epoch i16
        committed bool""",
        """throttle_time_ms i32
        error_code i16""",
    ),
    api(
        28,
        "txn_offset_commit",
        (0, 2),
        """transactional_id string
        group_id string
        producer_id i64
        producer_epoch i16
        topics [
            name string
            partitions [
                partition_index i32
                committed_offset i64
                committed_leader_epoch i32 2+
                committed_metadata string
            ]
        ]""",
        """throttle_time_ms i32
        topics [
            name string
            partitions [
                partition_index i32
                error_code i16
            ]
        ]""",
    ),
]
