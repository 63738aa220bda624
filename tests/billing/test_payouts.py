"""Tests of `usage payouts` as a finance team meets it: shown, made once, by whoever tries."""

import asyncio
import csv
import io
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from aiokafka.errors import ProducerFenced
from click.testing import CliRunner
from clickhouse_connect.driver.client import Client

from pipeline.cli import payouts_make
from pipeline.cli.payouts import payouts_group
from pipeline.domain.records import PAYOUTS_TOPIC
from pipeline.settings.resources import schema_path
from tests.billing.payout_support import CATALOG, CENT, DOLLAR, Till, earning
from tests.fixtures.brokers import on_every_broker
from tests.fixtures.servers import Server

SEPTEMBER = ("--month", "2026-09")
OCTOBER = ("--month", "2026-10")
MAKE_SEPTEMBER = ("make", *SEPTEMBER)
IN_OCTOBER = "2026-10-10T10:00:00Z"


@pytest.fixture
def till(new_broker: Server, clickhouse: str, store: Client, tmp_path: Path) -> Iterator[Till]:
    """Give topics without payouts, and 100.00 that northwind has earned in September."""
    till = Till(new_broker.start().address, clickhouse, store, tmp_path)
    till.earn(earning("acme", 1, 90 * DOLLAR), earning("bolt", 1, 10 * DOLLAR))
    yield till
    store.command("TRUNCATE TABLE usage.payouts")


@pytest.mark.rule("R8.2", "R11.1")
def test_the_table_shows_where_a_payout_comes_from(till: Till) -> None:
    """Earnings by app and customer, fee, what is paid, what is carried, and what to do next."""
    shown = till.run(*SEPTEMBER)

    assert shown.exit_code == 0
    assert [line.split() for line in shown.output.splitlines()] == [
        ["Payouts", "for", "2026-09,", "UTC,", "amounts", "in", "USD"],
        [],
        ["Northwind", "Ltd", "(northwind):", "payout", "po_2026-09_northwind"],
        ["App", "Customer", "Lines", "Amount"],
        ["helpdesk", "Acme", "GmbH", "(acme)", "1", "90.00"],
        ["helpdesk", "bolt", "1", "10.00"],
        ["Earnings", "100.00"],
        ["Platform", "fee,", "5", "%", "-5.00"],
        ["Carried", "in", "0.00"],
        ["To", "be", "paid", "95.00"],
        ["Carried", "over", "0.00"],
        ["Payable", "since", "2026-10-01:", "make", "it", "with", "`usage", "payouts", "make", "--month", "2026-09`."],
    ]


@pytest.mark.rule("R11.1", "R11.4")
def test_json_and_csv_have_the_same_amounts(till: Till) -> None:
    """The parts sum to the earnings; amounts are decimal strings, and integers of 10^-12, and no floats."""
    till.earn(earning("acme", 2, 1), earning("acme", 3, 7 * DOLLAR, builder="brightwater", app="insights"))

    (brightwater, northwind) = json.loads(till.run(*SEPTEMBER, "--format", "json").output, parse_float=pytest.fail)[
        "payouts"
    ]
    rows = list(csv.DictReader(io.StringIO(till.run(*SEPTEMBER, "--format", "csv").output)))
    parts = list(csv.DictReader(io.StringIO(till.run(*SEPTEMBER, "--format", "csv", "--detail").output)))
    only = json.loads(till.run(*SEPTEMBER, "--builder", "northwind", "--format", "json").output)["payouts"]

    assert only == [northwind]
    assert (northwind["earnings"], northwind["payable"], northwind["paid"]) == ("100.000000000001", "95.00", "0.00")
    assert sum(part["earnings_pico"] for part in northwind["parts"]) == northwind["earnings_pico"] == 100 * DOLLAR + 1
    assert [row["payable"] for row in rows] == [brightwater["payable"], northwind["payable"]]
    assert [part["earnings"] for part in parts if part["builder"] == "northwind"] == [
        "90.000000000001",
        "10.000000000000",
    ]


