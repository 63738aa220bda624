"""Answer requests of idempotent and transactional producers."""

from pipeline.embedded.kafka.messages import Code
from pipeline.embedded.kafka.offsets import Committed
from pipeline.embedded.kafka.topics import Topics
from pipeline.embedded.kafka.transactions import TIMEOUT_MS_MAX, Owner, RefusedError, Transactions
from pipeline.embedded.kafka.wire import Message

_FENCED_FROM = 2
"""Before this version of the requests a fenced producer is told that its epoch is invalid."""


class TransactionApi:
    """The requests about producer ids and transactions."""

    def __init__(self, transactions: Transactions, topics: Topics) -> None:
        """Serve `transactions` in `topics`."""
        self._transactions = transactions
        self._topics = topics

    async def init_producer_id(self, request: Message, _version: int) -> Message:
        """Give out a new producer id, or the next epoch of a transactional id's."""
        transactional_id, timeout_ms = request["transactional_id"], request["transaction_timeout_ms"]
        if transactional_id is None:
            return {"producer_id": self._transactions.new_producer_id(), "producer_epoch": 0}
        if not transactional_id:
            return {"error_code": Code.INVALID_REQUEST, "producer_id": -1, "producer_epoch": -1}
        if not 0 < timeout_ms <= TIMEOUT_MS_MAX:
            return {"error_code": Code.INVALID_TRANSACTION_TIMEOUT, "producer_id": -1, "producer_epoch": -1}
        owner = self._transactions.begin_epoch(transactional_id, timeout_ms)
        return {"producer_id": owner.producer_id, "producer_epoch": owner.epoch}

    async def add_partitions_to_txn(self, request: Message, version: int) -> Message:
        """Take partitions into a transaction: all of them, or none when one is not there."""
        places = [(topic["name"], index) for topic in request["topics"] for index in topic["partitions"]]
        unknown = {place for place in places if self._topics.log(*place) is None}
        error = Code.NONE
        if not unknown:
            try:
                self._transactions.add(_owner(request), places)
            except RefusedError as refused:
                error = _code(refused, version)
        elif len(unknown) < len(places):
            error = Code.OPERATION_NOT_ATTEMPTED
        return {
            "results": [
                {
                    "name": topic["name"],
                    "partitions": [
                        {
                            "partition_index": index,
                            "error_code": Code.UNKNOWN_TOPIC_OR_PARTITION
                            if (topic["name"], index) in unknown
                            else error,
                        }
                        for index in topic["partitions"]
                    ],
                }
                for topic in request["topics"]
            ]
        }

    async def add_offsets_to_txn(self, request: Message, version: int) -> Message:
        """Take a consumer group into a transaction."""
        try:
            self._transactions.add(_owner(request), groups=[request["group_id"]])
        except RefusedError as refused:
            return {"error_code": _code(refused, version)}
        return {"error_code": Code.NONE}

    async def txn_offset_commit(self, request: Message, version: int) -> Message:
        """Keep a group's offsets until the transaction is committed."""
        places = (
            (
                (topic["name"], part["partition_index"]),
                Committed(part["committed_offset"], part["committed_metadata"] or ""),
            )
            for topic in request["topics"]
            for part in topic["partitions"]
        )
        error = Code.NONE
        try:
            self._transactions.add_offsets(_owner(request), request["group_id"], places)
        except RefusedError as refused:
            error = _code(refused, version)
        return {
            "topics": [
                {
                    "name": topic["name"],
                    "partitions": [
                        {"partition_index": part["partition_index"], "error_code": error}
                        for part in topic["partitions"]
                    ],
                }
                for topic in request["topics"]
            ]
        }

    async def end_txn(self, request: Message, version: int) -> Message:
        """Commit or abort; it is visible to readers when this is answered."""
        try:
            self._transactions.end(_owner(request), commit=request["committed"])
        except RefusedError as refused:
            return {"error_code": _code(refused, version)}
        return {"error_code": Code.NONE}


def _owner(request: Message) -> Owner:
    return Owner(request["transactional_id"], request["producer_id"], request["producer_epoch"])


def _code(refused: RefusedError, version: int) -> int:
    old = refused.code == Code.PRODUCER_FENCED and version < _FENCED_FROM
    return Code.INVALID_PRODUCER_EPOCH if old else refused.code
