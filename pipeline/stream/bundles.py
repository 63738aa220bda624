"""What one fetch brought of one partition, as one Faust message.

Faust's path costs about 100 us a message (EVIDENCE 1). So the consumer hands over a bundle of records as one message
whose value is the bundle itself, and the schema below leaves it as it is.
"""

from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple, cast

from faust.serializers.schemas import Schema
from faust.types import TP, Message
from faust.types.tuples import ConsumerMessage

from pipeline.domain.records import Record


class Bundle(NamedTuple):
    """Consecutive records of one partition."""

    topic: str
    partition: int
    epoch: int
    """Grows with every seek of the partition: what was read before the last one must not be used."""
    start: int
    """Offset where the read began. `records` may begin later and have gaps: control records, compaction."""
    records: list[Record]
    position: int
    """Offset where the next bundle starts."""


def bundle_message(bundle: Bundle, generation_id: int) -> ConsumerMessage:
    """Return the Faust message that carries a bundle."""
    return ConsumerMessage(
        bundle.topic,
        bundle.partition,
        bundle.start,
        0.0,
        0,
        None,
        None,
        cast("Any", bundle),  # Faust says bytes, but only the schema below looks at it
        None,
        serialized_key_size=0,
        serialized_value_size=0,
        tp=TP(bundle.topic, bundle.partition),
        generation_id=generation_id,
    )


class BundleSchema(Schema[Any, Any]):
    """Pass the bundle of a message on undecoded: keys and values are raw bytes, and decoding them is the ledger's."""

    def compile(self, app: Any, **_: Any) -> Callable[..., Awaitable[Any]]:
        """Return the function that makes an event of a message."""

        async def decode(message: Message, *, propagate: bool = False) -> Any:  # noqa: ARG001 - Faust's signature
            return app.create_event(None, message.value, None, message)

        return decode
