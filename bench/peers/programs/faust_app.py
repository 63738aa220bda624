"""Idiomatic Faust: an agent that gets one event a message, two table writes and one `topic.send` each.

As in its documentation: `app.topic` with the JSON serializer, `app.Table` in memory with a changelog, `async for event
in stream`. Does less than ours: no horizon (ids are never forgotten, so its memory and changelog grow without end), no
check that a known id has the same content, no validation, one allowance and one price a catalog. Writes to tables and
topics are not awaited: outputs, states and offsets can part at a crash, which ours cannot.
"""

import os

import faust
from terms import rate

app = faust.App(
    "bench-faust",
    broker=f"kafka://{os.environ['BENCH_BROKER']}",
    datadir=os.environ["BENCH_FOLDER"],
    value_serializer="json",
    key_serializer="raw",
    store="memory://",
    topic_partitions=int(os.environ["BENCH_PARTITIONS"]),
    topic_allow_declare=True,
    broker_commit_interval=float(os.environ["BENCH_COMMIT_S"]),
    web_enabled=False,
)
events = app.topic("events", key_type=bytes, value_type=None, value_serializer="json")
rated_topic = app.topic("rated", key_type=str, key_serializer="raw", value_serializer="json")
seen = app.Table("seen", default=bool)
usages = app.Table("usages", default=None)


@app.agent(events)
async def rate_events(stream: faust.StreamT) -> None:
    """Rate every event that was not seen before."""
    async for event in stream:
        if event["id"] in seen:
            continue
        seen[event["id"]] = True
        customer = event["subject"]
        usages[customer], rated = rate(usages.get(customer), event)
        await rated_topic.send(key=customer, value=rated)
