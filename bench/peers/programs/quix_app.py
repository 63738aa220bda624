"""Quix Streams: `filter(stateful=True)` drops known ids, `apply(stateful=True)` rates, `to_topic` sends.

As in its documentation: JSON serializers, RocksDB state by message key with a changelog topic, at-least-once. Does less
than ours: no horizon unless BENCH_HORIZON_DAYS is set (ids are never forgotten), no check that a known id has the same content, no validation, one
allowance and one price. Writes since the last checkpoint are made again after a crash: rated records come twice.
"""

import os
from datetime import timedelta
from typing import Any

from quixstreams import Application, State
from terms import rate

PER_MESSAGE = int(os.environ["BENCH_PER_MESSAGE"])
HORIZON = timedelta(days=int(os.environ["BENCH_HORIZON_DAYS"])) if "BENCH_HORIZON_DAYS" in os.environ else None


def is_new(event: dict[str, Any], state: State) -> bool:
    """Tell whether the customer's event was not seen before, and remember it."""
    key = f"seen-{event['id']}"
    if state.exists(key):
        return False
    state.set(key, True, ttl=HORIZON)
    return True


def rate_event(event: dict[str, Any], state: State) -> dict[str, Any]:
    """Rate an event of the customer that the message key names."""
    usage, rated = rate(state.get("usage"), event)
    state.set("usage", usage)
    return rated


def main() -> None:
    """Run until SIGTERM."""
    app = Application(
        broker_address=os.environ["BENCH_BROKER"],
        consumer_group="bench-quix",
        auto_offset_reset="earliest",
        commit_interval=float(os.environ["BENCH_COMMIT_S"]),
        state_dir=os.environ["BENCH_FOLDER"],
    )
    events = app.topic("events", value_deserializer="json")
    rated = app.topic("rated", value_serializer="json")
    frame = app.dataframe(events)
    if PER_MESSAGE > 1:
        frame = frame.apply(lambda batch: batch, expand=True)
    frame = frame.filter(is_new, stateful=True)
    frame = frame.apply(rate_event, stateful=True)
    frame.to_topic(rated)
    app.run()


if __name__ == "__main__":
    main()
