"""Make random cases (a catalog and a journal) from a seed, for property tests.

One seed makes one case for ever (on one version of this folder). A case is small, but holds what a year of production
would bring: bursts, resends, conflicts, late events, exact boundaries, changes of plan, and broken input.
"""

import json
from datetime import UTC, date, datetime, timedelta
from random import Random
from typing import Any

from tests.model.case_catalog import CUSTOMERS, LIMITS, UNITS, make_catalog, make_match
from tests.model.case_events import (
    deployments_of,
    make_event,
    milliseconds,
    moment,
    other_fact,
    same_fact,
    write_event,
    write_time,
)
from tests.model.case_faults import bad_event, bad_grant, bad_payload

SINGLE, BATCH = "application/cloudevents+json", "application/cloudevents-batch+json"
STARTS = [date(2026, 10, 28), date(2026, 12, 20), date(2028, 2, 10), date(2027, 2, 12)]
MINUTE, HOUR, DAY = 60_000, 3_600_000, 86_400_000
MEBIBYTE = 2**20


def make_case(seed: int, events: int = 200, faults: float = 0.1) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Return (catalog, records): about `events` events, a share of `faults` of them broken or refused."""
    rng = Random(seed)
    start = rng.choice(STARTS)
    catalog = make_catalog(rng, start)
    journal = Journal(rng, catalog, start, faults)
    while journal.sent < events:
        journal.step(journal.sent / events)
    return catalog, journal.records


class Journal:
    """The state of one journal while it is made."""

    def __init__(self, rng: Random, catalog: dict[str, Any], start: date, faults: float):
        self.rng, self.catalog, self.faults = rng, catalog, faults
        self.ts = milliseconds(datetime(start.year, start.month, start.day, tzinfo=UTC)) + rng.randint(0, DAY)
        self.records: list[dict[str, Any]] = []
        self.past: list[tuple[int, dict[str, Any], datetime]] = []  # (ts, event, time) of good events
        self.due: list[tuple[int, dict[str, Any], datetime]] = []  # resends for an exact time
        self.sent = self.gifts = 0
        self.gaps = 0
        self.topups: dict[str, int] = {}  # the one topup of each customer that is sent again and again
        self.edges: list[datetime] = []  # where grants begin and end

    def step(self, progress: float) -> None:
        """Let time pass and send one record."""
        rng = self.rng
        if self.due and self.due[0][0] <= self.ts + 2 * DAY and progress > 0.5:
            self.resend_when_due()
            return
        self.pass_time(progress)
        if rng.random() < 0.06:
            self.grace_ends()
        elif rng.random() < 0.2:
            self.gift()
        elif rng.random() < self.faults / 3:
            self.broken_record()
        else:
            self.usage()

    def pass_time(self, progress: float) -> None:
        """Move the clock: mostly a little, sometimes to the very millisecond of a boundary."""
        rng = self.rng
        if rng.random() < 0.07:
            later = [when for when in self.boundaries() if self.ts < when <= self.ts + 12 * DAY]
            if later:
                self.ts = rng.choice(later[:3]) + rng.choice([-1, 0, 0, 0, 1])
                return
        longest = rng.choice([5, 5, MINUTE, MINUTE, 10 * MINUTE, HOUR, HOUR, DAY, DAY if progress < 0.85 else 12 * DAY])
        self.ts += rng.randint(0, longest)

    def ends(self, customer: str | None = None) -> list[tuple[int, int]]:
        """Return when periods end, and when their grace does, for a customer's plans or for all plans."""
        rows = [row for row in self.catalog["subscriptions"] if row["customer"] == customer]
        plans = {(row["plan"], row["version"]) for row in rows}
        now, found = moment(self.ts), []
        for plan in self.catalog["plans"]:
            for months in (0, 1):
                year, month = divmod(now.year * 12 + now.month - 1 + months, 12)
                end = datetime(year, month + 1, plan.get("anchor_day", 1), tzinfo=UTC)
                grace = timedelta(hours=plan.get("grace_hours", 72))
                if customer is None or (plan["id"], plan["version"]) in plans:
                    found.append((milliseconds(end), milliseconds(end + grace)))
        return sorted(found, key=lambda entry: entry[1])

    def boundaries(self) -> list[int]:
        """Return the record times at which some period, or its grace, ends."""
        return sorted(when for entry in self.ends() for when in entry)

    def event_time(self) -> datetime:
        """Return the time of an event that is sent now: lately, long ago, at a boundary or just not in the future."""
        rng, now = self.rng, moment(self.ts)
        form = rng.choice(["now"] * 6 + ["lately"] * 6 + ["ago"] * 3 + ["boundary"] * 2 + ["ahead"])
        past = [when for when in self.edges if when <= now]
        if past and rng.random() < 0.1:
            return past[-1] - timedelta(microseconds=rng.choice([0, 0, 1]))
        if form == "now":
            return now
        if form == "lately":
            return now - timedelta(microseconds=rng.randint(0, 3 * HOUR * 1000))
        if form == "ago":
            return now - timedelta(milliseconds=rng.randint(0, 12 * DAY))
        if form == "boundary":
            before = [when for when in self.boundaries() if self.ts - 40 * DAY < when <= self.ts]
            edge = moment(rng.choice(before)) if before else now.replace(minute=0, second=0, microsecond=0)
            return edge - timedelta(microseconds=rng.choice([0, 0, 1, 1000]))
        return now + timedelta(microseconds=rng.choice([300_000_000, 299_999_999, 1_000_000, 1]))

    def usage(self) -> None:
        """Send one record of events of one customer."""
        rng = self.rng
        customer = rng.choice([*CUSTOMERS, CUSTOMERS[0], CUSTOMERS[0]])
        texts = [self.one_event(customer) for _ in range(rng.choice([1, 1, 1, 2, 3, 5, 9]))]
        self.send(customer, texts)

    def one_event(self, customer: str) -> str:
        """Return one event as JSON: new, or sent before, or refused for what it says."""
        rng = self.rng
        self.sent += 1
        old = [entry for entry in self.past if entry[1]["subject"] == customer]
        if old and rng.random() < 0.12:
            _, event, when = rng.choice(old[-30:])
            form = rng.choice(["same", "same", "same", "exactly", "other", "source"])
            if form == "same":
                return write_event(rng, same_fact(rng, event, when))
            if form == "other":
                return write_event(rng, other_fact(rng, event, when))
            if form == "source":
                event = {**event, "source": rng.choice(deployments_of(self.catalog, customer))["id"]}
            return json.dumps(event)
        return self.new_event(customer, [event for _, event, _ in old[-40:]])

    def new_event(self, customer: str, old: list[dict[str, Any]]) -> str:
        """Return a new event as JSON, good or refused."""
        rng = self.rng
        when = self.event_time()
        event = make_event(rng, self.sent, rng.choice(deployments_of(self.catalog, customer)), when)
        begun = [earlier for earlier in old if "operation" in earlier["data"]]
        if begun and rng.random() < 0.15:
            self.go_on(event, rng.choice(begun))
        if rng.random() < self.faults / 2:
            return bad_event(rng, event)
        if rng.random() < self.faults / 2:
            return write_event(rng, self.refused(event))
        self.past.append((self.ts, event, when))
        if rng.random() < 0.12:
            after = self.ts + 35 * DAY + rng.choice([-1, 0, 0, 1, HOUR])
            self.due.append(
                (after, same_fact(rng, event, when) if rng.random() < 0.7 else other_fact(rng, event, when), when)
            )
            self.due.sort(key=lambda entry: entry[0])
        return write_event(rng, event)

    def go_on(self, event: dict[str, Any], earlier: dict[str, Any]) -> None:
        """Make an event go on with the operation of an earlier one, most often in the same unit."""
        event["source"] = earlier["source"]
        event["data"]["operation"] = earlier["data"]["operation"]
        if self.rng.random() < 0.8:
            event["data"]["unit"] = earlier["data"]["unit"]

    def refused(self, event: dict[str, Any]) -> dict[str, Any]:
        """Return a well-formed event that no rule of R2.3 lets in."""
        rng = self.rng
        form = rng.choice(["subject", "future", "deployment", "customer", "model", "ancient"])
        if form == "subject":
            return {**event, "subject": rng.choice(["someone-else", "idle", "ACME"])}
        if form == "future":
            ahead = timedelta(minutes=5, microseconds=rng.choice([1, 1000, 10**12]))
            return {**event, "time": write_time(rng, moment(self.ts) + ahead)}
        if form == "deployment":
            return {**event, "source": "dep-unknown"}
        if form == "customer":
            others = [row["id"] for row in self.catalog["deployments"] if row["customer"] != event["subject"]]
            return {**event, "source": rng.choice(others)}
        if form == "ancient":
            return {
                **event,
                "time": rng.choice(["1970-01-01T00:00:00Z", "0001-01-02T00:00:00Z", "2024-02-29T12:00:00Z"]),
            }
        data = {key: value for key, value in event["data"].items() if key != "cost"}
        return {**event, "data": {**data, "model": "no-such-model"}}

    def grace_ends(self) -> None:
        """Raise a customer's watermark to the very end of a grace, or not, and send an event of the old period."""
        rng = self.rng
        customer = rng.choice(CUSTOMERS)
        later = [entry for entry in self.ends(customer) if self.ts < entry[1] < self.ts + 12 * DAY]
        if not later:
            return
        end, grace_end = later[0]
        self.ts = grace_end
        self.marker(customer)
        self.sent += 1
        deployment = rng.choice(deployments_of(self.catalog, customer))
        when = moment(end) - timedelta(microseconds=rng.choice([1, 1, 1000, HOUR * 1000]))
        event = make_event(rng, self.sent, deployment, when)
        self.send(customer, [write_event(rng, event)], behind=rng.choice([0, 1, 1, HOUR]))

    def marker(self, customer: str) -> None:
        """Send something at the present time that may, or may not, move a customer's watermark (R3.2)."""
        rng = self.rng
        form = rng.choice(["event", "refused", "topup", "repeat", "duplicate", "nothing"])
        old = [entry for entry in self.past if entry[1]["subject"] == customer]
        deployment = rng.choice(deployments_of(self.catalog, customer))
        event = make_event(rng, self.sent, deployment, moment(self.ts))
        event["id"] += "-marker"
        if form == "event":
            self.send(customer, [write_event(rng, event)], behind=0)
        elif form == "refused":
            self.send(customer, [json.dumps({**event, "source": "dep-unknown"})], behind=0)
        elif form == "duplicate" and old:
            self.send(customer, [json.dumps(rng.choice(old[-5:])[1])], behind=0)
        elif form in ("topup", "repeat"):
            number = self.topups.setdefault(customer, len(self.topups)) if form == "repeat" else self.sent
            topup = {"type": "topup", "id": f"t{number}", "customer": customer, "amount": "1.00"}
            self.append("billing.grants", customer, json.dumps(topup))

    def resend_when_due(self) -> None:
        """Send an event again when its 35 days are over, or just not yet; sometimes behind the watermark."""
        after, event, _ = self.due.pop(0)
        behind = self.rng.choice([0, 0, 1])
        self.ts = max(self.ts, after) + behind
        if behind:
            self.marker(event["subject"])
        self.sent += 1
        self.send(event["subject"], [write_event(self.rng, event)], behind=behind)

    def send(self, key: str | None, texts: list[str], *, behind: int | None = None) -> None:
        """Append a record of usage.events."""
        rng = self.rng
        single = len(texts) == 1 and texts[0].lstrip().startswith("{") and rng.random() < 0.6
        payload = texts[0] if single else "[" + rng.choice([",", ", ", "\n ,"]).join(texts) + "]"
        if rng.random() < 0.05:
            payload = " \r\n\t" + payload + "\n"
        headers: dict[str, str] = {}
        if rng.random() < 0.25:
            form = SINGLE if single else BATCH
            headers["content-type"] = form + rng.choice(["", "", "", "; charset=utf-8"])
        if rng.random() < 0.4:
            headers["x-usage-import"] = rng.choice(["offline", "offline", "offline", "online"])
        if behind is None:
            behind = rng.choice([0] * 25 + [rng.randint(1, 2 * DAY), 1])
        self.append("usage.events", key, payload, headers, behind)

    def broken_record(self) -> None:
        """Append a record that is refused as a whole, or whose key belongs to nobody."""
        rng = self.rng
        customer = rng.choice(CUSTOMERS)
        texts = [self.one_event(customer) for _ in range(rng.choice([1, 3]))]
        form = rng.choice(["payload"] * 4 + ["key", "key", "nobody", "header", "size", "size"])
        if form == "payload":
            self.append("usage.events", customer, bad_payload(rng, "[" + ",".join(texts) + "]"))
        elif form == "key":
            self.send(rng.choice([None, "", "idle", *CUSTOMERS]), texts)
        elif form == "nobody":
            event = make_event(rng, self.sent, deployments_of(self.catalog, customer)[0], moment(self.ts))
            self.send("nobody", [write_event(rng, {**event, "subject": "nobody"})])
        elif form == "header":
            said = rng.choice([BATCH, BATCH, "application/json", "", "text/plain"])
            self.append("usage.events", customer, '{"a": 1}', {"content-type": said})
            self.append("usage.events", customer, "[" + ",".join(texts) + "]", {"content-type": SINGLE})
        else:
            self.size(customer, "[" + ",".join(texts) + "]")

    def size(self, customer: str, payload: str) -> None:
        """Append a record just above, or just at, a limit of R2.1; most often it stays small."""
        form = self.rng.choice(["bytes", "bytes", "events", "most", "exact"])
        if form == "events":
            payload = "[" + ",".join(["0"] * 10_001) + "]"
        elif form == "most":
            payload = payload[:-1] + ",0" * 300 + "]"
        else:
            payload += " " * (MEBIBYTE - len(payload.encode()) + (form == "bytes"))
        self.append("usage.events", customer, payload)

    def gift(self) -> None:
        """Append a record of billing.grants: a topup or a grant, at times repeated, at times broken."""
        rng = self.rng
        self.gifts += 1
        customer = rng.choice(CUSTOMERS)
        number = self.gifts if rng.random() < 0.8 else rng.randint(1, self.gifts)
        gift: dict[str, Any] = {"id": f"g{number:03}", "customer": customer}
        if rng.random() < 0.5:
            gift |= {"type": "topup", "amount": rng.choice(["25.00", "0", "0.000000000001", "3.78", "0.05", "1000"])}
        else:
            gift |= self.grant()
        if rng.random() < 0.1:
            gift["note"] = {"any": ["thing"]}
        key: str | None = customer
        text: str | None = json.dumps(gift)
        form = rng.random()
        if form < self.faults:
            text = bad_grant(rng, gift)
        elif form < self.faults * 1.3:
            key = rng.choice([None, "idle", "someone-else"])
        elif form < self.faults * 1.5:
            key, text = "nobody", json.dumps({**gift, "customer": "nobody"})
        self.append("billing.grants", key, text)

    def grant(self) -> dict[str, Any]:
        """Return the fields of a grant."""
        rng, now = self.rng, moment(self.ts)
        grant: dict[str, Any] = {"type": "grant", "quantity": rng.choice(LIMITS)}
        if rng.random() < 0.5:
            grant["match"] = rng.choice([make_match(rng), make_match(rng), {}, {"unit": []}, None])
        if rng.random() < 0.4:
            units = rng.sample(UNITS, rng.randint(0, 5))
            grant["credits"] = rng.choice([{unit: rng.choice([1, 2, 7, 10**12]) for unit in units}, None])
        if rng.random() < 0.4:
            grant["priority"] = rng.choice([0, 1, 99, 100, 101, -5, None])
        if rng.random() < 0.3:
            self.edges.append(now + timedelta(milliseconds=rng.randint(-9 * DAY, 3 * DAY)))
            grant["effective_at"] = write_time(rng, self.edges[-1])
        if rng.random() < 0.4:
            self.edges.append(now + timedelta(milliseconds=rng.choice([rng.randint(0, 3 * DAY), DAY])))
            grant["expires_at"] = write_time(rng, self.edges[-1])
        return grant

    def append(
        self,
        topic: str,
        key: str | None,
        payload: str | None,
        headers: dict[str, str] | None = None,
        behind: int = 0,
    ) -> None:
        """Append a record in the form of R2.6; offsets rise, with a gap now and then."""
        self.gaps += self.rng.random() < 0.02
        record: dict[str, Any] = {"topic": topic, "partition": 0, "offset": len(self.records) + self.gaps}
        record |= {"ts": self.ts - behind, "key": key, "payload": payload}
        if headers:
            record["headers"] = headers
        self.records.append(record)
