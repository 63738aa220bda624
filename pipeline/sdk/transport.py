"""What a transport does with a batch, and what can come of it."""

from collections.abc import Sequence
from typing import NamedTuple, Protocol


class Refusal(NamedTuple):
    """An event of a batch that will never be accepted."""

    place: int
    """In the batch, from 0."""
    code: str
    message: str


class Answered(NamedTuple):
    """The events were taken, except those that are refused for good and those that are to be sent again."""

    refused: Sequence[Refusal] = ()
    again: Sequence[int] = ()


class TooLarge(NamedTuple):
    """The batch was refused as a whole, which its parts need not be."""

    code: str
    message: str


class Away(NamedTuple):
    """Nothing is known to have arrived: to be sent again, not before `retry_after_s`."""

    reason: str
    retry_after_s: float = 0.0


Outcome = Answered | TooLarge | Away


class Transport(Protocol):
    """A way to the pipeline. All but `endpoint` and `forget` is called by one thread."""

    @property
    def endpoint(self) -> str:
        """Return where it leads: no secret is in it."""

    def send(self, events: Sequence[bytes]) -> Outcome:
        """Send events, each one's JSON, and return what came of it within some seconds."""

    def close(self) -> None:
        """Let go of connections."""

    def forget(self) -> None:
        """Leave alone the connections that a fork has copied: they are the parent's."""
