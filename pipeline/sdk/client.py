"""The client that a deployment emits with. It never raises into its host, and never waits for the pipeline."""

import atexit
import logging
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self, Unpack

from pipeline.domain.events import check_string
from pipeline.domain.rejects import Rejected
from pipeline.sdk.delivery import Delivery, Limits
from pipeline.sdk.events import InvalidEvent, Sender, UsageFields, release_event, reserve_event, usage_event
from pipeline.sdk.over_http import HttpTransport
from pipeline.sdk.reservation import Reservation
from pipeline.sdk.spools import Spools, default_folder
from pipeline.sdk.stats import Stats, Tally
from pipeline.sdk.transport import Transport

log = logging.getLogger("pipeline.sdk")

EXIT_S = 5.0
"""How long all clients together may take at the interpreter's end."""
_open: "set[UsageClient]" = set()


class UsageClient:
    """Emits usage events over HTTP; `UsageClient.kafka` makes one that goes straight to Kafka.

    What is not given is taken from USAGE_API, USAGE_API_KEY, USAGE_DEPLOYMENT, USAGE_CUSTOMER, USAGE_ENVIRONMENT and
    USAGE_SPOOL. `spool` is the folder for events that cannot be sent at once; False keeps them in memory only. With
    `strict`, emit raises InvalidEvent for what the worker would reject. Safe in threads, in coroutines and over forks.
    Raises ValueError when it lacks something.
    """

    def __init__(
        self,
        url: str | None = None,
        *,
        key: str | None = None,
        deployment: str | None = None,
        customer: str | None = None,
        environment: str | None = None,
        spool: str | Path | bool = True,
        strict: bool = False,
        limits: Limits = Limits(),  # noqa: B008 - immutable
        transport: Transport | None = None,
    ) -> None:
        self.sender = sender_of(deployment, customer, environment)
        self._strict = strict
        self._limits = limits
        self._transport = transport or HttpTransport(
            _given(url, "url", "USAGE_API"), _given(key, "key", "USAGE_API_KEY")
        )
        self._spools = self._spools_in(spool)
        self._closed = False
        self._begin()
        _open.add(self)
        if self._spools is not None and self._spools.others():
            self._delivery.start()  # what an earlier process has left goes out even if this one emits nothing

    @classmethod
    def kafka(
        cls,
        bootstrap: str,
        *,
        deployment: str | None = None,
        customer: str | None = None,
        environment: str | None = None,
        spool: str | Path | bool = True,
        strict: bool = False,
        limits: Limits = Limits(),  # noqa: B008 - immutable
        **arguments: Any,
    ) -> Self:
        """Return a client that produces to Kafka. Further `arguments` are those of aiokafka's producer (TLS, SASL)."""
        from pipeline.sdk.over_kafka import KafkaTransport  # noqa: PLC0415 - asyncio and aiokafka are slow to import

        sender = sender_of(deployment, customer, environment)
        transport = KafkaTransport(bootstrap, sender.customer, arguments=arguments)
        return cls(**sender._asdict(), spool=spool, strict=strict, limits=limits, transport=transport)

    def emit(self, **fields: Unpack[UsageFields]) -> str | None:
        """Emit a usage event and return its id; None when it was not taken, which is counted and logged.

        Returns within microseconds, whatever the pipeline does. Raises InvalidEvent only with `strict`.
        """
        return self._emit(usage_event, fields)

    def reserve(self, *, ttl_s: int = 60, **fields: Unpack[UsageFields]) -> Reservation:
        """Ask that what a call will use is held until it is known, at most `ttl_s` seconds (R9.1). It is sent at once."""
        asked = {name: value for name, value in fields.items() if name != "operation"}  # the commit's alone
        return Reservation(self, self._emit(reserve_event, asked, ttl_s, urgent=True), fields)

    def commit(self, reservation: str | None, **fields: Unpack[UsageFields]) -> str | None:
        """Emit the usage event that a reservation was made for, and return its id; see `emit` (R9.4)."""
        return self._emit(usage_event, fields, reservation)

    def release(self, reservation: str) -> str | None:
        """Give back what a reservation holds (R9.5)."""
        return self._emit(release_event, reservation, urgent=True)

    def refuse(self, error: Exception) -> None:
        """Count and log an event that could not be made. Raises InvalidEvent only with `strict`."""
        self._tally.add("invalid")
        self._tally.say("invalid", f"an event was not taken, the worker would reject it: {error}")
        if self._strict:
            raise error if isinstance(error, InvalidEvent) else InvalidEvent(str(error)) from None

    def flush(self, timeout_s: float = 10.0) -> bool:
        """Wait until what was emitted before is acknowledged; return False when it is not by then."""
        return self._delivery.flush(timeout_s)

    def close(self, timeout_s: float = EXIT_S) -> None:
        """Send what is left, for so long at most; the rest stays on disk for the next process."""
        if not self._closed:
            self._closed = True
            self._delivery.close(timeout_s)
            _open.discard(self)

    def stats(self) -> Stats:
        """Return what became of the events so far."""
        count, spools = self._tally.count, self._spools
        return Stats(
            emitted=count("emitted"),
            invalid=count("invalid"),
            accepted=count("accepted"),
            rejected=count("rejected"),
            dropped=count("dropped"),
            inherited=count("inherited"),
            attempts=count("attempts"),
            failed_attempts=count("failed_attempts"),
            buffered=self._delivery.buffered,
            spooled=spools.events if spools is not None else 0,
            damaged=spools.damaged if spools is not None else 0,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        import asyncio  # noqa: PLC0415 - loaded already where a coroutine runs, and slow to import elsewhere

        await asyncio.to_thread(self.close)

    def _emit(self, make: Callable[..., tuple[str, bytes]], *of: object, urgent: bool = False) -> str | None:
        try:
            identity, event = make(self.sender, *of)
        except Exception as error:  # noqa: BLE001 - whatever a host puts into a field
            self.refuse(error)
            return None
        self._tally.add("emitted")
        if self._delivery.put(event, urgent=urgent):
            return identity
        self._tally.add("dropped")
        reason = "the client is closed" if self._closed else "there is no room, neither in memory nor on disk"
        self._tally.say("dropped", f"an event is lost: {reason}", level=logging.ERROR)
        return None

    def _begin(self) -> None:
        """Begin with nothing: in a new client, and in a process that was forked, whose parent keeps what it had."""
        self._tally = Tally()
        self._delivery = Delivery(self._transport, self._spools, self._limits, self._tally)

    def _after_fork(self) -> None:
        self._transport.forget()
        if self._spools is not None:
            self._spools.forget()
        self._begin()

    def _spools_in(self, spool: str | Path | bool) -> Spools | None:
        folder = default_folder() if spool is True else Path(spool) if spool else None
        if folder is None:
            if spool:
                log.warning("usage: no folder for a spool: while the pipeline is away, memory alone holds events")
            return None
        return Spools(folder, self._transport.endpoint, self.sender, bytes_max=self._limits.spool_bytes)


def sender_of(deployment: str | None, customer: str | None, environment: str | None) -> Sender:
    """Return who sends, from arguments or the environment. Raises ValueError."""
    return Sender(
        _named(deployment, "deployment", "USAGE_DEPLOYMENT"),
        _named(customer, "customer", "USAGE_CUSTOMER"),
        _named(environment, "environment", "USAGE_ENVIRONMENT"),
    )


def _named(value: str | None, name: str, variable: str) -> str:
    try:
        return check_string(name, _given(value, name, variable))
    except Rejected as rejected:
        raise ValueError(rejected.message) from None


def _given(value: str | None, name: str, variable: str) -> str:
    found = value if value is not None else os.environ.get(variable)
    if not found:
        raise ValueError(f"{name}: give it, or set {variable}")
    return found


def _close_all() -> None:
    deadline = time.monotonic() + EXIT_S
    for client in list(_open):
        client.close(max(0.1, deadline - time.monotonic()))


def _after_fork() -> None:
    for client in list(_open):
        client._after_fork()  # noqa: SLF001 - the class's own business
    if multiprocessing := sys.modules.get("multiprocessing.util"):
        multiprocessing.register_after_fork(_close_all, _close_at_exit)  # its processes end without atexit


def _close_at_exit(close: Callable[[], None]) -> None:
    sys.modules["multiprocessing.util"].Finalize(None, close, exitpriority=0)


atexit.register(_close_all)
os.register_at_fork(after_in_child=_after_fork)
