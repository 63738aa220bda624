"""The Kafka topics of the pipeline: read from `schemas/topics/`, created when missing."""

from dataclasses import dataclass, field
from typing import Any, Literal

import yaml
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import TopicAlreadyExistsError, for_code

from pipeline.domain.records import (
    ALERTS_TOPIC,
    CATALOG_TOPIC,
    CLOSINGS_TOPIC,
    DEAD_LETTER_TOPIC,
    EVENTS_TOPIC,
    GRANTS_TOPIC,
    KEYS_TOPIC,
    LINES_TOPIC,
    PAYOUTS_TOPIC,
    QUOTA_TOPIC,
    STATES_TOPIC,
)
from pipeline.settings import Settings
from pipeline.settings.clients import kafka_arguments
from pipeline.settings.resources import schema_path

TOPICS = (
    EVENTS_TOPIC,
    GRANTS_TOPIC,
    LINES_TOPIC,
    DEAD_LETTER_TOPIC,
    ALERTS_TOPIC,
    QUOTA_TOPIC,
    STATES_TOPIC,
    KEYS_TOPIC,
    CATALOG_TOPIC,
    CLOSINGS_TOPIC,
    PAYOUTS_TOPIC,
)
"""All of them have the same number of partitions: a customer's records, lines and states keep one partition number."""


class TopicError(Exception):
    """A topic cannot be used as it is; the message says what is wrong and what to do."""


@dataclass(frozen=True)
class TopicSpec:
    """A topic as `schemas/topics/<name>.yaml` describes it."""

    name: str
    about: str
    config: dict[str, str]


@dataclass(frozen=True)
class TopicResult:
    """What `ensure_topics` found or did; `differences` are settings that the broker has otherwise than we want."""

    name: str
    partitions: int
    outcome: Literal["created", "exists"]
    differences: dict[str, tuple[str, str | None]] = field(default_factory=dict)
    """By setting: what we want, what the broker has."""


def load_topics() -> list[TopicSpec]:
    """Return the topics in `schemas/topics/`, in the order of TOPICS."""
    return [_load_topic(name) for name in TOPICS]


def _load_topic(name: str) -> TopicSpec:
    described = yaml.safe_load(schema_path("topics", f"{name}.yaml").read_text())
    if described["topic"] != name:
        raise TopicError(f"schemas/topics/{name}.yaml describes {described['topic']!r}: give the file the topic's name")
    return TopicSpec(name, described["about"].strip(), {key: str(value) for key, value in described["config"].items()})


async def ensure_topics(settings: Settings) -> list[TopicResult]:
    """Create the topics that are missing, and say how those that exist differ.

    Raises:
        TopicError: a topic has another number of partitions, or could not be created.
        aiokafka.errors.KafkaError: the broker cannot be reached.

    """
    admin = AIOKafkaAdminClient(**kafka_arguments(settings))
    await admin.start()
    try:
        specs = load_topics()
        existing = await _partition_counts(admin)
        _check_partitions(existing, settings.partitions)
        created = await _create(admin, [spec for spec in specs if spec.name not in existing], settings)
        existing = await _partition_counts(admin)
        _check_partitions(existing, settings.partitions)
        actual = await _configs(admin, [spec.name for spec in specs if spec.name not in created])
        return [
            TopicResult(
                spec.name,
                existing.get(spec.name, settings.partitions),
                "created" if spec.name in created else "exists",
                _differences(spec, actual[spec.name]) if spec.name in actual else {},
            )
            for spec in specs
        ]
    finally:
        await admin.close()


async def check_topics(settings: Settings) -> None:
    """Make sure that a worker can start: every topic is there, all with the same number of partitions.

    Raises:
        TopicError: it cannot; the message says what to do.
        aiokafka.errors.KafkaError: the broker cannot be reached.

    """
    admin = AIOKafkaAdminClient(**kafka_arguments(settings))
    await admin.start()
    try:
        existing = await _partition_counts(admin)
    finally:
        await admin.close()
    missing = [name for name in TOPICS if name not in existing]
    if missing:
        raise TopicError(f"{', '.join(missing)}: not there. Create the topics with `usage topics`")
    _check_partitions(existing, existing[EVENTS_TOPIC])


async def _partition_counts(admin: AIOKafkaAdminClient) -> dict[str, int]:
    existing = set(await admin.list_topics()) & set(TOPICS)
    if not existing:
        return {}
    return {topic["topic"]: len(topic["partitions"]) for topic in await admin.describe_topics(sorted(existing))}


async def _create(admin: AIOKafkaAdminClient, missing: list[TopicSpec], settings: Settings) -> set[str]:
    """Create topics and return the names of those that were not created by somebody else in the meantime."""
    if not missing:
        return set()
    response = await admin.create_topics(
        [
            NewTopic(spec.name, settings.partitions, settings.replication_factor, topic_configs=spec.config)
            for spec in missing
        ]
    )
    created = set()
    for name, code, *message in response.topic_errors:
        if code == 0:
            created.add(name)
        elif code != TopicAlreadyExistsError.errno:
            reason = f"{for_code(code).__name__} {message[0] if message and message[0] else ''}".strip()
            raise TopicError(
                f"{name}: the broker refused to create it: {reason}. Check replication_factor "
                f"({settings.replication_factor}), the broker's message.max.bytes and our right to create topics"
            )
    return created


def _check_partitions(existing: dict[str, int], wanted: int) -> None:
    wrong = {name: count for name, count in existing.items() if count != wanted}
    if wrong:
        found = ", ".join(f"{name} has {count}" for name, count in sorted(wrong.items()))
        raise TopicError(
            f"all topics need {wanted} partitions, but {found}. Set USAGE_PARTITIONS to the number that the topics have; "
            "to change it, drain the workers, and move to new topics: states lie in partitions by customer"
        )


async def _configs(admin: AIOKafkaAdminClient, names: list[str]) -> dict[str, dict[str, str]]:
    if not names:
        return {}
    configs: dict[str, dict[str, str]] = {}
    for response in await admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, name) for name in names]):
        for code, _, _, name, entries in response.resources:
            if code == 0:
                configs[name] = {entry[0]: entry[1] for entry in entries}
    return configs


def _differences(spec: TopicSpec, actual: dict[str, Any]) -> dict[str, tuple[str, str | None]]:
    return {key: (value, actual.get(key)) for key, value in spec.config.items() if actual.get(key) != value}
