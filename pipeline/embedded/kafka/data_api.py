"""Answer requests for records: produce, fetch, offsets by time, metadata."""

import asyncio
import time
from typing import NamedTuple

from pipeline.embedded.kafka.batches import BatchError, TooOldError, check
from pipeline.embedded.kafka.log import PartitionLog
from pipeline.embedded.kafka.messages import Code
from pipeline.embedded.kafka.producers import FencedError, SequenceError
from pipeline.embedded.kafka.topics import Topic, Topics
from pipeline.embedded.kafka.transactions import Transactions
from pipeline.embedded.kafka.wire import Message

NODE_ID = 1
CLUSTER_ID = "usage-embedded"
_EARLIEST, _LATEST = -2, -1
_READ_COMMITTED = 1
_WAIT_SECONDS_MAX = 60.0


class Address(NamedTuple):
    """Where clients reach the broker."""

    host: str
    port: int


class DataApi:
    """The requests about topics' records."""

    def __init__(self, topics: Topics, transactions: Transactions, address: Address) -> None:
        """Serve `topics` at `address`; what producers may write is for `transactions` to say."""
        self._topics = topics
        self._transactions = transactions
        self._address = address

    async def metadata(self, request: Message, version: int) -> Message:
        """Name the broker and the topics; an unknown one is never made: it would have the wrong number of partitions."""
        names = request["topics"]
        if names is None or (version == 0 and not names):
            names = list(self._topics.topics)
        host, port = self._address
        return {
            "brokers": [{"node_id": NODE_ID, "host": host, "port": port}],
            "cluster_id": CLUSTER_ID,
            "controller_id": NODE_ID,
            "topics": [_topic_metadata(name, self._topics.topics.get(name)) for name in names],
        }

    async def produce(self, request: Message, _version: int) -> Message:
        """Append the batches; each partition answers for itself."""
        return {
            "responses": [
                {
                    "name": topic["name"],
                    "partitions": [
                        self._append(topic["name"], part["index"], part["records"]) for part in topic["partitions"]
                    ],
                }
                for topic in request["topics"]
            ]
        }

    def _append(self, name: str, index: int, records: memoryview | None) -> Message:
        log = self._topics.log(name, index)
        answer: Message = {"index": index, "error_code": Code.NONE, "base_offset": -1, "log_append_time_ms": -1}
        if log is None:
            return answer | {"error_code": Code.UNKNOWN_TOPIC_OR_PARTITION}
        if len(records or b"") > int(self._topics.topics[name].config("max.message.bytes")):
            return answer | {"error_code": Code.MESSAGE_TOO_LARGE}
        try:
            batch = check(records or memoryview(b""))
            if refusal := self._transactions.refusal(batch, (name, index)):
                return answer | {"error_code": refusal, "error_message": f"producer {batch.producer_id} may not do so"}
            return answer | {
                "base_offset": log.append(records or memoryview(b""), batch),
                "log_start_offset": self._start(name, log),
            }
        except TooOldError as failure:
            code, message = Code.UNSUPPORTED_FOR_MESSAGE_FORMAT, str(failure)
        except BatchError as failure:
            code, message = Code.CORRUPT_MESSAGE, str(failure)
        except SequenceError as failure:
            code, message = Code.OUT_OF_ORDER_SEQUENCE_NUMBER, str(failure)
        except FencedError as failure:
            code, message = Code.INVALID_PRODUCER_EPOCH, str(failure)
        return answer | {"error_code": code, "error_message": message}

    async def fetch(self, request: Message, _version: int) -> Message:
        """Return records as soon as there are `min_bytes` of them, or what there is when the wait is over."""
        deadline = time.monotonic() + min(request["max_wait_ms"] / 1000, _WAIT_SECONDS_MAX)
        committed = request["isolation_level"] == _READ_COMMITTED
        while not self._is_ready(request, committed) and (left := deadline - time.monotonic()) > 0:
            appends = [log.next_append(committed=committed) for log in self._logs_of(request)]
            if not appends:
                await asyncio.sleep(left)
                break
            await asyncio.wait(appends, timeout=left, return_when=asyncio.FIRST_COMPLETED)
            for append in appends:
                append.cancel()
        return {"responses": self._read(request, committed)}

    def _is_ready(self, request: Message, committed: bool) -> bool:
        found, wanted = 0, int(request["min_bytes"])
        for topic in request["topics"]:
            for part in topic["partitions"]:
                log = self._topics.log(topic["topic"], part["partition"])
                if log is None or not self._start(topic["topic"], log) <= part["fetch_offset"] <= log.end_offset:
                    return True
                found += min(log.bytes_from(part["fetch_offset"], committed=committed), part["partition_max_bytes"])
        return found >= wanted

    def _logs_of(self, request: Message) -> list[PartitionLog]:
        found = (
            self._topics.log(topic["topic"], part["partition"])
            for topic in request["topics"]
            for part in topic["partitions"]
        )
        return [log for log in found if log is not None]

    def _read(self, request: Message, committed: bool) -> list[Message]:
        left = request["max_bytes"]
        answers = []
        for topic in request["topics"]:
            parts = []
            for part in topic["partitions"]:
                answer = self._read_partition(topic["topic"], part, left, committed)
                left -= len(answer["records"])
                parts.append(answer)
            answers.append({"topic": topic["topic"], "partitions": parts})
        return answers

    def _read_partition(self, name: str, part: Message, bytes_left: int, committed: bool) -> Message:
        log, offset = self._topics.log(name, part["partition"]), part["fetch_offset"]
        answer: Message = {"partition_index": part["partition"], "preferred_read_replica": -1, "records": b""}
        if log is None:
            return answer | {
                "error_code": Code.UNKNOWN_TOPIC_OR_PARTITION,
                "high_watermark": -1,
                "last_stable_offset": -1,
            }
        answer |= {
            "high_watermark": log.end_offset,
            "last_stable_offset": log.stable_offset,
            "log_start_offset": self._start(name, log),
        }
        if not self._start(name, log) <= offset <= log.end_offset:
            return answer | {"error_code": Code.OFFSET_OUT_OF_RANGE}
        if bytes_left > 0:
            chunk = log.read(offset, min(part["partition_max_bytes"], bytes_left), committed=committed)
            answer["records"] = chunk.data
            answer["aborted_transactions"] = [
                {"producer_id": one.producer_id, "first_offset": one.first_offset} for one in chunk.aborted
            ]
        return answer

    async def list_offsets(self, request: Message, _version: int) -> Message:
        """Find the first offset, the next one, or the first at or after a time; read_committed has its own end."""
        committed = request.get("isolation_level") == _READ_COMMITTED
        return {
            "topics": [
                {
                    "name": topic["name"],
                    "partitions": [
                        self._offset_at(topic["name"], part["partition_index"], part["timestamp"], committed)
                        for part in topic["partitions"]
                    ],
                }
                for topic in request["topics"]
            ]
        }

    def _offset_at(self, name: str, index: int, timestamp: int, committed: bool) -> Message:
        log = self._topics.log(name, index)
        answer: Message = {"partition_index": index, "timestamp": -1, "offset": -1}
        if log is None:
            return answer | {"error_code": Code.UNKNOWN_TOPIC_OR_PARTITION}
        if timestamp == _EARLIEST:
            return answer | {"offset": self._start(name, log)}
        end = log.stable_offset if committed else log.end_offset
        if timestamp == _LATEST:
            return answer | {"offset": end}
        found = log.offset_at(timestamp)
        return answer if found is None or found[0] >= end else answer | {"offset": found[0], "timestamp": found[1]}

    def _start(self, name: str, log: PartitionLog) -> int:
        """Return the first offset that may be asked for: compaction leaves holes, only retention moves the start."""
        return 0 if self._topics.topics[name].config("cleanup.policy") == "compact" else log.first_offset


def _topic_metadata(name: str, topic: Topic | None) -> Message:
    if topic is None:
        return {"error_code": Code.UNKNOWN_TOPIC_OR_PARTITION, "name": name}
    here = {"error_code": Code.NONE, "leader_id": NODE_ID, "replica_nodes": [NODE_ID], "isr_nodes": [NODE_ID]}
    return {
        "name": name,
        "error_code": Code.NONE,
        "partitions": [here | {"partition_index": n} for n in range(len(topic.logs))],
    }
