"""The whole chain as a user runs it, against the offline results."""

import json
import signal
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.e2e.deployed import DeployedStack
from tests.e2e.stack import Position, RunningStack
from tests.model.cases import make_case
from tests.model.naive import rate

CONFORMANCE = Path(__file__).resolve().parents[3] / "shared" / "conformance"


class Case:
    """A catalog, a journal, and what must come out."""

    def __init__(self, catalog: Path, journal: list[dict[str, Any]], expected: dict[str, Any]) -> None:
        self.catalog = catalog
        self.journal = journal
        self.expected = expected


def conformance_case(name: str) -> Case:
    folder = CONFORMANCE / name
    if not folder.exists():
        pytest.skip(f"no conformance case at {folder}")
    expected = {
        kind: [json.loads(line) for line in (folder / "expected" / f"{kind}.ndjson").read_text().splitlines()]
        for kind in ("lines", "rejects", "alerts")
    }
    expected["statements"] = json.loads((folder / "expected" / "statements.json").read_text())
    journal = [json.loads(line) for line in (folder / "journal.ndjson").read_text().splitlines()]
    return Case(folder / "catalog.yaml", journal, expected)


def model_case(folder: Path, seed: int) -> Case:
    """Return a seeded case whose timestamps rise, as those of one sender do, so that the topics' order is told."""
    catalog, records = make_case(seed, events=400)
    records.sort(key=lambda record: record["ts"])
    for earlier, later in pairwise(records):
        later["ts"] = max(later["ts"], earlier["ts"] + 1)
    for offset, record in enumerate(records):
        record["offset"] = offset
    path = folder / "catalog.yaml"
    path.write_text(yaml.safe_dump(catalog, sort_keys=False))
    result = rate(records, catalog)
    return Case(path, records, vars(result))


@pytest.fixture
def case(request: pytest.FixtureRequest, tmp_path: Path) -> Case:
    return conformance_case(request.param) if request.param.startswith("case") else model_case(tmp_path, 7)


@pytest.fixture
def stack(case: Case, tmp_path: Path, broker_kind: str) -> Iterator[RunningStack]:
    kind = DeployedStack if broker_kind == "apache" else RunningStack
    running = kind(tmp_path, case.catalog, workers=2)
    try:
        yield running.start()
    finally:
        running.kill()


def by_line(lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return sorted(lines, key=lambda line: (line["customer"], line["seq"]))


def assert_rejects(stack: RunningStack, landed: dict[Position, int], expected: list[dict[str, Any]]) -> None:
    found = []
    for record in stack.read("usage.dead-letter"):
        headers = {name: value.decode() for name, value in record.headers}
        position = (headers["source-topic"], int(headers["source-partition"]), int(headers["source-offset"]))
        index = int(headers["source-index"]) if "source-index" in headers else None
        found.append({"offset": landed[position], "index": index, "code": headers["code"]})
        assert headers["message"]
    assert sorted(found, key=str) == sorted(expected, key=str)


def assert_statements(stack: RunningStack, expected: list[dict[str, Any]]) -> None:
    for statement in expected[:: max(1, len(expected) // 4)]:
        names = ["--customer", statement["customer"], "--app", statement["app"], "--period", statement["period"]]
        done = stack.usage("statement", *names, "--format", "json")
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout) == statement


@pytest.mark.rule("R2.1", "R2.3", "R2.5", "R3.3", "R5.3", "R7.1", "R7.2", "R8.1")
@pytest.mark.parametrize(
    ("case", "broker_kind"), [("case2", "embedded"), ("model", "embedded"), ("model", "apache")], indirect=True
)
def test_the_stack_equals_the_offline_rating_across_a_restart(stack: RunningStack, case: Case) -> None:
    """Fed by another program, stopped in the middle and started again, every result equals the offline one."""
    middle = len(case.journal) // 2

    landed = stack.feed(case.journal[:middle], compression="zstd")
    assert stack.stop(signal.SIGINT) == 0, stack.log()
    stack.start()
    landed |= stack.feed(case.journal[middle:], compression="lz4")
    stack.drain()

    assert stack.lines() == by_line(case.expected["lines"])
    assert_rejects(stack, landed, case.expected["rejects"])
    alerts = [json.loads(record.value) for record in stack.read("usage.alerts")]
    assert sorted(alerts, key=str) == sorted(case.expected["alerts"], key=str)
    assert_statements(stack, case.expected["statements"])


def poison() -> Iterator[bytes | None]:
    """Every kind of bad input that a sender has thought of so far."""
    yield None
    yield b""
    yield b"{"
    yield b"[]"
    yield b"null"
    yield b"\xff\xfe{"
    yield b'{"specversion": "1.0", "specversion": "1.0"}'
    yield b'[{"id": NaN}]'
    yield b"[" * 100_000
    yield b'{"a":' * 50_000
    yield b'"' + b"x" * 5_000_000 + b'"'
    yield b"[" + b"1," * 10_000 + b"1]"
    yield b'{"quantity": ' + b"9" * 5000 + b"}"
    yield b"\x00" * 100


@pytest.mark.rule("R2.3")
@pytest.mark.parametrize("case", ["model"], indirect=True)
def test_bad_input_of_every_kind_is_rejected_with_a_reason_and_stops_nothing(stack: RunningStack, case: Case) -> None:
    """Each bad record ends as a dead letter with code, message and original bytes, and what follows is rated."""
    timestamp = case.journal[0]["ts"]
    bad = [
        {"topic": topic, "key": key, "payload": payload, "ts": timestamp, "offset": -1}
        for payload in poison()
        for topic, key in (("usage.events", "acme"), ("billing.grants", "acme"), ("usage.events", None))
        if key is not None or payload is not None  # which aiokafka does not send
    ]

    stack.feed(bad)
    stack.feed(case.journal)
    stack.drain()

    dead = stack.read("usage.dead-letter")
    assert len(dead) >= len(bad) + len(case.expected["rejects"])
    originals = [record.value for record in dead]
    for entry in bad:
        assert (entry["payload"] or b"") in originals
    assert stack.lines() == by_line(case.expected["lines"])
    assert "ended with exit code" not in stack.log()
