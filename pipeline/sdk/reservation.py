"""A reservation: held from before a call until what it used is known (R9)."""

from collections.abc import Mapping
from typing import Any, Protocol, Self, Unpack

from pipeline.sdk.events import InvalidEvent, UsageFields, new_id


class _Client(Protocol):
    def commit(self, reservation: str | None, **fields: Unpack[UsageFields]) -> str | None: ...

    def release(self, reservation: str) -> str | None: ...

    def refuse(self, error: Exception) -> None: ...


class Reservation:
    """Ends by `commit` or `release`; else by itself, when its time is up. As a context manager it ends with the block."""

    def __init__(self, client: _Client, identity: str | None, fields: Mapping[str, Any]) -> None:
        self.id = identity
        """None when it was not taken: then nothing is held, and a commit is an ordinary usage event."""
        self._client = client
        self._fields = {name: value for name, value in fields.items() if name != "time"}
        self._fields["id"] = new_id()
        self._committed = self._released = False

    def commit(self, **used: Unpack[UsageFields]) -> str | None:
        """Emit what was used, by default what was reserved, and return the event's id; see `UsageClient.emit`.

        It can be done once. What was used is charged also after a release, or when the time is up (R9.4).
        """
        if self._committed:
            self._client.refuse(InvalidEvent(f"reservation {self.id} was committed before"))
            return None
        fields: Any = self._fields | used
        identity = self._client.commit(self.id, **fields)
        self._committed = identity is not None
        return identity

    def release(self) -> None:
        """Give back what is held, unless it was committed or given back before."""
        if self.id is not None and not (self._committed or self._released):
            self._released = True
            self._client.release(self.id)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()
