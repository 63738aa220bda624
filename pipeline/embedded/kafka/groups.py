"""Coordinate consumer groups: who is a member, in which generation, with which assignment; the silent are evicted."""

import asyncio
import time
import uuid
from collections.abc import Callable
from enum import Enum
from typing import NamedTuple

from pipeline.embedded.kafka.messages import Code

_SESSION_SECONDS = (0.1, 1800.0)


class State(Enum):
    """Where a group stands; the values are Kafka's names."""

    EMPTY = "Empty"
    PREPARING = "PreparingRebalance"
    COMPLETING = "CompletingRebalance"
    STABLE = "Stable"


class Joining(NamedTuple):
    """What a member says when it joins."""

    member_id: str
    client_id: str
    instance_id: str | None
    session_s: float
    rebalance_s: float
    protocol_type: str
    protocols: list[tuple[str, bytes]]


class Joined(NamedTuple):
    """The answer to a join; only the leader gets the members with their metadata."""

    error: int
    generation: int = -1
    protocol: str = ""
    leader: str = ""
    member_id: str = ""
    members: tuple[tuple[str, str | None, bytes], ...] = ()


class Synced(NamedTuple):
    """The answer to a sync: this member's assignment."""

    error: int
    assignment: bytes = b""


class Member:
    """One member of a group."""

    def __init__(self, joining: Joining) -> None:
        """Take what it said when it joined."""
        self.said = joining
        self.assignment = b""
        self.join: asyncio.Future[Joined] | None = None
        self.sync: asyncio.Future[Synced] | None = None
        self.deadline = 0.0

    def touch(self) -> None:
        """Begin its session timeout afresh."""
        low, high = _SESSION_SECONDS
        self.deadline = time.monotonic() + min(max(self.said.session_s, low), high)

    @property
    def waiting(self) -> bool:
        """Whether it waits for an answer, and so cannot send heartbeats."""
        return self.join is not None or self.sync is not None


