"""A host as a process of its own: `python -m tests.sdk.host URL SPOOL WHAT`. It prints the ids of its events."""

import multiprocessing
import os
import signal
import sys
import threading
import time
from typing import Any

from pipeline.sdk import Limits, UsageClient

USED: Any = {"workspace": "legal", "feature": "extraction", "model": "gpt-5-mini", "unit": "document"}
LIMITS = Limits(linger_s=0.005, spool_after_s=0.02, batch_events=50)


def emit(client: UsageClient, events: int) -> None:
    """Emit, and print ids in single writes, whole lines each."""
    for _ in range(events):
        os.write(1, f"{client.emit(**USED)}\n".encode())


def in_a_child(client: UsageClient, events: int) -> None:
    """Emit in a child that knows nothing of the client but what it has inherited."""
    emit(client, events)


def for_ever(client: UsageClient) -> None:
    """Emit until killed."""
    while True:
        emit(client, 1)
        time.sleep(0.0005)


def spooled(client: UsageClient) -> None:
    """Emit, have all of it on disk, say so, and wait to be killed."""
    emit(client, 100)
    while client.stats().buffered:
        time.sleep(0.005)
    os.write(1, b"spooled\n")
    signal.pause()


def and_exit(client: UsageClient) -> None:
    """Emit, and end without a word."""
    emit(client, 20)


def forked(client: UsageClient) -> None:
    """Emit before a fork, and after it on both sides, while other threads emit too."""
    threads = [threading.Thread(target=emit, args=(client, 30)) for _ in range(2)]
    for thread in threads:
        thread.start()
    child = os.fork()
    emit(client, 30)
    if child:
        os.waitpid(child, 0)
        for thread in threads:
            thread.join()


def with_multiprocessing(client: UsageClient) -> None:
    """Emit in a child of multiprocessing, which ends without the interpreter's exit handlers."""
    child = multiprocessing.get_context("fork").Process(target=in_a_child, args=(client, 10))
    child.start()
    child.join()


def in_threads(client: UsageClient) -> None:
    """Emit in several threads at once."""
    threads = [threading.Thread(target=emit, args=(client, 200)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def main() -> None:
    """Do what the arguments say."""
    url, spool, what = sys.argv[1:]
    client = UsageClient(url, key="uk_x_y", deployment="d", customer="c", environment="e", spool=spool, limits=LIMITS)
    {each.__name__: each for each in (for_ever, spooled, and_exit, forked, with_multiprocessing, in_threads)}[what](
        client
    )


if __name__ == "__main__":
    main()
