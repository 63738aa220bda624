"""Alerts reach their targets: at least once, in order, and nothing again that was taken."""

import asyncio
import json
import logging
import signal
import sys
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer
from standardwebhooks import Webhook

from pipeline.domain.records import DEAD_LETTER_TOPIC
from pipeline.notify.targets import WebhookTarget
from pipeline.observe.counters import Counters
from pipeline.observe.metrics import METRICS
from pipeline.settings import Settings
from tests.notify.receiver import SECRET, Receiver, delivering, reach, receiver, secret_file, until

pytestmark = pytest.mark.asyncio


def webhook(hook: Receiver, folder: Path, customer: str, **more: Any) -> WebhookTarget:
    fields = {"name": customer, "customers": frozenset([customer])} | more
    return WebhookTarget(url=hook.url, secret_file=secret_file(folder), allow_insecure=True, **fields)


async def letters_of(kafka: str, customer: str) -> list[Any]:
    consumer = AIOKafkaConsumer(DEAD_LETTER_TOPIC, bootstrap_servers=kafka, auto_offset_reset="earliest")
    await consumer.start()
    try:
        async with asyncio.timeout(10):
            while True:
                fetched = await consumer.getmany(timeout_ms=100)
                if found := [each for some in fetched.values() for each in some if each.key == customer.encode()]:
                    return found
    finally:
        await consumer.stop()


async def test_a_webhook_gets_each_alert_signed_and_once(settings: Settings, tmp_path: Path):
    """The signature is right by the receiver's library, the id stays, and a restart sends nothing again."""
    async with receiver() as hook:
        target = webhook(hook, tmp_path, "signed")
        await reach(settings.kafka, "signed", 1, 2)
        async with delivering(settings, [target]):
            await hook.until(2)
        async with delivering(settings, [target]):
            await reach(settings.kafka, "signed", 3)
            await hook.until(3)

    first = Webhook(SECRET).verify(hook.calls[0].body, hook.calls[0].headers)
    assert [call.seq for call in hook.calls] == [1, 2, 3]
    assert len({call.id for call in hook.calls}) == 3
    assert first["type"] == "usage.alert"
    assert first["timestamp"] == "2026-11-18T11:06:40.000000Z"
    assert first["data"]["alert_id"] == hook.calls[0].id
    assert first["data"]["sentence"].startswith("signed has reached 80 % of credits")


async def test_what_is_not_taken_is_sent_again_with_the_same_id(settings: Settings, tmp_path: Path):
    """Faults of the receiver are waited out, in order: the same id and body until it takes the alert."""
    answers = iter([500, 429, 503])
    async with receiver(lambda _: next(answers, 200)) as hook:
        await reach(settings.kafka, "again", 1, 2)
        async with delivering(settings, [webhook(hook, tmp_path, "again")]):
            await hook.until(5)

    assert [call.seq for call in hook.calls] == [1, 1, 1, 1, 2]
    assert len({call.id for call in hook.calls[:4]}) == len({call.body for call in hook.calls[:4]}) == 1


async def test_a_receiver_that_asks_to_wait_is_left_alone(settings: Settings, tmp_path: Path):
    """Retry-After is respected, beyond the wait that we would choose."""
    loop, at = asyncio.get_running_loop(), []

    def answer(count: int) -> tuple[int, str] | int:
        at.append(loop.time())
        return (429, "retry-after: 1\r\n") if count == 1 else 200

    async with receiver(answer) as hook:
        await reach(settings.kafka, "patient", 1)
        async with delivering(settings, [webhook(hook, tmp_path, "patient")]):
            await hook.until(2)

    assert at[1] - at[0] >= 1


async def test_what_is_refused_becomes_a_dead_letter_and_is_not_in_the_way(settings: Settings, tmp_path: Path, caplog):
    """A refusal for good (here a redirect, which is not followed) is said loudly, kept, and passed by."""
    async with receiver(lambda count: (302, "location: http://169.254.169.254/\r\n") if count == 1 else 200) as hook:
        await reach(settings.kafka, "refused", 1, 2)
        async with delivering(settings, [webhook(hook, tmp_path, "refused")]):
            await hook.until(2)
    (letter,) = await letters_of(settings.kafka, "refused")

    headers = dict(letter.headers)
    assert [call.seq for call in hook.calls] == [1, 2]
    assert (headers["code"], headers["target"], headers["source-topic"]) == (
        b"undeliverable",
        b"refused",
        b"usage.alerts",
    )
    assert json.loads(letter.value)["seq"] == 1
    assert any(each.levelno == logging.ERROR and "NOT delivered" in each.message for each in caplog.records)


async def test_a_dead_target_is_given_up_in_time(settings: Settings, tmp_path: Path):
    """What cannot be delivered for long becomes a dead letter, although the fault may pass."""
    async with receiver(lambda _: 500) as hook:
        await reach(settings.kafka, "dead", 1)
        impatient = settings.model_copy(update={"alerts_give_up_s": 1})
        async with delivering(impatient, [webhook(hook, tmp_path, "dead")]):
            (letter,) = await letters_of(settings.kafka, "dead")

    assert len(hook.calls) > 1
    assert dict(letter.headers)["message"] == b"the receiver answered 500"


