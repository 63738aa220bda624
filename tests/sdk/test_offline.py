"""The spool of a deployment without connectivity: signed, numbered batches that outlive crashes."""

import io
import json
import os
import signal
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from pipeline.codec.offline_batches import BatchReader, SignedBatch
from pipeline.sdk import offline_files
from pipeline.sdk.offline import OfflineSpool, SpoolError, SpoolFullError, export_batches
from pipeline.sdk.signing import (
    Signer,
    SigningKeyError,
    is_signed,
    key_id,
    make_private_key,
    parse_public_key,
)
from pipeline.sdk.transport import Answered, Away
from pipeline.settings.resources import schema_path
from tests.sdk.support import SENDER, USED, client_of, until

DEPLOYMENT = SENDER["deployment"]


@pytest.fixture
def key(tmp_path: Path) -> Path:
    """Return a private key's file."""
    make_private_key(tmp_path / "key.pem")
    return tmp_path / "key.pem"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return the spool's folder, which is not there yet."""
    return tmp_path / "spool"


def event(number: int, size: int = 0, **changes: Any) -> bytes:
    return json.dumps({"id": f"e{number}", "source": DEPLOYMENT, "x": "x" * size} | changes).encode()


def batches(folder: Path) -> list[SignedBatch]:
    """Return the closed batches, having checked their numbers, their chain and their signatures."""
    with (folder.parent / "key.pem").open("rb"):
        public_key = Signer(folder.parent / "key.pem").public_key
    content = b"".join(path.read_bytes() for path in sorted(folder.glob("batch-*.ndjson")))
    found = [each for each in BatchReader(io.BytesIO(content).readline) if isinstance(each, SignedBatch)]
    for before, after in pairwise(found):
        assert after.header.sequence == before.header.sequence + 1
        assert after.header.previous == before.digest
    assert all(is_signed(public_key, each.head, each.signature) for each in found)
    return found


def events_in(folder: Path) -> list[bytes]:
    return [each for batch in batches(folder) for each in batch.events]


def test_closes_batches_by_count(folder: Path, key: Path):
    """A batch has at most so many events, and the last one is closed with the spool."""
    with OfflineSpool(folder, DEPLOYMENT, key, batch_events_max=3) as spool:
        spool.append([event(number) for number in range(8)])
        closed = len(batches(folder))

    assert closed == 2
    assert [each.header.events for each in batches(folder)] == [3, 3, 2]
    assert events_in(folder) == [event(number) for number in range(8)]


def test_closes_batches_by_size(folder: Path, key: Path):
    """A batch is never larger, as a record, than it may be."""
    with OfflineSpool(folder, DEPLOYMENT, key, batch_bytes_max=1000) as spool:
        spool.append([event(number, size=number * 40) for number in range(20)])

    assert all(len(each.record_value()) <= 1000 for each in batches(folder))
    assert len(batches(folder)) > 5
    assert events_in(folder) == [event(number, size=number * 40) for number in range(20)]


def test_closes_batches_by_age(folder: Path, key: Path):
    """An event waits no longer than told, though none follows it."""
    with OfflineSpool(folder, DEPLOYMENT, key, batch_age_s=0.02) as spool:
        spool.append([event(1)])

        until(lambda: len(batches(folder)) == 1)
        spool.append([event(2)])
        until(lambda: len(batches(folder)) == 2)


def test_numbers_go_on_over_restarts(folder: Path, key: Path):
    """The chain of batches goes on where it was, in every life, whatever was discarded."""
    for life in range(4):
        with OfflineSpool(folder, DEPLOYMENT, key) as spool:
            spool.append([event(life)])
            spool.discard(through=life)

    assert [each.header.sequence for each in batches(folder)] == [3, 4]


@pytest.mark.parametrize("tail", [b'{"id": "half', b"\x00" * 100, b'\x00\x00\n{"id": 1}\n', b'{"id": "no line end"}'])
def test_a_torn_tail_is_cut_off(folder: Path, key: Path, tail: bytes):
    """What a crash left half written is no event; what was acknowledged is, and is closed at the next start."""
    spool = OfflineSpool(folder, DEPLOYMENT, key)
    spool.append([event(1), event(2)])
    spool.forget()
    with (folder / "open-0000000001.ndjson").open("ab") as file:
        file.write(tail)

    OfflineSpool(folder, DEPLOYMENT, key).close()

    assert events_in(folder) == [event(1), event(2)]


