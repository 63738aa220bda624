"""Whatever is missing, doubled or different in what came out is found and named."""

import json
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from pipeline.catalog.load import load_catalog
from pipeline.domain.catalog import Catalog
from pipeline.domain.records import (
    ALERTS_TOPIC,
    DEAD_LETTER_TOPIC,
    EVENTS_TOPIC,
    GRANTS_TOPIC,
    LINES_TOPIC,
    QUOTA_TOPIC,
    STATES_TOPIC,
)
from pipeline.rating.ledger import Ledger
from pipeline.stream.effects import dead_letter_record
from tests.faults.compare import (
    Drift,
    Logs,
    compare_balances,
    compare_lines,
    compare_outputs,
    compare_quotas,
    compare_sources,
    rate_sources,
)
from tests.faults.journal import Case, catalog_text, make_round
from tests.rating.support import rows_of

Damage = Callable[[dict[str, list[Any]]], None]


def record(topic: str, offset: int, key: bytes | None, value: bytes | None, **more: Any) -> SimpleNamespace:
    fields = {"partition": 0, "timestamp": 0, "headers": ()} | more
    return SimpleNamespace(topic=topic, offset=offset, key=key, value=value, **fields)


@pytest.fixture(scope="module")
def case() -> Case:
    return make_round(5, events=300, partitions=1)


@pytest.fixture(scope="module")
def catalog(case: Case, tmp_path_factory: pytest.TempPathFactory) -> Catalog:
    path = tmp_path_factory.mktemp("case") / "catalog.yaml"
    path.write_text(catalog_text(case.catalog))
    return load_catalog(path)


@pytest.fixture
def topics(case: Case, catalog: Catalog) -> dict[str, list[Any]]:
    """Give the topics as a worker without a fault writes them."""
    names = (EVENTS_TOPIC, GRANTS_TOPIC, LINES_TOPIC, DEAD_LETTER_TOPIC, ALERTS_TOPIC, QUOTA_TOPIC, STATES_TOPIC)
    topics: dict[str, list[Any]] = {name: [] for name in names}
    for entry in case.entries:
        offset = len(topics[entry.topic])
        more = {"timestamp": entry.timestamp_ms, "headers": entry.headers}
        topics[entry.topic].append(record(entry.topic, offset, entry.key, entry.value, **more))
    ledger = Ledger(catalog)
    for source in Logs(topics).sources(1):
        ledger.rate(source)
    effects = ledger.take_effects()
    letters = [dead_letter_record(letter) for letter in effects.dead_letters]
    topics[LINES_TOPIC] = [record(LINES_TOPIC, at, None, line) for at, line in enumerate(rows_of(effects))]
    topics[ALERTS_TOPIC] = [record(ALERTS_TOPIC, at, *alert) for at, alert in enumerate(effects.alerts)]
    topics[QUOTA_TOPIC] = [record(QUOTA_TOPIC, at, *quota) for at, quota in enumerate(effects.quotas)]
    topics[DEAD_LETTER_TOPIC] = [
        record(DEAD_LETTER_TOPIC, at, each.key, each.value, headers=each.headers) for at, each in enumerate(letters)
    ]
    states = [each for changed in effects.states for each in changed.records]
    topics[STATES_TOPIC] = [record(STATES_TOPIC, at, *state) for at, state in enumerate(states)]
    return topics


def drift_of(case: Case, catalog: Catalog, topics: dict[str, list[Any]]) -> Drift:
    drift, logs = Drift(), Logs(topics)
    expected = rate_sources(catalog, logs.sources(1))
    compare_sources(case.entries, logs, drift, given_up=0)
    compare_outputs(expected, logs, drift)
    compare_balances(expected, catalog, logs, 1, drift)
    compare_quotas(expected, catalog, logs, drift)
    return drift


def edit_line(topics: dict[str, list[Any]]) -> None:
    line = json.loads(topics[LINES_TOPIC][3].value)
    topics[LINES_TOPIC][3].value = json.dumps(line | {"charge_pico": line["charge_pico"] + 1}).encode()


