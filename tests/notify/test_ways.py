"""Mail, standard output and the command line."""

import asyncio
import json
import os
import smtplib
import ssl
import subprocess
import sys
from collections.abc import Iterator
from email import message_from_bytes
from email.header import decode_header, make_header
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult

from pipeline.codec.lines import encode_alert
from pipeline.domain.alerts import Alert
from pipeline.notify.mail import MailSender
from pipeline.notify.notices import Notice, notice_id, parse_alert
from pipeline.notify.sending import UndeliveredError
from pipeline.notify.stdout import StdoutSender
from pipeline.notify.targets import SmtpTarget, StdoutTarget
from pipeline.settings import Settings
from pipeline.settings.resources import schema_path
from tests.fixtures.servers import free_port
from tests.notify.receiver import reach

ALERT = Alert("acme", "2026-11-01", "credits", "legal", 80, 7)
NOTICE = Notice("alert_1", ALERT, 1_795_000_000_000, "Ächt GmbH has used 80 % of it", "Ächt", frozenset(), frozenset())


class Mailbox:
    """Keeps mails; answers as it is told."""

    def __init__(self) -> None:
        self.mails: list[Any] = []
        self.answer = "250 ok"

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:  # noqa: ARG002, N802 - aiosmtpd's
        self.mails.append((session.authenticated, envelope))
        return self.answer


