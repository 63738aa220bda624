"""What the harness must catch: workers that work without one of their protections."""

import os
import uuid
from typing import Any

from aiokafka import AIOKafkaProducer

from pipeline.codec.states import POSITIONS_KEY
from pipeline.settings.clients import kafka_arguments
from pipeline.stream.effects import BATCH_BYTES_MAX, PartitionWriter
from pipeline.stream.holdings import Holding


def leave_out(protection: str, writer: type[PartitionWriter]) -> type[PartitionWriter]:
    """Return the writer without a worker's protection, and take away what lies elsewhere."""
    if protection == "states":
        Holding.restore = _restore_positions_only
    elif protection == "transactions":
        return _plain(writer, idempotent=True)
    elif protection == "idempotence":
        return _plain(writer, idempotent=False)
    elif protection == "fencing":
        return _unfenced(writer)
    elif protection == "positions":
        os.environ["USAGE_WORKER_SKIP"] = "true"  # or it refuses to go on from the group's positions
        return _unpositioned(writer)
    return writer


def _plain(writer: type[PartitionWriter], *, idempotent: bool) -> type[PartitionWriter]:
    class Plain(writer):
        """Every batch is visible at once."""

        def _new_producer(self) -> AIOKafkaProducer:
            return AIOKafkaProducer(
                **kafka_arguments(self._settings),
                acks="all",
                enable_idempotence=idempotent,
                max_batch_size=BATCH_BYTES_MAX,
                max_request_size=BATCH_BYTES_MAX,
            )

    async def nothing(self: PartitionWriter) -> None:
        """Neither begin nor commit."""

    PartitionWriter._begin, PartitionWriter._commit = nothing, nothing
    return Plain


def _unfenced(writer: type[PartitionWriter]) -> type[PartitionWriter]:
    class Unfenced(writer):
        """Its transactions end nobody else's."""

        def _new_producer(self) -> AIOKafkaProducer:
            return AIOKafkaProducer(
                **kafka_arguments(self._settings),
                transactional_id=f"{self._settings.worker_group}-{self._partition}-{uuid.uuid4()}",
                transaction_timeout_ms=60_000,
                acks="all",
                max_batch_size=BATCH_BYTES_MAX,
                max_request_size=BATCH_BYTES_MAX,
            )

    return Unfenced


def _unpositioned(writer: type[PartitionWriter]) -> type[PartitionWriter]:
    class Unpositioned(writer):
        """Its states do not say up to where the source is done. What they hold is passed over; what left no trace is not."""

        def _is_worth_it(self, effects: Any) -> bool:
            """Tell whether a record was rejected as a whole, of a customer whose state does not pass over it on replay."""
            passed_over = {changed.customer.encode() for changed in effects.states}
            return any(
                letter.original == (letter.record.value or b"") and letter.record.key not in passed_over
                for letter in effects.dead_letters
            )

        async def _send(self, topic: str, groups: Any) -> None:
            kept = [group for group in groups if group[0].key != POSITIONS_KEY]
            await super()._send(topic, kept)

    return Unpositioned


_restore = Holding.restore


def _restore_positions_only(self: Holding, records: Any) -> None:
    _restore(self, [record for record in records if record.key == POSITIONS_KEY])
