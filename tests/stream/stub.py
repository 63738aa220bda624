"""A ledger that is simple enough to check by eye: it numbers a customer's events and notes the wallet at each."""

import json
import os
import time
from dataclasses import replace
from typing import Any

from pipeline.codec.lines import LineBlock
from pipeline.domain.catalog import NO_CATALOG
from pipeline.domain.records import GRANTS_TOPIC, Record
from pipeline.rating.ledger import ChangedState, DeadLetter, Effects, Ledger


class StubLedger(Ledger):
    """State of a customer: seq of the last line, sum of the grants, offset applied of each topic."""

    catalog = replace(NO_CATALOG)

    def __init__(self) -> None:
        self.customers: dict[str, dict[str, int]] = {}
        self._touched: dict[str, None] = {}
        self._lines: list[dict[str, Any]] = []
        self._dead_letters: list[DeadLetter] = []
        self._alerts: list[tuple[bytes, bytes]] = []
        self._events = 0
        self._pause_s = float(os.environ.get("STUB_PAUSE_S", "0"))

    def restore(self, key: bytes, value: bytes | None) -> None:
        if value is None:
            self.customers.pop(key.decode(), None)
        else:
            self.customers[key.decode()] = json.loads(value)

    def rate(self, record: Record) -> None:
        if self._pause_s:
            time.sleep(self._pause_s)
        value = record.value or b""
        if value == b"crash":
            raise ValueError("told to crash")
        if record.key is None or value.startswith(b"bad"):
            self._dead_letters.append(DeadLetter(record, None, "malformed", "value: told to be bad", value))
            return
        customer = record.key.decode()
        state = self.customers.setdefault(customer, {"seq": 0, "wallet": 0, "usage.events": -1, "billing.grants": -1})
        if record.offset <= state[record.topic]:
            return
        state[record.topic] = record.offset
        self._touched[customer] = None
        if record.topic == GRANTS_TOPIC:
            state["wallet"] += int(value)
            self._alerts.append((record.key, b'{"wallet": %d}' % state["wallet"]))
            return
        state["seq"] += 1
        self._events += 1
        line = {"customer": customer, "seq": state["seq"], "offset": record.offset, "wallet": state["wallet"]}
        self._lines.append(line | {"partition": record.partition})

    @property
    def pending_events(self) -> int:
        return self._events

    def take_effects(self) -> Effects:
        states = [
            ChangedState(name, [(name.encode(), json.dumps(self.customers[name]).encode())]) for name in self._touched
        ]
        rows = b"\n".join(json.dumps(line).encode() for line in self._lines)
        blocks = [LineBlock(rows, len(self._lines))] if self._lines else []
        effects = Effects(blocks, self._dead_letters, self._alerts, states, [], [], self._events, 0, None)
        self._events = 0
        self._touched, self._lines, self._dead_letters, self._alerts = {}, [], [], []
        return effects