@pytest.mark.rule("R8.2", "R11.4")
def test_a_payout_is_made_once(till: Till) -> None:
    """Made again it says so, with the same amounts and exit code 0, also after more was earned; that is in the next one."""
    first = till.run(*MAKE_SEPTEMBER)
    till.earn(earning("acme", 2, 10 * DOLLAR), earning("acme", 3, DOLLAR, IN_OCTOBER))

    again = till.run(*MAKE_SEPTEMBER)
    next_month = till.run("make", *OCTOBER)

    assert (first.exit_code, again.exit_code, next_month.exit_code) == (0, 0, 0)
    assert first.output == "made          po_2026-09_northwind: 95.00 USD to Northwind Ltd (northwind)\n"
    assert again.output.startswith("made already  po_2026-09_northwind, 20")
    assert again.output.endswith(" UTC: 95.00 USD to Northwind Ltd (northwind)\n")
    assert [(each.month, each.paid_pico) for each in till.made()] == [
        ("2026-09", 95 * DOLLAR),
        ("2026-10", 1045 * CENT),
    ]


@pytest.mark.rule("R11.2", "R11.4")
def test_a_payout_is_shown_as_it_was_made(till: Till) -> None:
    """What is posted into its month afterwards is named, and the statement of the next month carries it in."""
    till.run(*MAKE_SEPTEMBER)
    till.bring()
    till.earn(earning("acme", 2, 10 * DOLLAR), earning("acme", 3, DOLLAR, IN_OCTOBER))

    (september,) = json.loads(till.run(*SEPTEMBER, "--format", "json").output)["payouts"]
    (october,) = json.loads(till.run(*OCTOBER, "--format", "json").output)["payouts"]
    text = till.run(*SEPTEMBER).output

    assert (september["state"], september["paid"], september["posted_since"]) == ("paid", "95.00", "10.000000000000")
    assert (october["carried_in"], october["payable"]) == ("9.500000000000", "10.45")
    assert "10.00 was posted into 2026-09 since: see the next payout." in text


@pytest.mark.rule("R11.3")
def test_a_held_payout_names_its_day(till: Till) -> None:
    """Before its day nothing is made, and the message says when; an open month is refused too."""
    till.use(CATALOG | {"payouts": {"hold_days": 3650}})

    held = till.run(*MAKE_SEPTEMBER)
    till.earn(earning("acme", 2, DOLLAR, "2139-01-10T10:00:00Z"))
    till.use(CATALOG)
    still_open = till.run("make", "--month", "2139-01")

    assert (held.exit_code, still_open.exit_code) == (1, 1)
    assert "month 2026-09 is over, but its payouts are held: they can be made from 2036-09-28 on" in held.stderr
    assert "month 2139-01 is not over: they can be made from 2139-02-01 on" in still_open.stderr
    assert till.made() == []


@pytest.mark.rule("R11.3")
def test_below_the_minimum_nothing_is_paid_and_all_is_carried(till: Till) -> None:
    """The month is settled with 0.00 paid; when the next one lifts the sum over the minimum, all of it is paid."""
    till.use(CATALOG | {"payouts": {"hold_days": 0, "minimum": "100.00"}})

    small = till.run(*MAKE_SEPTEMBER)
    till.earn(earning("acme", 2, 10 * DOLLAR, IN_OCTOBER))
    enough = till.run("make", *OCTOBER)

    assert small.output == (
        "made          po_2026-09_northwind: nothing is paid to Northwind Ltd (northwind), 95.00 USD is carried over "
        "(the minimum is 100.00)\n"
    )
    assert enough.output == "made          po_2026-10_northwind: 104.50 USD to Northwind Ltd (northwind)\n"


@pytest.mark.rule("R11.5")
def test_an_earlier_month_is_not_made_after_a_later_one(till: Till) -> None:
    """October's payout has September in it: to make September then pays nothing, and says where it is."""
    till.earn(earning("acme", 2, DOLLAR, IN_OCTOBER))

    till.run("make", *OCTOBER)
    late = till.run(*MAKE_SEPTEMBER)

    assert late.output == (
        "not made      po_2026-09_northwind: the month is part of the later payout po_2026-10_northwind\n"
    )
    assert [each.paid_pico for each in till.made()] == [9595 * CENT]


@pytest.mark.rule("R11.4")
def test_a_dry_run_makes_nothing(till: Till) -> None:
    """It says what would be made."""
    done = till.run(*MAKE_SEPTEMBER, "--dry-run", "--format", "json")

    assert [(each["result"], each["payable"]) for each in json.loads(done.output)] == [("would be made", "95.00")]
    assert till.made() == []


