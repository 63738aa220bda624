"""The commands: keys, grants, and the API as a process."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from click.testing import CliRunner, Result

from pipeline.access.keys import parse_token
from pipeline.cli import usage
from pipeline.codec.records import decode_grant
from pipeline.domain.grants import Grant, TopUp
from pipeline.domain.records import GRANTS_TOPIC
from pipeline.settings import Settings
from tests.api.support import RunningApi, records_with, store_key, wait_until
from tests.api.support import usage as usage_event
from tests.fixtures.servers import free_port


def run(settings: Settings, *arguments: str, catalog: bool = True) -> Result:
    environment = {"USAGE_KAFKA": settings.kafka, "USAGE_CATALOG": str(settings.catalog) if catalog else None}
    return CliRunner(env=environment).invoke(usage, arguments)


@pytest.mark.parametrize(
    "owner", [["deployment", "--deployment", "dep_acme"], ["customer", "--customer", "acme"], ["operator"]]
)
def test_a_key_is_made_used_listed_and_revoked(api_settings: Settings, api: RunningApi, owner: list[str]) -> None:
    """The token stands alone on standard output, works at once, is never shown again, and ends when it is revoked."""
    made = run(api_settings, "keys", "make", "--scope", *owner, "--name", "for a test", "--expires", "90d")
    token = made.stdout.strip()
    parsed = parse_token(token)
    assert parsed is not None, made.output
    identity, secret = parsed

    wait_until(lambda: api.knows(token), "the key to be read")
    assert not api.refuses(token)
    listed = run(api_settings, "keys", "list", "--format", "json")
    (row,) = [each for each in json.loads(listed.stdout) if each["id"] == identity]
    assert (row["state"], row["scope"], row["owner"]) == ("active", owner[0], owner[2] if len(owner) > 2 else None)
    assert identity in run(api_settings, "keys", "list").stdout

    revoked = run(api_settings, "keys", "revoke", identity)
    assert revoked.exit_code == 0
    wait_until(lambda: api.refuses(token), "the revocation to be read")
    again = run(api_settings, "keys", "revoke", identity)
    assert (again.exit_code, "already" in again.output) == (0, True)
    assert all(secret not in each.output for each in (listed, revoked, again))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--scope", "deployment"], "needs --deployment"),
        (["--scope", "operator", "--customer", "acme"], "without --customer"),
        (["--scope", "customer", "--customer", "nobody"], "not in the catalog"),
        (["--scope", "builder", "--builder", "acme"], "not in the catalog"),
        (["--scope", "operator", "--expires", "2020-01-01"], "past"),
        (["--scope", "operator", "--expires", "soon"], "90d"),
        (["--scope", "operator", "--name", "a\nb"], "--name"),
    ],
)
def test_a_key_that_would_be_wrong_is_not_made(api_settings: Settings, arguments: list[str], words: str) -> None:
    """Every mistake is told with its remedy, and no token is shown."""
    result = run(api_settings, "keys", "make", *arguments)

    assert result.exit_code != 0
    assert words in result.output
    assert "uk_" not in result.stdout


def test_a_token_in_place_of_an_id_is_not_repeated(api_settings: Settings) -> None:
    """Who pastes a whole token does not find it in the terminal's log a second time."""
    token, _ = store_key(api_settings, "operator", None)

    result = run(api_settings, "keys", "revoke", token)

    assert result.exit_code == 1
    assert token not in result.output


@pytest.mark.rule("R2.5")
def test_gifts_reach_kafka(api_settings: Settings) -> None:
    """`usage grant` and `usage topup` write what the worker reads, under the customer's key, and show the id."""
    options = (
        "--match unit=ticket --match unit=document --credits ticket=2 --priority 5 --expires-at 2030-01-01T00:00:00Z"
    )

    granted = run(api_settings, "grant", "acme", "--quantity", "7", "--id", "cli grant", *options.split())
    topped = run(api_settings, "topup", "acme", "25.00")

    assert json.loads(granted.stdout)["id"] == "cli grant"
    made = json.loads(topped.stdout)["id"]
    records = records_with(api_settings, GRANTS_TOPIC, ["cli grant", made])
    grant, topup = sorted((decode_grant(record) for record in records), key=lambda each: isinstance(each, TopUp))
    assert isinstance(grant, Grant)
    assert (grant.quantity, grant.credits, grant.priority) == (7, {"ticket": 2}, 5)
    assert grant.match == {"unit": {"ticket", "document"}}
    assert isinstance(topup, TopUp)
    assert topup.amount_pico == 25 * 10**12
    assert {record.key for record in records} == {b"acme"}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["topup", "nobody", "1"], "not in the catalog"),
        (["topup", "acme", "1e3"], "amount"),
        (["topup", "acme", "1", "--id", "x" * 129], "id"),
        (["grant", "acme", "--quantity", "1", "--match", "colour=red"], "colour"),
        (["grant", "acme", "--quantity", "1", "--credits", "ticket=0"], "at least 1"),
        (["grant", "acme", "--quantity", "1", "--credits", "ticket=x"], "whole number"),
        (["grant", "acme", "--quantity", "1", "--expires-at", "tomorrow"], "expires_at"),
    ],
)
def test_a_faulty_gift_is_not_written(api_settings: Settings, arguments: list[str], words: str) -> None:
    """What the worker would reject is refused here, with the field's name."""
    result = run(api_settings, *arguments)

    assert result.exit_code != 0
    assert words in result.output


