"""The parts of the Faust app that can be looked at without a broker."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka.errors import GroupAuthorizationFailedError
from faust.tables.recovery import RebalanceAgain
from faust.types import TP
from faust.types.tuples import Message

from pipeline.codec.states import Positions
from pipeline.domain.records import EVENTS_TOPIC, GRANTS_TOPIC, STATES_TOPIC
from pipeline.settings import load_settings
from pipeline.stream.app import WorkerApp, create_app
from pipeline.stream.bundles import Bundle, bundle_message
from pipeline.stream.fetching import FETCH_BYTES_MAX, BundleThread
from pipeline.stream.holdings import Holding
from pipeline.stream.names import worker_name
from pipeline.stream.topics import TopicError
from tests.fixtures.servers import broker_server
from tests.stream.stub import StubLedger

pytestmark = pytest.mark.asyncio

EVENTS_0 = TP(EVENTS_TOPIC, 0)


def new_app() -> WorkerApp:
    app = create_app(load_settings(), StubLedger)
    app.finalize()
    return app


async def test_is_a_faust_app_with_two_agents_and_one_table():
    """Faust knows an agent for each source topic, and one table behind the changelog topic."""
    app = new_app()

    assert {topic for agent in app.agents.values() for topic in agent.get_topic_names()} == {EVENTS_TOPIC, GRANTS_TOPIC}
    assert [agent.concurrency for agent in app.agents.values()] == [1, 1]
    assert app.tables.changelog_topics == {STATES_TOPIC}


async def test_commits_only_what_is_settled():
    """What Faust's streams ack by themselves is never committed, a skipped message least of all (faust-streaming 606)."""
    consumer = new_app().consumer
    message: Message = bundle_message(Bundle(EVENTS_TOPIC, 0, 1, 0, [], 5), generation_id=1)
    message.refcount = 1

    message.ack(consumer)
    assert consumer._filter_committable_offsets([EVENTS_0]) == {}

    consumer.settle(EVENTS_0, 3)
    assert list(consumer._filter_tps_with_pending_acks()) == [EVENTS_0]
    assert consumer._filter_committable_offsets([EVENTS_0]) == {EVENTS_0: 3}


async def test_does_not_commit_the_same_place_twice():
    """Without progress there is nothing to commit."""
    consumer = new_app().consumer
    consumer.settle(EVENTS_0, 3)
    consumer._committed_offset[EVENTS_0] = 3

    assert consumer._filter_committable_offsets([EVENTS_0]) == {}


async def test_an_error_in_an_agent_stops_the_worker():
    """Faust would commit the message at which the agent failed, and start the agent again."""
    app = new_app()

    await app._on_agent_error(app.agents, ValueError("a fault of ours"))

    assert app.crashed
    assert str(app.crash_reason) == "a fault of ours"


async def test_a_lost_group_stops_the_worker(monkeypatch):
    """What makes the client give up the group for good is raised; Faust would wait for partitions for ever."""

    class RefusedThread:
        async def check_group(self) -> None:
            raise GroupAuthorizationFailedError("usage-worker")

    consumer = new_app().consumer
    monkeypatch.setattr(consumer, "_thread", RefusedThread())
    monkeypatch.setattr("pipeline.stream.consumer.GROUP_CHECK_S", 0.0)

    with pytest.raises(GroupAuthorizationFailedError):
        await consumer._watch_group.fun(consumer)


class Recorder:
    """Notes what is called, and answers as told."""

    def __init__(self, calls: list[str], **attributes: Any) -> None:
        self._calls = calls
        self.__dict__.update(attributes)

    def __getattr__(self, name: str) -> Any:
        return lambda *_: self._calls.append(name)


class RecordedConsumer(Recorder):
    async def seek_to_work(self, done: dict[int, Positions]) -> tuple[dict, dict]:
        self._calls.append("seek_to_work")
        return {TP(EVENTS_TOPIC, partition): of.events for partition, of in done.items()}, {}

    async def pause_at_broker(self, _: set[TP]) -> None:
        self._calls.append("pause_at_broker")


def recorded_app(revocations: int) -> tuple[WorkerApp, list[str]]:
    calls: list[str] = []
    app = new_app()
    app.consumer = RecordedConsumer(calls, revocations=revocations)
    app.consumer_generation_id = 7
    app.__dict__["flow_control"] = Recorder(calls)
    app.__dict__["_fetcher"] = SimpleNamespace(maybe_start=lambda: asyncio.sleep(0))
    app.rounds = Recorder(calls)
    app.holdings.__dict__["_held"] = {0: Holding(0, StubLedger(), Recorder(calls))}
    app.holdings[0].positions, app.holdings[0].recovered = Positions(5, 0), True
    app.tables.recovery.active_tps = {TP(STATES_TOPIC, 0)}
    return app, calls


async def test_seeks_before_it_resumes():
    """Queues are cleared, partitions are sought, and only then resumed; Faust resumes first and loses what comes in between.

    https://github.com/faust-streaming/faust/issues/596
    """
    app, calls = recorded_app(revocations=2)

    await app.tables.recovery._recover(7, revocations=2)

    order = ["pause_at_broker", "resume", "resume_flow", "seek_to_work", "begin", "resume_partitions"]
    assert calls[: len(order)] == order


async def test_an_outdated_recovery_resumes_nothing():
    """When partitions were taken away during the recovery, none of them is worked on."""
    app, calls = recorded_app(revocations=3)

    with pytest.raises(RebalanceAgain):
        await app.tables.recovery._recover(7, revocations=2)

    assert "begin" not in calls
    assert "resume_partitions" not in calls


async def test_needs_its_topics(tmp_path):
    """Without topics the worker does not start, and says which command makes them."""
    server = await broker_server(tmp_path / "broker").started()
    try:
        app = create_app(load_settings(kafka=server.address), StubLedger)
        with pytest.raises(TopicError, match="`usage topics`"):
            await app.start()
    finally:
        server.stop()


async def test_names_are_unique_and_come_back(tmp_path):
    """Workers on one machine have different names, and a name that has become free is taken again."""
    with worker_name("group", tmp_path) as first:
        with worker_name("group", tmp_path) as second:
            assert first != second
        with worker_name("group", tmp_path) as again:
            assert again == second
    with worker_name("group", tmp_path) as last:
        assert last == first


async def test_nothing_of_fausts_waits_where_ours_must_not():
    """Faust's waits for empty queues, its sleep of a second at 80 % of a buffer, its idle fetch of 1.5 s are kept away."""
    app = new_app()
    consumer = BundleThread(app.consumer, settings=app.settings)._create_worker_consumer()

    assert app.conf.stream_wait_empty is False
    assert app.conf.stream_buffer_maxsize * 0.8 > app.settings.worker_buffer_bytes_max / FETCH_BYTES_MAX
    assert consumer._fetch_max_wait_ms < 1500
