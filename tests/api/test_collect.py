"""What is accepted over HTTP, the worker accepts: without Kafka between them."""

import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.access import Principal
from pipeline.api.collect import Accepted, Refused, judge, pack
from pipeline.codec.records import RECORD_BYTES_MAX
from pipeline.domain.catalog import Catalog
from pipeline.domain.records import EVENTS_TOPIC, Record
from tests.api.support import now_us, usage, worker_takes

OPERATOR = Principal("0", "operator", None)

texts = st.one_of(
    st.sampled_from(
        [
            b"1", b"null", b"[]", b"{}", b'"', b"{", b"}", b",", b"{},{}", b"1],[2", b"NaN", b'"\\ud800"', b"\xff", b"",
            b'{"a":1,"a":2}', b"[" * 127 + b"]" * 127, b"[" * 128 + b"]" * 128, b"[" * 1100, b"9" * 400, b"//", b"\x00",
        ]
    ),
    st.binary(max_size=12),
    st.builds(
        lambda extra, spaced: json.dumps(usage("p") | {"x": extra}, indent=1 if spaced else None).encode(),
        st.recursive(st.none() | st.floats() | st.text(max_size=8) | st.integers(), st.lists, max_leaves=5),
        st.booleans(),
    ),
)  # fmt: skip


@pytest.mark.filterwarnings("ignore:Do not use the .random. module")  # the API's thread does, in another test
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(texts, min_size=1, max_size=6))
@pytest.mark.rule("R2.3")
def test_what_is_accepted_alone_is_accepted_together(catalog: Catalog, pieces: list[bytes]) -> None:
    """Whatever stands beside them, events that are accepted one by one make a record that the worker accepts whole."""
    now_ms = now_us() // 1000

    verdicts = [judge(piece, OPERATOR, catalog, now_ms) for piece in pieces]

    records = [
        Record(EVENTS_TOPIC, 0, 0, now_ms, each.key, each.value, each.headers) for each in pack(verdicts, now_ms)
    ]
    accepted = [verdict.id for verdict in verdicts if isinstance(verdict, Accepted)]
    assert worker_takes(records, catalog) == accepted
    assert len(accepted) + sum(isinstance(verdict, Refused) for verdict in verdicts) == len(pieces)


@pytest.mark.rule("R2.1")
@pytest.mark.parametrize(("count", "size"), [(10_000, 10), (700, 3_000), (3, RECORD_BYTES_MAX - 600), (25, 100_000)])
def test_records_stay_within_their_limits(catalog: Catalog, count: int, size: int) -> None:
    """However much comes at once, a record has at most 1 MiB and 10,000 events, and nothing is lost or turned round."""
    now_ms = now_us() // 1000
    texts = [json.dumps(usage(str(number)) | {"padding": "x" * size}).encode() for number in range(count)]

    packed = pack([judge(text, OPERATOR, catalog, now_ms) for text in texts], now_ms)

    assert max(len(each.value) for each in packed) <= RECORD_BYTES_MAX
    records = [Record(EVENTS_TOPIC, 0, 0, now_ms, each.key, each.value, each.headers) for each in packed]
    assert worker_takes(records, catalog) == [str(number) for number in range(count)]


def test_an_event_of_more_than_a_record_is_refused(catalog: Catalog) -> None:
    """What fits no record is told so at once (R2.1)."""
    text = json.dumps(usage() | {"padding": "x" * RECORD_BYTES_MAX}).encode()

    verdict = judge(text, OPERATOR, catalog, now_us() // 1000)

    assert isinstance(verdict, Refused)
    assert verdict.code == "too_large"