@pytest.mark.parametrize("command", [["keys", "list"], ["topup", "acme", "1"]])
def test_without_kafka_it_says_where_it_looked(api_settings: Settings, command: list[str]) -> None:
    """A wrong address is named; a gift's id is told, so that it can be repeated safely."""
    address = f"127.0.0.1:{free_port()}"

    result = run(api_settings.model_copy(update={"kafka": address}), *command)

    assert result.exit_code == 1
    assert address in result.output
    assert ("--id topup-" in result.output) == (command[0] == "topup")


@pytest.fixture
def process(api_settings: Settings, tmp_path: Path) -> Iterator[tuple[subprocess.Popen[bytes], str, Path, str]]:
    """Yield `usage api` as a process: itself, its address, its log, and the token of its operator's file."""
    token, _ = store_key(api_settings, "operator", None)
    key_file, ready_file, log_path = tmp_path / "operator.key", tmp_path / "ready", tmp_path / "log"
    key_file.write_text(token.replace(token[3:15], "0" * 12) + "\n")
    ours = {
        "USAGE_KAFKA": api_settings.kafka,
        "USAGE_CATALOG": str(api_settings.catalog),
        "USAGE_API_OPERATOR_KEY_FILE": str(key_file),
        "USAGE_LOG_LEVEL": "DEBUG",
    }
    command = [sys.executable, "-m", "pipeline", "api", "--port", "0", "--ready-file", str(ready_file)]
    with log_path.open("wb") as log:
        started = subprocess.Popen(command, stdout=log, stderr=log, env=os.environ | ours)
    try:
        wait_until(lambda: ready_file.exists() or started.poll() is not None, "the process to be ready")
        assert started.poll() is None, log_path.read_text()
        yield started, json.loads(ready_file.read_text())["api"], log_path, key_file.read_text().strip()
        assert not ready_file.exists()
    finally:
        started.kill()
        started.wait()


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
def test_the_process_serves_and_stops(
    process: tuple[subprocess.Popen[bytes], str, Path, str], number: signal.Signals, code: int
) -> None:
    """It serves on a free port with the key from the file, logs no secret even at DEBUG, and stops in order."""
    started, address, log_path, token = process
    body = json.dumps(usage_event("by a process") | {"secret": "hunter2"})
    headers = {"authorization": f"Bearer {token}", "content-type": "application/json", "x-request-id": "traced-1"}

    answer = httpx.post(f"{address}/v1/events?key={token}", content=body, headers=headers)
    wrong = httpx.post(f"{address}/v1/events", headers={"authorization": f"Bearer {token[:-1]}0{token[-1]}"})
    started.send_signal(number)

    assert (answer.status_code, wrong.status_code) == (202, 401)
    assert started.wait(20) == code
    log = log_path.read_text()
    assert "traced-1 POST /v1/events 202" in log
    assert "key=000000000000" in log
    assert token.split("_")[2][:20] not in log
    assert "hunter2" not in log
    assert "Traceback" not in log


def test_a_port_that_is_taken_is_named(api: RunningApi, api_settings: Settings) -> None:
    """What cannot be served says where and why."""
    port = api.url.rpartition(":")[2]

    result = run(api_settings, "api", "--port", port)

    assert result.exit_code == 1
    assert port in result.output


def test_the_key_file_is_told_by_its_name_only(api_settings: Settings, tmp_path: Path) -> None:
    """A file without a key stops the start, and what is in it is not shown."""
    path = tmp_path / "operator.key"
    path.write_text("hunter2")
    environment = {"USAGE_KAFKA": api_settings.kafka, "USAGE_CATALOG": str(api_settings.catalog)}

    result = CliRunner(env=environment | {"USAGE_API_OPERATOR_KEY_FILE": str(path)}).invoke(
        usage, ["api", "--port", "0"]
    )

    assert result.exit_code == 1
    assert str(path) in result.output
    assert "hunter2" not in result.output
