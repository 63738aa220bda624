"""`usage import` against Kafka: each batch once, whatever happens, and from a file to lines."""

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.errors import KafkaError
from click.testing import CliRunner, Result

from pipeline.access.signing_keys import write_signing_key
from pipeline.catalog import load_catalog
from pipeline.cli import usage
from pipeline.domain.records import DEAD_LETTER_TOPIC, EVENTS_TOPIC
from pipeline.intake.import_checks import Accepted, Examiner
from pipeline.intake.import_history import History
from pipeline.intake.import_report import ImportReport
from pipeline.intake.imports import ImportWriter, import_files
from pipeline.sdk.offline import OfflineSpool
from pipeline.settings import load_settings
from pipeline.settings.resources import schema_path
from pipeline.stream.topics import ensure_topics
from tests.fixtures.brokers import BROKERS, broker_of_kind
from tests.fixtures.servers import broker_server
from tests.intake.import_help import Deployed, deployed, read
from tests.stream.harness import Stream, open_stream

CATALOG = schema_path("examples", "catalog.yaml")
VAULT = "dep_fjord_docflow_vault"
OTHER = "dep_fjord_other"
EVENTS = 3
KILLED = """
import os, signal, sys
from aiokafka import AIOKafkaProducer
from pipeline.cli import main
commit, calls = AIOKafkaProducer.commit_transaction, []
when, number = sys.argv[1], int(sys.argv[2])
async def killed(self):
    calls.append(1)
    if len(calls) == number:
        if when == "after":
            await commit(self)
        os.kill(os.getpid(), signal.SIGKILL)
    await commit(self)
AIOKafkaProducer.commit_transaction = killed
sys.argv = ["usage", *sys.argv[3:]]
main()
"""


@pytest.fixture(scope="module")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Yield the address of a broker with the topics; every test has a deployment key and spools of its own."""
    server = broker_server(tmp_path_factory.mktemp("imports") / "broker").start()
    asyncio.run(ensure_topics(load_settings(kafka=server.address, partitions=2)))
    yield server.address
    server.kill()


@pytest.fixture
def spool_id(request: pytest.FixtureRequest) -> str:
    """Return a spool id of the test's own."""
    return f"{abs(hash(request.node.name)) % 16**16:016x}"


@pytest.fixture
def vault(kafka: str, tmp_path: Path) -> Deployed:
    """Return the air-gapped deployment of the example catalog, with a new key that was added."""
    made = deployed(tmp_path, VAULT, "fjord-bank")
    assert add_key(kafka, made).exit_code == 0
    return made


def command(kafka: str, *arguments: str | Path) -> Result:
    return CliRunner().invoke(usage, [*map(str, arguments), "--kafka", kafka])


def add_key(kafka: str, made: Deployed) -> Result:
    return command(
        kafka,
        "signing-keys",
        "add",
        "--deployment",
        made.name,
        "--public-key",
        made.signer.public_key,
        "--catalog",
        CATALOG,
    )


def run_import(kafka: str, *arguments: str | Path) -> tuple[int, dict[str, Any]]:
    """Import files; return the exit code and the report."""
    result = command(kafka, "import", *arguments, "--catalog", CATALOG, "--format", "json")
    return result.exit_code, json.loads(result.stdout[result.stdout.index("{") :])


def now_us() -> int:
    return time.time_ns() // 1000


def batches(made: Deployed, count: int, spool: str) -> list[bytes]:
    names = [[f"{spool}-{number}-{each}" for each in range(EVENTS)] for number in range(1, count + 1)]
    return made.chain(([made.event(name, now_us()) for name in each] for each in names), spool=spool)


def file_of(folder: Path, *parts: bytes) -> Path:
    path = folder / f"{len(list(folder.iterdir()))}.ndjson"
    path.write_bytes(b"".join(parts))
    return path


