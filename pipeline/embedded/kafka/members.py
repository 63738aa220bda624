"""What a consumer group is made of: members with what they said, their answers, and how a group is written down."""

import asyncio
import time
from base64 import b64decode, b64encode
from enum import Enum
from typing import Any, NamedTuple

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

    def line(self) -> list[Any]:
        """Return it as a part of its group's entry in the journal."""
        said = self.said
        protocols = [[name, b64encode(metadata).decode()] for name, metadata in said.protocols]
        head = [said.member_id, said.client_id, said.instance_id, said.session_s, said.rebalance_s, said.protocol_type]
        return [*head, protocols, b64encode(self.assignment).decode()]

    @classmethod
    def of_line(cls, line: list[Any]) -> "Member":
        """Return the member that `line` was written of; it has a session timeout from now on to be heard of."""
        member_id, client_id, instance_id, session_s, rebalance_s, protocol_type, protocols, assignment = line
        said = [(name, b64decode(metadata)) for name, metadata in protocols]
        member = cls(Joining(member_id, client_id, instance_id, session_s, rebalance_s, protocol_type, said))
        member.assignment = b64decode(assignment)
        member.touch()
        return member

    @property
    def waiting(self) -> bool:
        """Whether it waits for an answer, and so cannot send heartbeats."""
        return self.join is not None or self.sync is not None
