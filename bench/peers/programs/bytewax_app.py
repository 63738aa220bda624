"""Bytewax: `key_on` the customer, and a `stateful_flat_map` that drops known ids and rates.

As in its documentation: KafkaSource, orjson, KafkaSink, recovery stores (SQLite). Does less than ours: no horizon (ids are
never forgotten), no check that a known id has the same content, no validation, one allowance and one price. States are
durable only with each snapshot, on one disk and not in Kafka: after a crash the work since the last one is done again, and
rated records come twice. A snapshot pickles all that is known of each customer who sent something: its cost grows with
the ids. One state an id would not grow, but takes twice the CPU here, and its exchange of keys changes the order of a
customer's events.
"""

import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import bytewax.operators as op
import orjson
from bytewax.connectors.kafka import KafkaSink, KafkaSinkMessage, KafkaSource, KafkaSourceMessage
from bytewax.dataflow import Dataflow
from terms import Rated, Usage, rate

PER_MESSAGE = int(os.environ["BENCH_PER_MESSAGE"])
BROKERS = [os.environ["BENCH_BROKER"]]


@dataclass
class Account:
    """What is kept of a customer."""

    seen: set[str] = field(default_factory=set)
    usage: Usage | None = None


def rate_event(account: Account | None, event: dict[str, Any]) -> tuple[Account, Iterable[Rated]]:
    """Rate an event of the customer, if its id is new."""
    if account is None:
        account = Account()
    if event["id"] in account.seen:
        return account, ()
    account.seen.add(event["id"])
    account.usage, rated = rate(account.usage, event)
    return account, (rated,)


def decode(message: KafkaSourceMessage) -> Any:
    """Return the event, or the events of an array."""
    return orjson.loads(message.value)


def encode(keyed: tuple[str, Rated]) -> KafkaSinkMessage:
    """Return the message of a rated record."""
    return KafkaSinkMessage(keyed[0].encode(), orjson.dumps(keyed[1]))


flow = Dataflow("bench")
messages = op.input("events", flow, KafkaSource(BROKERS, ["events"], batch_size=max(1, 1_000 // PER_MESSAGE)))
decode_step = op.flat_map if PER_MESSAGE > 1 else op.map
events = decode_step("decode", messages, decode)
by_customer = op.key_on("by customer", events, lambda event: event["subject"])
rated = op.stateful_flat_map("rate", by_customer, rate_event)
op.output("rated", op.map("encode", rated, encode), KafkaSink(BROKERS, "rated"))