@pytest.mark.rule("R11.4")
def test_nothing_is_made_while_clickhouse_lags(till: Till) -> None:
    """With lines on their way to ClickHouse, earnings are not certain: it waits, then refuses."""
    till.lag()

    done = till.run(*MAKE_SEPTEMBER, "--wait", "0.1")

    assert done.exit_code == 1
    assert "usage.lines/0 at 0 of 1. Is `usage sink` running? Nothing was made" in done.stderr
    assert till.made() == []


@pytest.mark.rule("R11.4")
def test_nothing_is_made_beside_a_record_that_is_no_payout(till: Till) -> None:
    """What was paid is then not certain."""
    till.write(PAYOUTS_TOPIC, b'{"id": "po_2026-09_northwind"}', partition=1)

    done = till.run(*MAKE_SEPTEMBER)

    assert done.exit_code == 1
    assert "billing.payouts/1 offset 0 is no payout (it lacks one of id, builder" in done.stderr


@pytest.mark.rule("R11.4")
@on_every_broker
def test_of_two_who_make_a_payout_at_once_one_makes_it(till: Till, monkeypatch: pytest.MonkeyPatch) -> None:
    """The one that began later shuts out the other, which has looked already and is about to write."""
    looked, go_on = threading.Event(), threading.Event()
    write = payouts_make._write
    fates: list[BaseException | None] = []

    async def hesitating(*arguments: Any) -> None:
        if not looked.is_set():
            looked.set()
            await asyncio.to_thread(go_on.wait, 20)
        await write(*arguments)

    def make() -> None:
        try:
            asyncio.run(
                payouts_make.make_payouts(
                    till.settings, till.client, till.catalog, "2026-09", None, wait_s=5, dry_run=False
                )
            )
        except ProducerFenced as failure:
            fates.append(failure)
        else:
            fates.append(None)

    monkeypatch.setattr(payouts_make, "_write", hesitating)
    first = threading.Thread(target=make)
    first.start()
    assert looked.wait(20)
    second = till.run(*MAKE_SEPTEMBER)
    go_on.set()
    first.join()

    assert second.output.startswith("made  ")
    assert isinstance(fates[0], ProducerFenced)
    assert [each.paid_pico for each in till.made()] == [95 * DOLLAR]


@pytest.mark.rule("R11.4")
@on_every_broker
def test_killed_before_the_commit_a_payout_is_not_made(till: Till) -> None:
    """SIGKILL after the record is sent: nobody ever reads it, and the next try makes the payout."""
    process = till.process(
        *MAKE_SEPTEMBER,
        prelude="""
import asyncio
async def hang(producer):
    print("sent", flush=True)
    await asyncio.sleep(60)
making.AIOKafkaProducer.commit_transaction = hang
""",
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "sent\n"
    process.kill()
    process.communicate()

    done = till.run(*MAKE_SEPTEMBER)

    assert done.output == "made          po_2026-09_northwind: 95.00 USD to Northwind Ltd (northwind)\n"
    assert [each.id for each in till.made()] == ["po_2026-09_northwind"]


@pytest.mark.rule("R11.4")
def test_two_processes_at_once_make_one_payout(till: Till) -> None:
    """Each says made, made already, or that it was shut out; the topic has one record."""
    processes = [till.process(*MAKE_SEPTEMBER) for _ in range(2)]

    outputs = [process.communicate(timeout=60)[0] for process in processes]

    assert sum(output.startswith("made  ") for output in outputs) == 1
    assert all("po_2026-09_northwind" in output or "somebody else has begun" in output for output in outputs)
    assert [each.paid_pico for each in till.made()] == [95 * DOLLAR]


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ((), "Missing option '--month'"),
        (("--month", "2026-9"), "'2026-9' is no month"),
        (
            ("--month", "2026-09", "make", "--month", "2026-09"),
            "options stand behind the command: usage payouts make --month ...",
        ),
        (("--month", "2026-09", "--builder", "northwin"), "builder 'northwin' is not in the catalog; known are"),
    ],
)
def test_a_slip_is_explained(arguments: tuple[str, ...], text: str) -> None:
    """The exit code is not 0, and Kafka and ClickHouse, which are not there, are not asked."""
    done = CliRunner().invoke(payouts_group, [*arguments, "--catalog", str(schema_path("examples", "catalog.yaml"))])

    assert done.exit_code != 0
    assert text in done.stderr
