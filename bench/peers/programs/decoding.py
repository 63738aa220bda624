"""The decode of the floors: msgspec Structs with only the fields that rating needs, or orjson's dicts."""

from collections.abc import Callable

import msgspec


class Data(msgspec.Struct, gc=False):
    """An event's `data` as far as it is needed."""

    unit: str
    feature: str
    quantity: int = 1


class Event(msgspec.Struct, gc=False):
    """An event as far as it is needed."""

    id: str
    source: str
    subject: str
    time: str
    data: Data


def decoder(per_message: int) -> Callable[[bytes], list[Event]]:
    """Return a function from a message's value to its events."""
    if per_message > 1:
        return msgspec.json.Decoder(list[Event]).decode
    decode = msgspec.json.Decoder(Event).decode
    return lambda value: [decode(value)]


class Count:
    """Counts events, and prints how many there were now and then."""

    def __init__(self) -> None:
        self.events = 0
        self._shown = 0

    def add(self, events: list[Event]) -> None:
        """Count decoded events."""
        self.events += len(events)

    def show(self) -> None:
        """Print the count when it has grown by a thousand, or nothing more has come."""
        if self.events != self._shown:
            print(self.events, flush=True)
            self._shown = self.events
