import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest
import pytest_asyncio

from pipeline.access import KeyRing, KeysNotReadError, UnauthenticatedError, new_key
from pipeline.access.log import KeyFollower, KeysUnavailableError, read_keys, write_key, write_record
from pipeline.domain.records import KEYS_TOPIC
from pipeline.settings import Settings, load_settings
from pipeline.stream.topics import ensure_topics
from tests.fixtures.servers import Server, broker_server


@pytest_asyncio.fixture
async def server(tmp_path: Path) -> AsyncIterator[Server]:
    started = await broker_server(tmp_path / "broker").started()
    yield started
    started.kill()


def settings_of(server: Server) -> Settings:
    return load_settings(kafka=server.address, partitions=2)


async def until_refused(ring: KeyRing, token: str) -> str:
    async with asyncio.timeout(10):
        while True:
            try:
                ring.principal(token, 2)
            except UnauthenticatedError as error:
                return str(error)
            await asyncio.sleep(0.005)  # another task reads what this waits for


@pytest.mark.asyncio
async def test_a_follower_reads_everything_and_then_every_change(server: Server) -> None:
    """Keys from before and after the start are known, and a revocation holds as soon as it is read."""
    settings = settings_of(server)
    await ensure_topics(settings)
    made = [new_key("customer", f"c{number}", 1) for number in range(20)]
    await asyncio.gather(*(write_key(settings, key) for _, key in made))
    await write_record(settings, KEYS_TOPIC, b"signing/dep_acme/1", b"{}")
    await write_record(settings, KEYS_TOPIC, b"key/0123456789ab", b"not json")
    ring = KeyRing()
    follower = KeyFollower(settings, ring)

    await follower.start()
    try:
        async with asyncio.timeout(10):
            await follower.read.wait()
        assert [ring.principal(token, 2).owner for token, _ in made] == [f"c{number}" for number in range(20)]
        assert follower.fault is None

        token, key = made[7]
        await write_key(settings, msgspec.structs.replace(key, revoked_us=2))
        assert "revoked" in await until_refused(ring, token)
    finally:
        await follower.stop()
    assert {key.id for _, key in made} == set(await read_keys(settings))


@pytest.mark.asyncio
async def test_without_the_topic_nobody_is_let_in(server: Server) -> None:
    """A follower says what is missing, lets nobody in, and goes on by itself when the topic is there."""
    settings = settings_of(server)
    token, _ = new_key("operator", None, 1)
    ring = KeyRing()
    follower = KeyFollower(settings, ring)

    await follower.start()
    try:
        async with asyncio.timeout(10):
            while "usage topics" not in str(follower.fault):  # noqa: ASYNC110 - another task writes it
                await asyncio.sleep(0.01)
        with pytest.raises(KeysNotReadError):
            ring.principal(token, 2)
        await ensure_topics(settings)
        async with asyncio.timeout(10):
            await follower.read.wait()
    finally:
        await follower.stop()
    with pytest.raises(UnauthenticatedError):
        ring.principal(token, 2)


@pytest.mark.asyncio
async def test_reading_without_the_topic_says_what_to_do(server: Server) -> None:
    """A command that reads keys names the missing topic."""
    with pytest.raises(KeysUnavailableError, match="usage topics"):
        await read_keys(settings_of(server))
