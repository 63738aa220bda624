"""The topics' descriptions and their creation."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from pipeline.domain.records import EVENTS_TOPIC, GRANTS_TOPIC, STATES_TOPIC
from pipeline.settings import load_settings
from pipeline.settings.resources import schema_path
from pipeline.stream.topics import TOPICS, TopicError, ensure_topics, load_topics
from tests.fixtures.servers import broker_server

NEVER_DELETED = {"retention.ms": "-1"}


@pytest.fixture
def empty_broker(tmp_path: Path) -> Iterator[str]:
    server = broker_server(tmp_path / "broker").start()
    yield server.address
    server.stop()


def test_every_topic_is_described():
    """There is one file a topic, and each says who writes, who reads, and what is in it."""
    files = {path.stem for path in schema_path("topics").glob("*.yaml")}

    assert files == set(TOPICS)
    for name in files:
        described = yaml.safe_load(schema_path("topics", f"{name}.yaml").read_text())
        assert described.keys() >= {"topic", "about", "producers", "consumers", "key", "value", "config"}


def test_what_is_not_rated_is_never_deleted():
    """The source topics keep everything, with the producers' timestamps; the changelog is compacted and keeps its keys."""
    config = {spec.name: spec.config for spec in load_topics()}

    for source in (EVENTS_TOPIC, GRANTS_TOPIC):
        assert config[source].items() >= ({"message.timestamp.type": "CreateTime"} | NEVER_DELETED).items()
    assert config[STATES_TOPIC].items() >= ({"cleanup.policy": "compact"} | NEVER_DELETED).items()


def test_the_room_can_be_imported_without_faust():
    """Commands that only need the topics do not load the stream engine."""
    code = "import pipeline.stream.topics, sys; sys.exit('faust' in sys.modules)"

    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.asyncio
async def test_topics_are_created_once(empty_broker: str):
    """A first call creates all topics with the wanted settings; a second one finds nothing to do."""
    settings = load_settings(kafka=empty_broker, partitions=3)

    first = await ensure_topics(settings)
    second = await ensure_topics(settings)

    assert [(r.name, r.partitions, r.outcome) for r in first] == [(name, 3, "created") for name in TOPICS]
    assert [(r.outcome, r.differences) for r in second] == [("exists", {})] * len(TOPICS)


@pytest.mark.asyncio
async def test_other_settings_are_reported(empty_broker: str):
    """A topic that exists with other settings is left alone, and the differences are told."""
    admin = AIOKafkaAdminClient(bootstrap_servers=empty_broker)
    await admin.start()
    await admin.create_topics([NewTopic(EVENTS_TOPIC, 2, 1, topic_configs={"retention.ms": "1000"})])
    await admin.close()

    results = {r.name: r for r in await ensure_topics(load_settings(kafka=empty_broker, partitions=2))}

    assert results[EVENTS_TOPIC].outcome == "exists"
    assert results[EVENTS_TOPIC].differences["retention.ms"] == ("-1", "1000")


@pytest.mark.asyncio
async def test_other_partition_counts_are_refused(empty_broker: str):
    """A topic with another number of partitions stops everything, before anything is created, and says what to do."""
    admin = AIOKafkaAdminClient(bootstrap_servers=empty_broker)
    await admin.start()
    await admin.create_topics([NewTopic(EVENTS_TOPIC, 2, 1)])

    with pytest.raises(TopicError, match=r"usage\.events has 2.*USAGE_PARTITIONS"):
        await ensure_topics(load_settings(kafka=empty_broker, partitions=3))

    assert set(await admin.list_topics()) & set(TOPICS) == {EVENTS_TOPIC}
    await admin.close()