async def test_a_target_that_hangs_holds_up_no_other(settings: Settings, tmp_path: Path):
    """Each target goes at its own pace; an attempt that hangs ends by its time limit, and is made again."""
    async with receiver(lambda count: None if count == 1 else 204) as hung, receiver() as sound:
        await reach(settings.kafka, "hung", *range(1, 6))
        await reach(settings.kafka, "sound", *range(1, 6))
        targets = [webhook(hung, tmp_path, "hung", timeout_s=1), webhook(sound, tmp_path, "sound")]
        async with delivering(settings, targets):
            await sound.until(5)
            assert len(hung.calls) <= 1
            await hung.until(6)

    assert [call.seq for call in hung.calls] == [1, 1, 2, 3, 4, 5]


async def test_another_partition_goes_on_while_one_waits(settings: Settings, tmp_path: Path):
    """An alert that a target does not take holds its own partition only."""
    async with receiver() as hook:
        hook.answer = lambda _: 500 if hook.calls[-1].seq == 1 else 204
        await reach(settings.kafka, "stuck", 1, 2)
        await reach(settings.kafka, "free", 3)
        target = webhook(hook, tmp_path, "stuck", customers=frozenset(["stuck", "moved"]))
        async with delivering(settings, [target]):
            await hook.until(3)
            await reach(settings.kafka, "moved", 7, partition=1)
            await until(lambda: 7 in [call.seq for call in hook.calls])

    assert 2 not in [call.seq for call in hook.calls]


async def test_a_target_may_begin_now(settings: Settings, tmp_path: Path):
    """A new target with `start: now` gets no old alert, not even after a restart before its first one."""
    await reach(settings.kafka, "now", 1)
    async with receiver() as hook:
        target = webhook(hook, tmp_path, "now", start="now")
        async with delivering(settings, [target]):
            pass
        await reach(settings.kafka, "now", 2)
        async with delivering(settings, [target]):
            await hook.until(1)

    assert [call.seq for call in hook.calls] == [2]


async def test_an_alert_that_is_sent_again_goes_to_its_target_only(settings: Settings, tmp_path: Path):
    """A record with the header `target`, as a replay makes it, concerns no other target."""
    async with receiver() as wanted, receiver() as other:
        await reach(settings.kafka, "directed", 1, headers=[("target", b"wanted")])
        await reach(settings.kafka, "directed", 2)
        targets = [
            webhook(hook, tmp_path, "directed", name=name) for name, hook in (("wanted", wanted), ("other", other))
        ]
        async with delivering(settings, targets):
            await wanted.until(2)
            await other.until(1)

    assert [call.seq for call in wanted.calls] == [1, 2]
    assert [call.seq for call in other.calls] == [2]


async def test_what_is_no_alert_becomes_a_dead_letter(settings: Settings, tmp_path: Path):
    """A foreign record in the topic stops nothing."""
    async with receiver() as hook:
        await reach(settings.kafka, "foreign", 1, value=b"{")
        await reach(settings.kafka, "foreign", 2)
        async with delivering(settings, [webhook(hook, tmp_path, "foreign")]):
            await hook.until(1)
    (letter,) = await letters_of(settings.kafka, "foreign")

    assert [call.seq for call in hook.calls] == [2]
    assert (letter.value, dict(letter.headers)["target"]) == (b"{", b"foreign")


def nonzero(counters: Counters) -> set[str]:
    return {name for name, value in counters.shown().items() if value}


async def test_deliveries_failures_and_what_is_given_up_are_counted(settings: Settings, tmp_path: Path):
    """An attempt that fails, an alert that is taken and one that is refused for good count for their target."""
    answers = {1: 500, 2: 200, 3: 410}
    async with receiver(answers.__getitem__) as hook, delivering(settings, [webhook(hook, tmp_path, "told")]) as alerts:
        counters = alerts.counters
        await reach(settings.kafka, "told", 1, 2)
        await hook.until(3)
        await until(lambda: {"alerts_given_up{told}", "alert_deliveries{told}"} <= nonzero(counters))
        await alerts.refresh()

    assert counters.values(METRICS["alert_deliveries"]) == {("told",): 1}
    assert counters.values(METRICS["alert_failures"]) == {("told",): 1}
    assert counters.values(METRICS["alerts_waiting"]) == {("told",): 0}
    assert await alerts.faults() == []


async def test_after_kill_nothing_is_lost_and_nothing_taken_comes_again(settings: Settings, tmp_path: Path):
    """Killed while an alert is under way, the next life delivers it, and before it nothing; no log names a secret."""
    config, log = tmp_path / "alerts.yaml", tmp_path / "alerts.log"
    async with receiver(lambda count: None if count == 3 else 204) as hook:
        config.write_text(
            f"targets: [{{name: killed, kind: webhook, url: '{hook.url}', secret_file: {secret_file(tmp_path)},"
            " customers: [killed], allow_insecure: true}]"
        )
        await reach(settings.kafka, "killed", *range(1, 6))

        first = await _command(settings, config, log)
        await hook.until(3)
        first.kill()
        await first.wait()
        second = await _command(settings, config, log)
        await hook.until(6)
        second.send_signal(signal.SIGTERM)

        assert await second.wait() == 0
    assert [call.seq for call in hook.calls] == [1, 2, 3, 3, 4, 5]
    said = log.read_text()
    assert "3 alerts delivered" in said
    assert not [secret for secret in (SECRET, SECRET[6:], "url-token") if secret in said]


async def _command(settings: Settings, config: Path, log: Path) -> asyncio.subprocess.Process:
    with log.open("ab") as file:
        return await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "pipeline", "alerts", "run", "--kafka", settings.kafka),
            *("--alerts-config", str(config), "--log-level", "DEBUG"),
            env={"USAGE_ALERTS_GROUP": settings.alerts_group},
            stdout=file,
            stderr=file,
        )
