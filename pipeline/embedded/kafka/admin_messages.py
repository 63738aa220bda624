"""List the fields of requests about topics and settings, named as in Kafka's own definitions."""

from pipeline.embedded.kafka.wire import Api, api

_TOPIC_ERRORS = """topics [
    name string
    error_code i16
    error_message string 1+
]"""

ADMIN_APIS: list[Api] = [
    api(
        19,
        "create_topics",
        (0, 3),
        """topics [
            name string
            num_partitions i32
            replication_factor i16
            assignments [
                partition_index i32
                broker_ids []i32
            ]
            configs [
                name string
                value string
            ]
        ]
        timeout_ms i32
        validate_only bool 1+""",
        "throttle_time_ms i32 2+\n" + _TOPIC_ERRORS,
    ),
    api(
        20,
        "delete_topics",
        (0, 3),
        """topic_names []string
        timeout_ms i32""",
        """throttle_time_ms i32 1+
        responses [
            name string
            error_code i16
        ]""",
    ),
    api(
        32,
        "describe_configs",
        (0, 2),
        """resources [
            resource_type i8
            resource_name string
            configuration_keys []string
        ]
        include_synonyms bool 1+""",
        """throttle_time_ms i32
        results [
            error_code i16
            error_message string
            resource_type i8
            resource_name string
            configs [
                name string
                value string
                read_only bool
                config_source i8
                is_sensitive bool
                synonyms [
                    name string
                    value string
                    source i8
                ] 1+
            ]
        ]""",
    ),
    api(
        33,
        "alter_configs",
        (0, 1),
        """resources [
            resource_type i8
            resource_name string
            configs [
                name string
                value string
            ]
        ]
        validate_only bool""",
        """throttle_time_ms i32
        responses [
            error_code i16
            error_message string
            resource_type i8
            resource_name string
        ]""",
    ),
]
