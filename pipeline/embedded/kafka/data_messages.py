"""List the fields of requests about records, named as in Kafka's own definitions."""

from pipeline.embedded.kafka.wire import Api, api

DATA_APIS: list[Api] = [
    # Clients of librdkafka look for version 0 before they believe in 3, as they do with Apache Kafka 4 (KIP-896).
    api(
        0,
        "produce",
        (0, 8),
        """transactional_id string 3+
        acks i16
        timeout_ms i32
        topics [
            name string
            partitions [
                index i32
                records bytes
            ]
        ]""",
        """responses [
            name string
            partitions [
                index i32
                error_code i16
                base_offset i64
                log_append_time_ms i64 2+
                log_start_offset i64 5+
                record_errors [
                    batch_index i32
                    message string
                ] 8+
                error_message string 8+
            ]
        ]
        throttle_time_ms i32 1+""",
    ),
    api(
        1,
        "fetch",
        (4, 11),
        """replica_id i32
        max_wait_ms i32
        min_bytes i32
        max_bytes i32
        isolation_level i8
        session_id i32 7+
        session_epoch i32 7+
        topics [
            topic string
            partitions [
                partition i32
                current_leader_epoch i32 9+
                fetch_offset i64
                log_start_offset i64 5+
                partition_max_bytes i32
            ]
        ]
        forgotten_topics_data [
            topic string
            partitions []i32
        ] 7+
        rack_id string 11+""",
        """throttle_time_ms i32
        error_code i16 7+
        session_id i32 7+
        responses [
            topic string
            partitions [
                partition_index i32
                error_code i16
                high_watermark i64
                last_stable_offset i64
                log_start_offset i64 5+
                aborted_transactions [
                    producer_id i64
                    first_offset i64
                ]
                preferred_read_replica i32 11+
                records bytes
            ]
        ]""",
    ),
    api(
        2,
        "list_offsets",
        (1, 5),
        """replica_id i32
        isolation_level i8 2+
        topics [
            name string
            partitions [
                partition_index i32
                current_leader_epoch i32 4+
                timestamp i64
            ]
        ]""",
        """throttle_time_ms i32 2+
        topics [
            name string
            partitions [
                partition_index i32
                error_code i16
                timestamp i64
                offset i64
                leader_epoch i32 4+
            ]
        ]""",
    ),
    api(
        3,
        "metadata",
        (0, 5),
        """topics []string
        allow_auto_topic_creation bool 4+""",
        """throttle_time_ms i32 3+
        brokers [
            node_id i32
            host string
            port i32
            rack string 1+
        ]
        cluster_id string 2+
        controller_id i32 1+
        topics [
            error_code i16
            name string
            is_internal bool 1+
            partitions [
                error_code i16
                partition_index i32
                leader_id i32
                replica_nodes []i32
                isr_nodes []i32
                offline_replicas []i32 5+
            ]
        ]""",
    ),
    api(
        18,
        "api_versions",
        (0, 2),
        "",
        """error_code i16
        api_keys [
            api_key i16
            min_version i16
            max_version i16
        ]
        throttle_time_ms i32 1+""",
    ),
]