def change_code(topics: dict[str, list[Any]]) -> None:
    letter = topics[DEAD_LETTER_TOPIC][0]
    letter.headers = [(name, b"other" if name == "code" else value) for name, value in letter.headers]


def lose_state(topics: dict[str, list[Any]]) -> None:
    customer = topics[STATES_TOPIC][0].key.split(b"\x00")[0]
    topics[STATES_TOPIC] = [each for each in topics[STATES_TOPIC] if each.key.split(b"\x00")[0] != customer]


def forget_last(topics: dict[str, list[Any]]) -> None:
    topics[LINES_TOPIC].pop()


DAMAGES: dict[str, tuple[Damage, str]] = {
    "line lost": (forget_last, "lines in Kafka: missing"),
    "line doubled": (lambda topics: topics[LINES_TOPIC].append(topics[LINES_TOPIC][0]), "lines in Kafka: doubled"),
    "line edited": (edit_line, "lines in Kafka: different"),
    "alert lost": (lambda topics: topics[ALERTS_TOPIC].pop(), "alerts: missing"),
    "alert doubled": (lambda topics: topics[ALERTS_TOPIC].append(topics[ALERTS_TOPIC][0]), "alerts: doubled"),
    "dead letter lost": (lambda topics: topics[DEAD_LETTER_TOPIC].pop(), "dead letters: missing"),
    "dead letter doubled": (
        lambda topics: topics[DEAD_LETTER_TOPIC].append(topics[DEAD_LETTER_TOPIC][0]),
        "dead letters: doubled",
    ),
    "dead letter changed": (change_code, "dead letters: too many"),
    "quota lost": (lambda topics: topics[QUOTA_TOPIC].pop(), "quota: different"),
    "state lost": (lose_state, "balances: missing"),
    "event lost by the broker": (lambda topics: topics[EVENTS_TOPIC].pop(), "records in the source topics: missing"),
    "event doubled by the broker": (
        lambda topics: topics[EVENTS_TOPIC].append(topics[EVENTS_TOPIC][0]),
        "records in the source topics: too many",
    ),
}


def test_what_came_out_right_is_no_drift(case: Case, catalog: Catalog, topics: dict[str, list[Any]]) -> None:
    """The topics of a worker without a fault equal the offline rating: lines, alerts, dead letters, balances."""
    assert all(topics[name] for name in (LINES_TOPIC, ALERTS_TOPIC, DEAD_LETTER_TOPIC, STATES_TOPIC))

    assert not drift_of(case, catalog, topics)


@pytest.mark.parametrize("name", DAMAGES)
def test_damage_is_found(name: str, case: Case, catalog: Catalog, topics: dict[str, list[Any]]) -> None:
    """One record lost, doubled or changed in any topic is named."""
    damage, kind = DAMAGES[name]
    damage(topics)

    drift = drift_of(case, catalog, topics)

    assert kind in drift.counts, drift


def test_a_balance_that_is_behind_is_found(case: Case, catalog: Catalog, topics: dict[str, list[Any]]) -> None:
    """A state that lacks the effects of a customer's last records is named, though the customer is there."""
    half = [each for each in case.entries if each.topic == EVENTS_TOPIC][: len(case.entries) // 2]
    behind = Ledger(catalog)
    sources = Logs(topics).sources(1)
    for source in sources[: len(half)]:
        behind.rate(source)
    states = [each for changed in behind.take_effects().states for each in changed.records]

    topics[STATES_TOPIC] = [record(STATES_TOPIC, at, *state) for at, state in enumerate(states)]
    drift = drift_of(case, catalog, topics)

    assert drift.counts["balances: different"], drift


def test_a_line_that_nobody_expects_is_found(catalog: Catalog, topics: dict[str, list[Any]]) -> None:
    """A line of a customer or number that the offline rating does not have is one too many."""
    expected, drift = rate_sources(catalog, Logs(topics).sources(1)), Drift()
    lines = [*expected.lines.values(), {"customer": "acme", "seq": 10**6}]

    compare_lines("lines", expected, lines, drift)

    assert drift.counts == {"lines: too many": 1}