def test_a_crash_while_closing_repeats_nothing(folder: Path, key: Path):
    """When the closed batch is there and the open one still too, its events are not closed again."""
    spool = OfflineSpool(folder, DEPLOYMENT, key)
    spool.append([event(1)])
    opened = (folder / "open-0000000001.ndjson").read_bytes()
    spool.close()
    (folder / "open-0000000001.ndjson").write_bytes(opened)
    (folder / "batch-0000000002.tmp").write_bytes(b"half a batch")

    with OfflineSpool(folder, DEPLOYMENT, key) as spool:
        spool.append([event(2)])

    assert events_in(folder) == [event(1), event(2)]


def test_kill_loses_nothing_that_was_acknowledged(folder: Path, key: Path):
    """After kill -9 at any place, what `append` returned for is there once, in order."""
    code = (
        "import sys; from pipeline.sdk.offline import OfflineSpool\n"
        f"spool = OfflineSpool(sys.argv[1], {DEPLOYMENT!r}, sys.argv[2], batch_events_max=4)\n"
        "for number in range(int(sys.argv[3]), 10**6):\n"
        f'    spool.append([b\'{{"id": "e%d", "source": "{DEPLOYMENT}"}}\' % number])\n'
        "    print(number, flush=True)\n"
    )
    acknowledged = -1
    for life in range(3):
        command = [sys.executable, "-c", code, str(folder), str(key), str(acknowledged + 1)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            for line in process.stdout:
                acknowledged = int(line)
                if acknowledged % 100 == 17 * (life + 1):
                    break
            os.kill(process.pid, signal.SIGKILL)
            acknowledged = max([acknowledged, *map(int, process.stdout.read().split())])

    OfflineSpool(folder, DEPLOYMENT, key).close()

    numbers = [int(json.loads(each)["id"][1:]) for each in events_in(folder)]
    assert sorted(set(numbers)) == list(range(numbers[-1] + 1))
    assert len(numbers) - len(set(numbers)) <= 3  # one was on disk when the kill came before its number was printed
    assert numbers[-1] >= acknowledged


def test_a_disk_that_refuses_is_met_again(folder: Path, key: Path, monkeypatch: pytest.MonkeyPatch):
    """When the disk refuses, the caller is told, and what is appended later is all there."""
    with OfflineSpool(folder, DEPLOYMENT, key) as spool:
        spool.append([event(1)])
        with monkeypatch.context() as broken:
            broken.setattr(offline_files.os, "fsync", _refuse)
            with pytest.raises(OSError, match="no space"):
                spool.append([event(2)])
            with pytest.raises(OSError, match="no space"):
                spool.close_batch()
            assert isinstance(spool.send([event(2)]), Away)
        spool.append([event(3)])

    assert set(events_in(folder)) == {event(1), event(2), event(3)}


def test_is_full_at_its_size(folder: Path, key: Path):
    """A spool stops at its size, writes nothing of what does not fit, and goes on once batches are discarded."""
    with OfflineSpool(folder, DEPLOYMENT, key, batch_events_max=1, spool_bytes_max=4000) as spool:
        written = 0
        while isinstance(spool.send([event(written)]), Answered):
            written += 1
        with pytest.raises(SpoolFullError, match="discard"):
            spool.append([event(written)])
        assert sum(path.stat().st_size for path in folder.glob("batch-*.ndjson")) <= 4500
        assert len(events_in(folder)) == written
        spool.discard(through=written)
        spool.append([event(written)])

    assert events_in(folder)[-1] == event(written)


@pytest.mark.parametrize(
    "wrong",
    [
        event(1, source="dep_other"),
        b"[1]",
        b"no JSON",
        event(1).replace(b" ", b"\n"),
        event(1, size=2 << 20),
        b'{"type":"usage.offline.batch.v1","source":"%s"}' % DEPLOYMENT.encode(),
    ],
)
def test_refuses_what_is_no_event_of_its_deployment(folder: Path, key: Path, wrong: bytes):
    """One event that could not be imported keeps all of an `append` out, and is refused by itself as a transport."""
    with OfflineSpool(folder, DEPLOYMENT, key) as spool:
        with pytest.raises(ValueError, match="event"):
            spool.append([event(0), wrong])
        outcome = spool.send([event(0), wrong, event(2)])

    assert isinstance(outcome, Answered)
    assert [refusal.place for refusal in outcome.refused] == [1]
    assert events_in(folder) == [event(0), event(2)]


def test_one_process_one_deployment(folder: Path, key: Path):
    """A folder is not shared: not by two spools at a time, not by two deployments."""
    with OfflineSpool(folder, DEPLOYMENT, key), pytest.raises(SpoolError, match="folder of its own"):
        OfflineSpool(folder, DEPLOYMENT, key)

    with pytest.raises(SpoolError, match="dep_other"):
        OfflineSpool(folder, "dep_other", key)
    with OfflineSpool(folder, DEPLOYMENT, key) as spool:
        spool.append([event(1)])
    with pytest.raises(SpoolError, match="was closed"):
        spool.append([event(2)])


def test_damaged_memory_is_not_built_upon(folder: Path, key: Path):
    """A spool whose newest batch or identity is damaged says so, and makes no number twice."""
    with OfflineSpool(folder, DEPLOYMENT, key) as spool:
        spool.append([event(1)])
    about, newest = folder / "spool.json", folder / "batch-0000000001.ndjson"
    whole, content = about.read_bytes(), newest.read_bytes()

    about.write_bytes(b"{")
    with pytest.raises(SpoolError, match=r"spool\.json is damaged"):
        OfflineSpool(folder, DEPLOYMENT, key)
    about.unlink()
    with pytest.raises(SpoolError, match="begin a new folder"):
        OfflineSpool(folder, DEPLOYMENT, key)
    about.write_bytes(whole)
    newest.write_bytes(content[10:])
    with pytest.raises(SpoolError, match="damaged"):
        OfflineSpool(folder, DEPLOYMENT, key)


def test_exports_while_in_use(folder: Path, key: Path, tmp_path: Path):
    """The owner's export has everything; another process's has the closed batches; neither writes over a file."""
    with OfflineSpool(folder, DEPLOYMENT, key, batch_events_max=2) as spool:
        spool.append([event(number) for number in range(5)])

        others = export_batches(folder, tmp_path / "others")
        own = spool.export(tmp_path / "own", after=1)
        nothing = spool.export(tmp_path / "nothing", after=3)

        assert (others, own, nothing) == ((2, 1, 2), (2, 2, 3), (0, 0, 0))
        with pytest.raises(FileExistsError):
            spool.export(tmp_path / "own")
    with pytest.raises(SpoolError, match="no spool"):
        export_batches(tmp_path, tmp_path / "new")


def test_what_is_exported_fits_the_published_schema(folder: Path, key: Path, tmp_path: Path):
    """Every line that is no event is as schemas/json/usage-import.v1.schema.json says."""
    with OfflineSpool(folder, DEPLOYMENT, key, batch_events_max=1) as spool:
        spool.append([event(number) for number in range(2)])
        spool.export(tmp_path / "file")
    schema = json.loads(schema_path("json", "usage-import.v1.schema.json").read_text())
    check = jsonschema.Draft202012Validator(schema, format_checker=jsonschema.FormatChecker())

    lines = [json.loads(line) for line in (tmp_path / "file").read_text().splitlines()]

    assert [check.is_valid(line) for line in lines] == [True, False, True] * 2


def test_is_a_clients_transport(folder: Path, key: Path):
    """A client that is given the spool emits into it, and closes it."""
    with client_of(OfflineSpool(folder, DEPLOYMENT, key)) as client:
        client.emit(**USED, quantity=3)

    until(lambda: batches(folder))
    (only,) = events_in(folder)
    assert json.loads(only)["data"]["quantity"] == 3


def test_files_are_private(folder: Path, key: Path, tmp_path: Path):
    """Nobody but the owner reads keys, spools and exports."""
    with OfflineSpool(folder, DEPLOYMENT, key) as spool:
        spool.append([event(1)])
        spool.export(tmp_path / "file")

    files = [key, tmp_path / "file", folder, *folder.iterdir()]
    assert all(path.stat().st_mode & 0o077 == 0 for path in files)


def test_keys_have_a_public_form(key: Path, tmp_path: Path):
    """A public key is one line, or PEM as openssl writes it; its id comes from it."""
    signer = Signer(key)
    pem = subprocess.run(["openssl", "pkey", "-in", key, "-pubout"], capture_output=True, text=True, check=True).stdout

    assert parse_public_key(pem) == parse_public_key(f" {signer.public_key}\n") == signer.public_key
    assert key_id(signer.public_key) == signer.key_id
    with pytest.raises(FileExistsError):
        make_private_key(key)
    for wrong in ("", "ed25519:", "ed25519:!!", "ed25519:é", "rsa:AA==", key.read_text(), "-----BEGIN PUBLIC KEY-----"):
        with pytest.raises(SigningKeyError):
            parse_public_key(wrong)
    (tmp_path / "junk").write_bytes(b"\xff" * 10)
    for path in (tmp_path / "junk", tmp_path / "absent", tmp_path):
        with pytest.raises(SigningKeyError):
            Signer(path)


def _refuse(_: int) -> None:
    raise OSError(28, "no space left on device")
