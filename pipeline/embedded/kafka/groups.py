"""Coordinate consumer groups: who is a member, in which generation, with which assignment; the silent are evicted.

Each generation is in a journal before its members learn of it, and so are their assignments. After a restart the members
go on as if nothing had happened; who is not heard of within its session timeout is evicted, and only then are its
partitions another's. Generations never go back, so that who was evicted before a restart cannot commit after it.
"""

import asyncio
import logging
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from pipeline.embedded.kafka.journal import Journal
from pipeline.embedded.kafka.members import Joined, Joining, Member, State, Synced
from pipeline.embedded.kafka.messages import Code

log = logging.getLogger("usage.broker")


class Group:
    """One consumer group."""

    def __init__(self, changed: Callable[["Group"], None]) -> None:
        """Begin without members; `changed` is told before the members learn of a generation or an assignment."""
        self._changed = changed
        self.state = State.EMPTY
        self.generation = 0
        self.protocol_type = ""
        self.protocol = ""
        self.leader = ""
        self.members: dict[str, Member] = {}
        self._promised: dict[str, float] = {}
        self._rebalance_deadline = 0.0

    def line(self) -> list[Any]:
        """Return it as an entry of the journal, without its name."""
        head = [self.generation, self.state.value, self.protocol_type, self.protocol, self.leader]
        return [*head, [member.line() for member in self.members.values()]]

    def restore(self, line: list[Any]) -> None:
        """Go on as the group that `line` was written of; if its members had no assignments yet, they join again."""
        self.generation, state, self.protocol_type, self.protocol, self.leader, members = line
        self.members = {member.said.member_id: member for member in map(Member.of_line, members)}
        if State(state) in {State.EMPTY, State.STABLE}:
            self.state = State(state)
        else:
            self._prepare()

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
        self._changed(self)
        for other in self.members.values():
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
            self._changed(self)
            return
        self.state = State.COMPLETING
        if self.leader not in self.members:
            self.leader = next(iter(self.members))
        self.protocol = _common_protocols(
            [self.members[self.leader].said, *(one.said for one in self.members.values())]
        )[0]
        for member in self.members.values():
            member.assignment = b""
        self._changed(self)
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

    def __init__(self, path: Path, now: Callable[[], float] = time.monotonic) -> None:
        """Read the groups from the journal at `path`."""
        self.groups: dict[str, Group] = {}
        self._now = now
        self._journal = Journal(path, self._snapshot)
        for group_id, *line in self._journal.lines():
            self.group(group_id).restore(line)
        self._journal.rewrite()

    def group(self, group_id: str) -> Group:
        """Return a group, which is made when it is not there."""
        group = self.groups.get(group_id)
        if group is None:
            group = self.groups[group_id] = Group(lambda changed: self._save(group_id, changed))
        return group

    def forget(self, group_id: str) -> None:
        """Drop a group that has no members."""
        self.groups.pop(group_id)
        self._journal.rewrite()

    def expire(self) -> None:
        """Evict silent members, and end rebalances that wait for too long."""
        for group in self.groups.values():
            group.expire(self._now())

    def close(self) -> None:
        """Close the journal."""
        self._journal.close()

    def _save(self, group_id: str, group: Group) -> None:
        try:
            self._journal.append([[group_id, *group.line()]])
            self._journal.trim()
        except OSError:  # the group goes on: its members are waiting
            log.exception("generation %d of group %s will not be known after a restart", group.generation, group_id)

    def _snapshot(self) -> Iterator[Any]:
        for group_id, group in self.groups.items():
            if group.generation:
                yield [group_id, *group.line()]