async def committed(kafka: str, spool: str, topic: str = EVENTS_TOPIC) -> list[Any]:
    """Return the records that came from a spool, as readers of what is committed see them."""
    consumer = AIOKafkaConsumer(
        topic, bootstrap_servers=kafka, isolation_level="read_committed", auto_offset_reset="earliest"
    )
    await consumer.start()
    found: list[Any] = []
    try:
        ends = await consumer.end_offsets(consumer.assignment())
        while any([await consumer.position(place) < end for place, end in ends.items()]):
            for records in (await consumer.getmany(timeout_ms=100)).values():
                found += records
    finally:
        await consumer.stop()
    return [each for each in found if dict(each.headers).get("x-usage-import-batch", b"").startswith(spool.encode())]


def accepted(made: Deployed, spool: str) -> Accepted:
    """Return a batch that may be sent."""
    key = made.registered()
    (batch,) = read(batches(made, 1, spool)[0])
    examined = Examiner(load_catalog(CATALOG), {(key.deployment, key.id): key}, History({})).examine(batch)
    assert examined is not None
    return examined


def ids(records: list[Any]) -> list[str]:
    return [event["id"] for record in records for event in json.loads(record.value)]


def names_of(count: int, spool: str) -> list[str]:
    return [f"{spool}-{number}-{each}" for number in range(1, count + 1) for each in range(EVENTS)]


