"""What the harness must catch: a sink that works without one of its protections."""

from typing import Any

from pipeline.sink import run as sink_run
from pipeline.sink import store as sink_store
from pipeline.sink.blocks import Document
from pipeline.sink.store import Away, LineStore


def leave_out(protection: str, store: type[LineStore]) -> None:
    """Take a protection of the sink away; its store class becomes `store` or a careless one."""
    sink_run.LineStore = store
    if protection == "insert before commit":
        sink_run._flush_and_commit = _commit_and_flush
    elif protection == "patience":
        sink_run.LineStore = _impatient(store)
    elif protection == "time":
        sink_store.INSERT_TIMEOUT_S = 0.5


async def _commit_and_flush(flusher: Any, consumer: Any, block: Any, repeats: Any) -> None:
    await sink_run._commit(consumer, block.next_offsets)
    await flusher.flush(block, repeats)


def _impatient(store: type[LineStore]) -> type[LineStore]:
    class Impatient(store):
        """Takes an insert that failed for done."""

        async def insert_lines(self, document: Document) -> None:
            try:
                await super().insert_lines(document)
            except Away:
                return

    return Impatient
