"""Consumer groups of the embedded broker over a restart: members, assignments and generations."""

import asyncio
import time
from pathlib import Path

import pytest

from pipeline.embedded.kafka.groups import Group, Groups
from pipeline.embedded.kafka.members import Joined, Joining, State
from pipeline.embedded.kafka.messages import Code

pytestmark = pytest.mark.asyncio
SESSION_S = 10.0


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "groups.ndjson"


def member(member_id: str, instance_id: str | None = None) -> Joining:
    return Joining(member_id, "client", instance_id, SESSION_S, SESSION_S, "consumer", [("range", b"\x00meta\xff")])


def joining(group: Group, count: int) -> list[asyncio.Task[Joined]]:
    """Let new members ask to join; each waits until the generation begins."""
    ids = [group.promise_member_id("client", SESSION_S) for _ in range(count)]
    return [asyncio.create_task(group.join(member(member_id))) for member_id in ids]


async def stable(group: Group, count: int) -> list[str]:
    """Bring a group with so many members to its first assignment; return their ids, the leader's first."""
    joins = joining(group, count)
    first = await joins[0]
    await asyncio.sleep(0)
    again = await asyncio.gather(group.join(member(first.member_id)), *joins[1:])  # the first one began alone
    ids = [one.member_id for one in again]
    syncs = [asyncio.create_task(group.sync(one, group.generation, {})) for one in ids[1:]]
    await asyncio.sleep(0)
    await group.sync(ids[0], group.generation, {one: one.encode() for one in ids})
    await asyncio.gather(*syncs)
    return ids


async def test_a_stable_group_goes_on(path):
    """After a restart its members heartbeat, commit and ask for their assignment in the same generation."""
    groups = Groups(path)
    ids = await stable(groups.group("g"), 2)
    generation = groups.group("g").generation

    again = Groups(path).group("g")

    assert (again.state, again.generation, again.leader, list(again.members)) == (State.STABLE, generation, ids[0], ids)
    for one in ids:
        assert again.heartbeat(one, generation) == again.may_commit(one, generation) == Code.NONE
        assert (await again.sync(one, generation, {})).assignment == one.encode()


async def test_a_member_that_does_not_come_back_is_waited_for(path):
    """A rebalance after a restart waits for all members, and leaves the silent one behind at its session timeout only."""
    groups = Groups(path)
    ids = await stable(groups.group("g"), 2)
    generation = groups.group("g").generation
    groups = Groups(path, now=lambda: time.monotonic() + late_s)
    group, late_s = groups.group("g"), 0.0

    back = asyncio.create_task(group.join(member(ids[0])))
    await asyncio.sleep(0)
    late_s = SESSION_S - 1
    groups.expire()
    assert not back.done()
    late_s = SESSION_S + 1
    groups.expire()

    assert ((await back).generation, list(group.members)) == (generation + 1, [ids[0]])
    assert group.may_commit(ids[1], generation) == Code.UNKNOWN_MEMBER_ID


async def test_an_old_generation_stays_over(path):
    """Who commits with a generation from before the last rebalance is refused after a restart too."""
    groups = Groups(path)
    ids = await stable(groups.group("g"), 2)
    old = groups.group("g").generation
    groups.group("g").leave(ids[1])
    await groups.group("g").join(member(ids[0]))

    again = Groups(path).group("g")

    assert again.generation == old + 1
    assert again.may_commit(ids[0], old) == Code.ILLEGAL_GENERATION
    assert again.may_commit(ids[1], old) == Code.UNKNOWN_MEMBER_ID


async def test_a_group_without_members_remembers_its_generation(path):
    """When the last member has left, a restart does not take the generation back to the beginning."""
    groups = Groups(path)
    (only,) = await stable(groups.group("g"), 1)
    old = groups.group("g").generation
    groups.group("g").leave(only)

    again = Groups(path).group("g")
    (joined,) = await asyncio.gather(*joining(again, 1))

    assert joined.generation > old
    assert again.may_commit(only, old) == Code.UNKNOWN_MEMBER_ID


async def test_a_restart_within_a_rebalance_lets_everybody_join_again(path):
    """Members that had a new generation but no assignments are told to rejoin, and are given time for it."""
    groups = Groups(path)
    ids = await stable(groups.group("g"), 2)
    joins = [asyncio.create_task(groups.group("g").join(member(one))) for one in ids]
    generation = (await asyncio.gather(*joins))[0].generation

    groups = Groups(path)
    group = groups.group("g")
    groups.expire()

    assert [group.heartbeat(one, generation) for one in ids] == [Code.REBALANCE_IN_PROGRESS] * 2
    assert {one.generation for one in await asyncio.gather(*(group.join(member(one)) for one in ids))} == {
        generation + 1
    }


async def test_a_deleted_group_is_forgotten(path):
    """Nothing of it comes back with a restart."""
    groups = Groups(path)
    (only,) = await stable(groups.group("g"), 1)
    groups.group("g").leave(only)
    groups.forget("g")
    groups.close()

    assert Groups(path).groups == {}