class Group:
    """One consumer group."""

    def __init__(self) -> None:
        """Begin without members."""
        self.state = State.EMPTY
        self.generation = 0
        self.protocol_type = ""
        self.protocol = ""
        self.leader = ""
        self.members: dict[str, Member] = {}
        self._promised: dict[str, float] = {}
        self._rebalance_deadline = 0.0

    def promise_member_id(self, client_id: str, session_s: float) -> str:
        """Return an id under which a new member may join; it lapses after the session timeout."""
        member_id = f"{client_id}-{uuid.uuid4()}"
        self._promised[member_id] = time.monotonic() + session_s
        return member_id

    async def join(self, joining: Joining) -> Joined:
        """Take a member in and return when the generation it belongs to begins."""
        error = self._refusal(joining)
        if error:
            return Joined(error, member_id=joining.member_id)
        member = self.members.get(joining.member_id)
        if member is None:
            self._drop_instance(joining.instance_id)
            member = self.members[joining.member_id] = Member(joining)
            self._promised.pop(joining.member_id, None)
            changed = True
        else:
            changed = member.said.protocols != joining.protocols or self.leader == joining.member_id
            member.said = joining
        self.protocol_type = joining.protocol_type
        member.touch()
        if self.state in {State.STABLE, State.COMPLETING} and not changed:
            return self._joined(joining.member_id)
        _answer_join(member, Joined(Code.REBALANCE_IN_PROGRESS, member_id=joining.member_id))  # it asked twice
        member.join = asyncio.get_running_loop().create_future()
        self._prepare()
        waiting = member.join
        self._begin_generation_if_all_joined()
        return await waiting

    async def sync(self, member_id: str, generation: int, assignments: dict[str, bytes]) -> Synced:
        """Take the leader's assignments, or wait for them; return this member's."""
        error = self._error_of(member_id, generation)
        if error or self.state is State.PREPARING:
            return Synced(error or Code.REBALANCE_IN_PROGRESS)
        member = self.members[member_id]
        member.touch()
        if self.state is State.STABLE:
            return Synced(Code.NONE, member.assignment)
        if member_id != self.leader:
            _answer_sync(member, Synced(Code.REBALANCE_IN_PROGRESS))  # it asked twice
            member.sync = asyncio.get_running_loop().create_future()
            return await member.sync
        self.state = State.STABLE
        for other_id, other in self.members.items():
            other.assignment = assignments.get(other_id, b"")
            _answer_sync(other, Synced(Code.NONE, other.assignment))
        return Synced(Code.NONE, member.assignment)

    def heartbeat(self, member_id: str, generation: int) -> int:
        """Note that a member lives; the answer tells it whether it must join again."""
        error = self._error_of(member_id, generation)
        if error:
            return error
        self.members[member_id].touch()
        return Code.REBALANCE_IN_PROGRESS if self.state is State.PREPARING else Code.NONE

    def leave(self, member_id: str) -> int:
        """Let a member go; the others share its partitions at once."""
        if member_id not in self.members:
            return Code.UNKNOWN_MEMBER_ID
        self._remove(member_id)
        return Code.NONE

    def may_commit(self, member_id: str, generation: int) -> int:
        """Tell whether a commit is allowed: members in their generation, and everybody while there are no members."""
        if generation < 0 and not self.members:
            return Code.NONE
        error = self._error_of(member_id, generation)
        if error:
            return error
        self.members[member_id].touch()
        return Code.REBALANCE_IN_PROGRESS if self.state is State.COMPLETING else Code.NONE

    def expire(self, now: float) -> None:
        """Evict who has been silent for a session timeout, and end a rebalance that waits for too long."""
        for member_id in [key for key, one in self.members.items() if one.deadline < now and not one.waiting]:
            self._remove(member_id)
        for member_id in [key for key, deadline in self._promised.items() if deadline < now]:
            del self._promised[member_id]
        if self.state is State.PREPARING and self._rebalance_deadline < now:
            for member_id in [key for key, one in self.members.items() if one.join is None]:
                self._remove(member_id)
            self._begin_generation_if_all_joined()

    def _refusal(self, joining: Joining) -> int:
        if joining.member_id not in self.members and joining.member_id not in self._promised:
            return Code.UNKNOWN_MEMBER_ID
        others = [one for key, one in self.members.items() if key != joining.member_id]
        common = _common_protocols([joining, *(one.said for one in others)])
        if not common or (others and self.protocol_type != joining.protocol_type):
            return Code.INCONSISTENT_GROUP_PROTOCOL
        return Code.NONE

    def _drop_instance(self, instance_id: str | None) -> None:
        """Let a static member that came back take the place of its former self."""
        if instance_id is not None:
            for member_id in [key for key, one in self.members.items() if one.said.instance_id == instance_id]:
                self._remove(member_id)

    def _remove(self, member_id: str) -> None:
        member = self.members.pop(member_id)
        _answer_join(member, Joined(Code.UNKNOWN_MEMBER_ID, member_id=member_id))
        _answer_sync(member, Synced(Code.UNKNOWN_MEMBER_ID))
        self._prepare()
        self._begin_generation_if_all_joined()

    def _prepare(self) -> None:
        if self.state is State.PREPARING:
            return
        self.state = State.PREPARING
        longest = max((one.said.rebalance_s for one in self.members.values()), default=0.0)
        self._rebalance_deadline = time.monotonic() + longest
        for member in self.members.values():
            _answer_sync(member, Synced(Code.REBALANCE_IN_PROGRESS))

    def _begin_generation_if_all_joined(self) -> None:
        if self.state is not State.PREPARING or any(one.join is None for one in self.members.values()):
            return
        self.generation += 1
        if not self.members:
            self.state, self.leader, self.protocol = State.EMPTY, "", ""
            return
        self.state = State.COMPLETING
        if self.leader not in self.members:
            self.leader = next(iter(self.members))
        self.protocol = _common_protocols(
            [self.members[self.leader].said, *(one.said for one in self.members.values())]
        )[0]
        for member_id, member in self.members.items():
            member.touch()
            _answer_join(member, self._joined(member_id))

    def _joined(self, member_id: str) -> Joined:
        members: tuple[tuple[str, str | None, bytes], ...] = ()
        if member_id == self.leader:
            members = tuple(
                (key, one.said.instance_id, dict(one.said.protocols)[self.protocol])
                for key, one in self.members.items()
            )
        return Joined(Code.NONE, self.generation, self.protocol, self.leader, member_id, members)

    def _error_of(self, member_id: str, generation: int) -> int:
        if member_id not in self.members:
            return Code.UNKNOWN_MEMBER_ID
        return Code.NONE if generation == self.generation else Code.ILLEGAL_GENERATION


def _answer_join(member: Member, answer: Joined) -> None:
    if member.join is not None and not member.join.done():
        member.join.set_result(answer)
    member.join = None


def _answer_sync(member: Member, answer: Synced) -> None:
    if member.sync is not None and not member.sync.done():
        member.sync.set_result(answer)
    member.sync = None


def _common_protocols(members: list[Joining]) -> list[str]:
    """Return the protocols that all support, in the order in which the first one prefers them."""
    shared = set.intersection(*({name for name, _ in one.protocols} for one in members))
    return [name for name, _ in members[0].protocols if name in shared]


class Groups:
    """All groups, and the clock that evicts."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        """Begin without groups: members are not kept over a restart, they join again."""
        self.groups: dict[str, Group] = {}
        self._now = now

    def group(self, group_id: str) -> Group:
        """Return a group, which is made when it is not there."""
        return self.groups.setdefault(group_id, Group())

    def expire(self) -> None:
        """Evict silent members, and end rebalances that wait for too long."""
        for group in self.groups.values():
            group.expire(self._now())