@pytest.fixture
def mailbox(tmp_path: Path) -> Iterator[tuple[Mailbox, dict[str, Any]]]:
    """Yield a mail server that wants TLS and a password, and a target's fields for it."""
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    subject = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
    made = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"]
    subprocess.run([*made, "-keyout", key, "-out", certificate, *subject], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    box = Mailbox()
    controller = Controller(
        box,
        hostname="localhost",
        port=free_port(),
        tls_context=context,
        require_starttls=True,
        auth_required=True,
        authenticator=lambda *arguments: AuthResult(success=arguments[-1].password == b"hunter2", handled=False),
    )
    controller.start()
    password = tmp_path / "password"
    password.write_text("hunter2")
    fields = {"host": "localhost", "port": controller.port, "ca_file": certificate, "password_file": password}
    yield (
        box,
        fields | {"name": "mail", "sender": "usage@example.com", "recipients": ("a@example.com", "b@example.com")},
    )
    controller.stop()


def test_a_mail_arrives_over_tls_with_an_id_of_its_own(mailbox: tuple[Mailbox, dict[str, Any]]) -> None:
    """A mail carries the sentence and the alert's id, and is sent only to a server whose certificate is right."""
    box, fields = mailbox
    sender = MailSender(SmtpTarget(**fields, username="usage"))

    asyncio.run(sender.send(NOTICE))

    ((authenticated, envelope),) = box.mails
    mail = message_from_bytes(envelope.content)
    assert authenticated
    assert envelope.rcpt_tos == ["a@example.com", "b@example.com"]
    assert str(make_header(decode_header(mail["Subject"]))) == f"Usage alert: {NOTICE.sentence}"
    assert mail["Message-ID"] == "<alert_1@example.com>"
    assert NOTICE.sentence in mail.get_payload(decode=True).decode()


@pytest.mark.parametrize(
    ("change", "answer", "permanent"),
    [
        ({}, "451 later", False),
        ({}, "554 never", True),
        ({"password_file": None, "password_env": "WRONG_PASSWORD"}, "250 ok", False),
        ({"ca_file": None}, "250 ok", False),
        ({"port": 1}, "250 ok", False),
    ],
    ids=["later", "never", "wrong password", "unknown certificate", "nobody there"],
)
def test_what_a_mail_server_does_not_take_is_told_apart(
    mailbox: tuple[Mailbox, dict[str, Any]],
    monkeypatch: pytest.MonkeyPatch,
    change: dict[str, Any],
    answer: str,
    permanent: bool,
) -> None:
    """Only a refusal of the mail itself is for good; the message names no secret."""
    box, fields = mailbox
    box.answer = answer
    monkeypatch.setenv("WRONG_PASSWORD", "hunter3-wrong")
    sender = MailSender(SmtpTarget(**fields | change, username="usage"))

    with pytest.raises(UndeliveredError) as caught:
        asyncio.run(sender.send(NOTICE))

    assert caught.value.permanent == permanent
    assert "hunter" not in str(caught.value)


def test_a_mail_server_that_hangs_takes_one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """An attempt ends in time, and no second one begins while the first still hangs."""
    begun = []

    def hang(*_: Any, **__: Any) -> None:
        begun.append(1)
        import threading

        threading.Event().wait(1)
        raise OSError

    monkeypatch.setattr(smtplib, "SMTP", hang)
    target = SmtpTarget(name="m", host="h", sender="a@b", recipients=("a@b",), timeout_s=0.05)

    async def try_twice() -> list[str]:
        sender, said = MailSender(target), []
        for _ in range(2):
            with pytest.raises(UndeliveredError) as caught:
                await sender.send(NOTICE)
            said.append(str(caught.value))
        return said

    assert asyncio.run(try_twice()) == ["no answer within 0.05 s", "the last attempt still hangs"]
    assert begun == [1]


@pytest.mark.parametrize("form", ["text", "json"])
def test_standard_output_has_an_alert_a_line(form: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """Lines for people, or JSON for programs."""
    asyncio.run(StdoutSender(StdoutTarget(name="s", format=form)).send(NOTICE))

    said = capsys.readouterr().out
    if form == "json":
        assert json.loads(said)["alert_id"] == "alert_1"
    else:
        assert said == "2026-11-18T11:06:40Z  Ächt GmbH has used 80 % of it\n"


def test_an_id_is_made_of_what_makes_the_alert_one() -> None:
    """Each of customer, line, pool, scope and threshold tells alerts apart; an id is fit for a header and a signature."""
    others = [
        Alert("acme2", "2026-11-01", "credits", "legal", 80, 7),
        Alert("acme", "2026-11-01", "credit", "slegal", 80, 7),
        Alert("acme", "2026-11-01", "credits", "", 80, 7),
        Alert("acme", "2026-11-01", "credits", "legal", 100, 7),
        Alert("acme", "2026-11-01", "credits", "legal", 80, 8),
    ]

    assert notice_id(ALERT) == notice_id(Alert(**{name: getattr(ALERT, name) for name in ALERT.__slots__}))
    assert len({notice_id(each) for each in [ALERT, *others]}) == 6
    assert notice_id(ALERT).replace("_", "").isalnum()


@pytest.mark.rule("R6.10")
def test_the_schema_and_its_examples_are_what_the_worker_writes() -> None:
    """Alerts as the worker encodes them, and every example, have the form of the schema and are read back."""
    schema = json.loads(schema_path("json", "usage.alerts.v1.schema.json").read_text())
    examples = sorted(schema_path("examples", "usage.alerts").glob("*.json"))
    validator = jsonschema.Draft202012Validator(schema)

    validator.validate(json.loads(encode_alert(ALERT)))
    assert examples
    for path in examples:
        validator.validate(json.loads(path.read_bytes()))
        assert parse_alert(path.read_bytes()).threshold > 0
    assert not validator.is_valid({"customer": "acme"})


@pytest.mark.asyncio
async def test_tail_shows_a_customers_alerts(settings: Settings) -> None:
    """`usage alerts tail` prints what is there and ends, and touches no group."""
    await reach(settings.kafka, "tail", 1, 2)

    done = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-m", "pipeline", "alerts", "tail", "--from-beginning", "--no-follow", "--customer", "tail",
         "--kafka", settings.kafka, "--format", "json"],
        capture_output=True, text=True, timeout=30, check=False, env={"PATH": os.environ["PATH"]},
    )  # fmt: skip

    assert done.returncode == 0, done.stderr
    assert [json.loads(line)["seq"] for line in done.stdout.splitlines()] == [1, 2]