@pytest.mark.rule("R4.4")
def test_imports_once(kafka: str, vault: Deployed, spool_id: str, tmp_path: Path):
    """A file comes to usage.events once: in order, keyed by customer, at the time of the import; again, it is skipped."""
    file = file_of(tmp_path, *batches(vault, 70, spool_id))
    before_ms = now_us() // 1000

    first = run_import(kafka, file)
    again = run_import(kafka, file, file)

    assert (first[0], first[1]["spools"][0]["imported"]) == (0, [[1, 70]])
    assert (again[0], again[1]["spools"][0]["repeats"]) == (0, 140)
    records = asyncio.run(committed(kafka, spool_id))
    assert ids(records) == names_of(70, spool_id)
    assert {record.key for record in records} == {b"fjord-bank"}
    assert all(before_ms <= record.timestamp <= now_us() // 1000 for record in records)
    assert {dict(record.headers)["x-usage-import"] for record in records} == {b"offline"}


@pytest.mark.parametrize(("when", "transaction"), [("before", 1), ("before", 2), ("after", 2)])
def test_kill_makes_nothing_come_twice(
    kafka: str, vault: Deployed, spool_id: str, tmp_path: Path, when: str, transaction: int
):
    """After kill -9 before or after a commit, the same command brings what is missing, and every event is there once."""
    file = file_of(tmp_path, *batches(vault, 150, spool_id))
    arguments = [sys.executable, "-c", KILLED, when, str(transaction)]
    arguments += ["import", str(file), "--kafka", kafka, "--catalog", str(CATALOG)]

    killed = subprocess.run(arguments, timeout=60, check=False, capture_output=True)
    left = asyncio.run(committed(kafka, spool_id))
    code, report = run_import(kafka, file)

    assert killed.returncode == -9, killed.stderr
    done = 64 * (transaction if when == "after" else transaction - 1)
    assert ids(left) == names_of(done, spool_id)
    assert (code, report["spools"][0]["repeats"], report["spools"][0]["batches"]) == (0, done, 150 - done)
    assert ids(asyncio.run(committed(kafka, spool_id))) == names_of(150, spool_id)


def test_exit_codes_and_reports(kafka: str, vault: Deployed, spool_id: str, tmp_path: Path):
    """0 for all, 1 for something refused, 3 for gaps; a dry run says the same, and sends nothing."""
    made = batches(vault, 5, spool_id)
    gap = file_of(tmp_path, *made[:2], *made[3:])
    spoilt = file_of(tmp_path, made[2].replace(b"fjord-bank", b"fjord-bonk"))

    dry_code, dry = run_import(kafka, gap, "--dry-run")
    nothing = asyncio.run(committed(kafka, spool_id))
    gap_code, with_gap = run_import(kafka, gap)
    spoilt_code, refused = run_import(kafka, spoilt)
    all_code, filled = run_import(kafka, file_of(tmp_path, *made))

    assert (dry_code, dry["spools"][0]["imported"], dry["spools"][0]["missing"]) == (3, [[1, 2], [4, 5]], [[3, 3]])
    assert nothing == []
    assert (gap_code, with_gap["spools"]) == (3, dry["spools"])
    assert (spoilt_code, refused["refused"][0]["sequence"], refused["refused"][0]["line"]) == (1, 3, 1)
    assert (all_code, filled["spools"][0]["imported"], filled["spools"][0]["missing"]) == (0, [[3, 3]], [])


def test_the_table_names_what_was_refused(kafka: str, vault: Deployed, spool_id: str, tmp_path: Path):
    """For people there is a line a spool, and one for each refused batch and rejected event."""
    made = vault.chain([[vault.event("a", now_us(), subject="acme")], [b"{}"]], spool=spool_id)

    result = command(kafka, "import", file_of(tmp_path, made[0], b"junk\n"), "--catalog", CATALOG)

    assert result.exit_code == 1
    assert f"{VAULT}  {spool_id}  1" in result.stdout
    assert "line 4: lines outside of a signed batch" in result.stdout
    assert f"batch 1 of '{VAULT}', event 1: wrong_key" in result.stdout


def test_a_revoked_key_is_refused_from_then_on(kafka: str, vault: Deployed, spool_id: str, tmp_path: Path):
    """Keys are listed, and revoked for good; what was imported stays a fact."""
    made = batches(vault, 2, spool_id)
    imported, _ = run_import(kafka, file_of(tmp_path, made[0]))

    revoked = command(kafka, "signing-keys", "revoke", "--deployment", VAULT, vault.signer.key_id)
    again = add_key(kafka, vault)
    listed = json.loads(command(kafka, "signing-keys", "list", "--deployment", VAULT, "--format", "json").stdout)
    code, report = run_import(kafka, file_of(tmp_path, made[1]))

    assert (imported, revoked.exit_code, again.exit_code, code) == (0, 0, 1, 1)
    assert "was revoked" in again.output
    assert {key["id"]: key["state"] for key in listed}[vault.signer.key_id] == "revoked"
    assert "revoked" in report["refused"][0]["reason"]


def test_keys_are_made_and_checked(kafka: str, tmp_path: Path):
    """`make` prints what `add` takes; a key for a deployment that is not in the catalog, or that is none, is refused."""
    out = tmp_path / "key.pem"
    make = CliRunner().invoke(usage, ["signing-keys", "make", "--deployment", VAULT, "--out", str(out)])
    (tmp_path / "public").write_text(make.stdout)
    arguments = ["signing-keys", "add", "--catalog", CATALOG, "--deployment"]

    added = command(kafka, *arguments, VAULT, "--public-key", tmp_path / "public")
    unknown = command(kafka, *arguments, OTHER, "--public-key", tmp_path / "public")
    private = command(kafka, *arguments, VAULT, "--public-key", out)
    absent = command(kafka, "signing-keys", "revoke", "--deployment", VAULT, "0" * 16)
    twice = CliRunner().invoke(usage, ["signing-keys", "make", "--deployment", VAULT, "--out", str(out)])

    assert (make.exit_code, added.exit_code) == (0, 0)
    assert [each.exit_code for each in (unknown, private, absent, twice)] == [1, 1, 1, 1]
    assert "not in the catalog" in unknown.output
    assert "never written over" in twice.output
    secret = "".join(out.read_text().splitlines()[1:-1])
    assert all(secret not in each.output for each in (make, added, private))


def test_kafka_that_does_not_answer_is_named(tmp_path: Path):
    """The error says where Kafka was looked for, and that the command can be run again."""
    result = command("127.0.0.1:1", "import", file_of(tmp_path, b"x"), "--catalog", CATALOG)

    assert result.exit_code == 1
    assert "127.0.0.1:1" in result.output
    assert "run the same command again" in result.output


@pytest_asyncio.fixture
async def writers(kafka: str) -> AsyncIterator[tuple[ImportWriter, ImportWriter]]:
    """Yield two imports that are started one after the other."""
    first, second = (ImportWriter(load_settings(kafka=kafka)) for _ in range(2))
    try:
        await first.start()
        await second.start()
        yield first, second
    finally:
        await first.stop()
        await second.stop()


@pytest.mark.asyncio
async def test_a_second_import_shuts_out_the_first(
    writers: tuple[ImportWriter, ImportWriter], kafka: str, vault: Deployed, spool_id: str
):
    """Of two imports at a time the one that began first fails and writes nothing: so both never import the same."""
    batch = accepted(vault, spool_id)
    with pytest.raises(KafkaError):
        await writers[0].write([batch])
    assert await committed(kafka, spool_id) == []

    await writers[1].write([batch])
    assert len(await committed(kafka, spool_id)) == 1


@pytest.mark.asyncio
async def test_an_interrupted_import_finishes_its_transaction(
    kafka: str, vault: Deployed, spool_id: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Ctrl-C in the middle of a transaction leaves it whole, and the next import goes on behind it."""
    settings, catalog = load_settings(kafka=kafka), load_catalog(CATALOG)
    file = file_of(tmp_path, *batches(vault, 100, spool_id))
    committing = asyncio.Event()
    commit = AIOKafkaProducer.commit_transaction

    async def slow_commit(producer: AIOKafkaProducer) -> None:
        committing.set()
        await asyncio.sleep(0)
        await commit(producer)

    monkeypatch.setattr(AIOKafkaProducer, "commit_transaction", slow_commit)
    interrupted = ImportReport()
    running = asyncio.create_task(import_files(settings, catalog, [file], interrupted))
    await committing.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert interrupted.spools[VAULT, spool_id].imported == [(1, 64)]
    assert ids(await committed(kafka, spool_id)) == names_of(64, spool_id)

    report = ImportReport()
    await import_files(settings, catalog, [file], report)

    assert report.exit_code == 0
    assert ids(await committed(kafka, spool_id)) == names_of(100, spool_id)


@pytest_asyncio.fixture(params=BROKERS)
async def stack(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Stream]:
    """Yield empty topics of each kind of broker, to run workers on."""
    (tmp_path / "stack").mkdir()
    server = await broker_of_kind(request.param, tmp_path / "stack" / "broker").started()
    try:
        async with open_stream(server.address, tmp_path / "stack") as opened:
            yield opened
    finally:
        server.kill()


@pytest.mark.rule("R4.4", "R2.3")
@pytest.mark.asyncio
async def test_from_a_spool_to_lines(stack: Stream, tmp_path: Path):
    """Events of an air-gapped deployment are rejected when they come by themselves, and rated when they are imported."""
    vault = deployed(tmp_path, VAULT, "fjord-bank")
    data = {"environment": "production", "workspace": "w", "feature": "f", "model": "gpt-5-mini", "unit": "document"}
    events = [vault.event(f"e{number}", now_us(), data=data) for number in range(7)]
    with OfflineSpool(tmp_path / "spool", VAULT, vault.key_file, batch_events_max=3) as spool:
        spool.append(events)
        spool.export(tmp_path / "export.ndjson")
    settings = load_settings(kafka=stack.kafka)
    await write_signing_key(settings, vault.registered())
    await import_files(settings, load_catalog(CATALOG), [tmp_path / "export.ndjson"], ImportReport())
    await stack.send(EVENTS_TOPIC, b"fjord-bank", events[0].replace(b"e0", b"bare"), now_us() // 1000)

    await stack.worker(CATALOG)
    lines = await stack.lines(7)
    letters = await stack.records(DEAD_LETTER_TOPIC, len)

    assert [line["event_id"] for line in lines["fjord-bank"]] == [f"e{number}" for number in range(7)]
    assert [dict(letter.headers)["code"] for letter in letters] == [b"air_gapped"]
