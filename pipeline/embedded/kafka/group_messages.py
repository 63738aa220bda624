"""List the fields of requests of consumer groups, named as in Kafka's own definitions."""

from pipeline.embedded.kafka.wire import Api, api

GROUP_APIS: list[Api] = [
    api(
        8,
        "offset_commit",
        (2, 3),
        """group_id string
        generation_id i32
        member_id string
        retention_time_ms i64
        topics [
            name string
            partitions [
                partition_index i32
                committed_offset i64
                committed_metadata string
            ]
        ]""",
        """throttle_time_ms i32 3+
        topics [
            name string
            partitions [
                partition_index i32
                error_code i16
            ]
        ]""",
    ),
    api(
        9,
        "offset_fetch",
        (1, 3),
        """group_id string
        topics [
            name string
            partition_indexes []i32
        ]""",
        """throttle_time_ms i32 3+
        topics [
            name string
            partitions [
                partition_index i32
                committed_offset i64
                metadata string
                error_code i16
            ]
        ]
        error_code i16 2+""",
    ),
    api(
        10,
        "find_coordinator",
        (0, 2),
        """key string
        key_type i8 1+""",
        """throttle_time_ms i32 1+
        error_code i16
        error_message string 1+
        node_id i32
        host string
        port i32""",
    ),
    api(
        11,
        "join_group",
        (0, 5),
        """group_id string
        session_timeout_ms i32
        rebalance_timeout_ms i32 1+
        member_id string
        group_instance_id string 5+
        protocol_type string
        protocols [
            name string
            metadata bytes
        ]""",
        """throttle_time_ms i32 2+
        error_code i16
        generation_id i32
        protocol_name string
        leader string
        member_id string
        members [
            member_id string
            group_instance_id string 5+
            metadata bytes
        ]""",
    ),
    api(
        12,
        "heartbeat",
        (0, 3),
        """group_id string
        generation_id i32
        member_id string
        group_instance_id string 3+""",
        """throttle_time_ms i32 1+
        error_code i16""",
    ),
    api(
        13,
        "leave_group",
        (0, 2),
        """group_id string
        member_id string""",
        """throttle_time_ms i32 1+
        error_code i16""",
    ),
    api(
        14,
        "sync_group",
        (0, 3),
        """group_id string
        generation_id i32
        member_id string
        group_instance_id string 3+
        assignments [
            member_id string
            assignment bytes
        ]""",
        """throttle_time_ms i32 1+
        error_code i16
        assignment bytes""",
    ),
    api(
        15,
        "describe_groups",
        (0, 2),
        """groups []string""",
        """throttle_time_ms i32 1+
        groups [
            error_code i16
            group_id string
            group_state string
            protocol_type string
            protocol_data string
            members [
                member_id string
                client_id string
                client_host string
                member_metadata bytes
                member_assignment bytes
            ]
        ]""",
    ),
    api(
        16,
        "list_groups",
        (0, 1),
        "",
        """throttle_time_ms i32 1+
        error_code i16
        groups [
            group_id string
            protocol_type string
        ]""",
    ),
    api(
        42,
        "delete_groups",
        (0, 1),
        """groups_names []string""",
        """throttle_time_ms i32
        results [
            group_id string
            error_code i16
        ]""",
    ),
]
