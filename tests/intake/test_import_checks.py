"""Which batches are imported: signatures, places in the chain, and what is in them, without Kafka."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import msgspec
import pytest

from pipeline.access.signing_keys import signing_keys_in
from pipeline.codec.offline_batches import Damaged
from pipeline.domain.catalog import Deployment
from pipeline.domain.records import EVENTS_TOPIC
from pipeline.intake.import_checks import Accepted, Examiner
from pipeline.intake.import_history import SPOOLS_MAX, History, RefusedError
from tests.domain.world import World
from tests.intake.import_help import NOW_US, SPOOL, Deployed, deployed, read

NOW_MS = NOW_US // 1000
OTHER_SPOOL = "f" * 16
SEEDS = range(30)


@pytest.fixture
def air(tmp_path: Path) -> Deployed:
    """Return an air-gapped deployment."""
    return deployed(tmp_path, "dep-air", "acme")


@pytest.fixture
def other(tmp_path: Path) -> Deployed:
    """Return another deployment of the same customer."""
    return deployed(tmp_path, "dep", "acme")


class Import:
    """An import without Kafka: what it took and refused, and the records that the next one begins with."""

    def __init__(self, *keys: Any, strict: bool = False) -> None:
        self.catalog = World().catalog
        self._keys = {(key.deployment, key.id): key for key in keys}
        self._strict = strict
        self._records: dict[bytes, bytes] = {}
        self.taken: list[Accepted] = []
        self.repeats: list[int] = []
        self.refused: list[str] = []

    def run(self, content: bytes, crash: Callable[[], bool] = lambda: False) -> "Import":
        """Import a file, with its memory as Kafka keeps it; at a crash, what was taken last is lost with its memory."""
        history = History(self._records)
        examiner = Examiner(self.catalog, self._keys, history, strict=self._strict, now_ms=lambda: NOW_MS)
        for batch in read(content):
            if isinstance(batch, Damaged):
                self.refused.append(batch.reason)
                continue
            try:
                accepted = examiner.examine(batch)
            except RefusedError as refused:
                self.refused.append(str(refused))
                continue
            if crash():
                break
            if accepted is None:
                self.repeats.append(batch.header.sequence)
            else:
                self.taken.append(accepted)
                self._records |= dict(accepted.history.records(accepted.chunks))
        return self

    def missing(self, deployment: str = "dep-air", spool: str = SPOOL) -> list[tuple[int, int]]:
        return History(self._records).of(deployment, spool).missing()

    @property
    def sequences(self) -> list[int]:
        return [each.header.sequence for each in self.taken]


@pytest.mark.rule("R4.4", "R2.1")
def test_a_batch_becomes_a_record(air: Deployed):
    """The events go byte for byte into one record of the customer, which says that it was imported, and when that was."""
    events = [air.event("a"), air.event("b").replace(b": ", b":  ")]

    (taken,) = Import(air.registered()).run(b"".join(air.chain([events]))).taken

    record = taken.record
    assert record.value == b"[" + events[0] + b"," + events[1] + b"]"
    assert (record.topic, record.key, record.timestamp_ms) == (EVENTS_TOPIC, b"acme", NOW_MS)
    headers = dict(record.headers)
    assert headers["x-usage-import"] == b"offline"
    assert headers["content-type"] == b"application/cloudevents-batch+json"
    assert headers["x-usage-import-batch"].startswith(SPOOL.encode() + b"/1/")
    assert taken.rejected == []


def test_takes_only_what_the_deployments_own_key_has_signed(air: Deployed, other: Deployed, tmp_path: Path):
    """Keys of others, revoked keys, unknown keys, and a known key's name with another's signature, are all refused."""
    content = b"".join(air.batches(2))
    stranger = deployed(tmp_path, "dep-air", "acme")

    unknown = Import(other.registered()).run(content)
    revoked = Import(air.registered(revoked_us=2)).run(content)
    forged = Import(air.registered(public_key=other.signer.public_key)).run(content)
    borrowed = Import(air.registered(), other.registered()).run(
        b"".join(air._replace(signer=other.signer).batches(2)) + b"".join(other._replace(signer=air.signer).batches(2))
    )
    named = Import(air.registered()).run(b"".join(stranger.chain([[air.event("x")]], key=air.signer.key_id)))

    for tried, words in (
        (unknown, "no signing key of 'dep-air'"),
        (revoked, "revoked"),
        (forged, "its signature is not one of key"),
        (borrowed, "no signing key of"),
        (named, "its signature is not one of key"),
    ):
        assert tried.taken == []
        assert tried.refused
        assert all(words in reason for reason in tried.refused)


def test_every_flipped_bit_is_refused(air: Deployed):
    """Whichever bit of a batch is flipped, nothing of that batch is taken, and the one before it is."""
    first, second = (bytes(batch) for batch in air.chain([[b"{}"], [b'{"a":1}', b"{}"]]))
    keys = air.registered()
    sound = Import(keys).run(first + second)
    assert sound.sequences == [1, 2]

    for bit in range(len(second) * 8):
        flipped = bytearray(second)
        flipped[bit // 8] ^= 1 << bit % 8
        tried = Import(keys).run(first + bytes(flipped))
        assert tried.sequences == [1], bit
        assert tried.refused, bit


@pytest.mark.parametrize("seed", SEEDS)
def test_random_files_give_each_batch_once(seed: int, air: Deployed):
    """Whatever is left out, repeated, swapped, damaged or cut short by crashes: each batch is taken once, if it came at all."""
    random = Random(seed)
    batches = air.batches(random.randint(1, 12)) + air.batches(random.randint(1, 12), OTHER_SPOOL)
    tried = Import(air.registered())
    came: set[bytes] = set()
    for _ in range(random.randint(1, 5)):
        file = [batch for batch in batches for _ in range(random.choice([0, 1, 1, 1, 2]))]
        if random.random() < 0.5:
            random.shuffle(file)
        spoilt = [_flip(random, batch) if random.random() < 0.1 else batch for batch in file]
        crashes = random.random() < 0.3
        tried.run(b"".join(spoilt), crash=lambda crashes=crashes: crashes and random.random() < 0.1)
        came |= set(file)
    tried.run(b"".join(batch for batch in batches if batch in came))

    places = [(each.header.spool, each.header.sequence) for each in tried.taken]
    expected = [
        (spool, number)
        for spool in (SPOOL, OTHER_SPOOL)
        for number, batch in enumerate((each for each in batches if spool.encode() in each), start=1)
        if batch in came
    ]
    assert sorted(places, key=lambda place: (place[0] == OTHER_SPOOL, place[1])) == expected
    for spool in (SPOOL, OTHER_SPOOL):
        have = {number for name, number in expected if name == spool}
        gaps = {number for first, last in tried.missing(spool=spool) for number in range(first, last + 1)}
        assert gaps == set(range(1, max(have, default=0) + 1)) - have


def test_gaps_are_known_until_they_are_filled(air: Deployed):
    """A missing batch is told with each import, and taken when it comes at last; a spool starts anew in numbers of its own."""
    batches = air.batches(6)
    tried = Import(air.registered()).run(b"".join(batches[1:2] + batches[4:]))

    assert (tried.sequences, tried.missing()) == ([2, 5, 6], [(1, 1), (3, 4)])
    tried.run(b"".join(air.batches(2, OTHER_SPOOL)) + batches[3])
    assert tried.missing() == [(1, 1), (3, 3)]
    tried.run(b"".join(batches))
    assert (tried.missing(), tried.repeats, tried.refused) == ([], [2, 4, 5, 6], [])


def test_strict_takes_batches_in_their_order_only(air: Deployed):
    """With strict, what comes after a gap waits until the gap is filled."""
    batches = air.batches(4)
    tried = Import(air.registered(), strict=True).run(b"".join([batches[0], *batches[2:]]))

    assert (tried.sequences, len(tried.refused)) == ([1], 2)
    assert tried.run(b"".join(batches)).sequences == [1, 2, 3, 4]


def test_a_spool_that_was_set_back_is_seen(air: Deployed):
    """Other batches under numbers that were used, or that do not fit their neighbours, are never taken for repeats."""
    history = air.chain([[air.event("a")], [air.event("b")], [air.event("c")], [air.event("d")]])
    forked = air.chain([[air.event("a")], [air.event("B")], [air.event("C")], [air.event("D")]])

    behind = Import(air.registered()).run(b"".join(history[:2])).run(b"".join(forked))
    between = Import(air.registered()).run(history[0] + history[2]).run(forked[1])
    unchained = Import(air.registered()).run(
        b"".join(
            air.chain([[air.event("x")], [air.event("y")]], previous=None)[1:] + air.chain([[b"{}"]], previous="0" * 64)
        )
    )

    assert (behind.sequences, behind.repeats) == ([1, 2, 4], [1])
    assert ["set back" in behind.refused[0], "does not follow batch 2" in behind.refused[1]] == [True, True]
    assert "that batch 3, which was imported, follows" in between.refused[0]
    assert (unchained.taken, len(unchained.refused)) == ([], 2)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"source": "dep"}, "signs for itself only"),
        ({"source": "dep-other"}, "signs for itself only"),
    ],
)
def test_a_deployment_speaks_for_itself_only(air: Deployed, change: dict[str, Any], words: str):
    """A signed batch that holds one event of another deployment is refused as a whole, and is not remembered."""
    tried = Import(air.registered()).run(b"".join(air.chain([[air.event("a"), air.event("b", **change)]])))

    assert (tried.taken, tried.missing()) == ([], [])
    assert words in tried.refused[0]


@pytest.mark.parametrize("lines", [[b'{"a":1', b'"b":2}'], [b"no JSON"], [b'{"a":' + b"[" * 200 + b"]" * 200 + b"}"]])
def test_lines_that_are_no_events_are_refused(air: Deployed, lines: list[bytes]):
    """A signed batch whose lines are not JSON, or not one value each, is refused as a whole."""
    tried = Import(air.registered()).run(b"".join(air.chain([lines])))

    assert tried.taken == []
    assert "its events cannot be read" in tried.refused[0] or "one event each" in tried.refused[0]


@pytest.mark.rule("R2.3", "R2.4")
def test_says_what_the_worker_will_reject(air: Deployed):
    """Events that break a rule are sent, so that they come to the dead letters, and are told with code and message."""
    minute_us = 60_000_000
    events = [
        air.event("good"),
        air.event("subject", subject="other"),
        air.event("ahead", NOW_US + 6 * minute_us),
        air.event("nearly ahead", NOW_US + 4 * minute_us),
        air.event("field", data={}),
        b'{"id": 1, "id": 2}',
    ]

    (taken,) = Import(air.registered()).run(b"".join(air.chain([events]))).taken

    assert [(each.event, each.code) for each in taken.rejected] == [
        (2, "wrong_key"),
        (3, "time_in_future"),
        (5, "invalid_field"),
        (6, "malformed"),
    ]


def test_a_deployment_that_is_not_in_the_catalog_can_be_imported_later(tmp_path: Path):
    """Nothing is remembered of what is refused: once the cause is mended, the same file is imported."""
    new = deployed(tmp_path, "dep-new", "acme")
    content = b"".join(new.batches(1))
    tried = Import(new.registered()).run(content)
    catalog = World().catalog

    assert "not in the catalog" in tried.refused[0]
    tried.catalog = replace(catalog, deployments={"dep-new": Deployment("dep-new", "acme", "docflow")})
    assert tried.run(content).sequences == [1]


def test_spools_are_bounded(air: Deployed):
    """A deployment cannot fill the memory of imports with spools."""
    tried = Import(air.registered()).run(
        b"".join(air.batches(1, f"{number:016x}")[0] for number in range(SPOOLS_MAX + 1))
    )

    assert len(tried.taken) == SPOOLS_MAX
    assert "spools already" in tried.refused[0]


def test_a_key_counts_under_its_own_name_only(air: Deployed):
    """A record of a signing key that lies under another deployment's key, or cannot be read, is none."""
    value = msgspec.json.encode(air.registered())
    name = f"signing/dep-air/{air.signer.key_id}".encode()

    assert list(signing_keys_in({name: value})) == [("dep-air", air.signer.key_id)]
    assert signing_keys_in({name.replace(b"air", b"sea"): value, name: b"{", b"key/1": value}) == {}


def _flip(random: Random, batch: bytes) -> bytes:
    spoilt = bytearray(batch)
    spoilt[random.randrange(len(spoilt))] ^= 1 << random.randrange(8)
    return bytes(spoilt)
