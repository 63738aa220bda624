"""`usage audit` on a sound period, and that it names every line that was damaged by hand."""

import json
import random

import pytest

from tests.billing.audit_support import Audited, named, of

pytest_plugins = ["tests.billing.audit_fixtures"]

KEYS = ("customer", "seq", "version")
"""What ALTER TABLE UPDATE cannot touch."""


def test_a_sound_period_is_clean(audited: Audited):
    """With and without re-rating nothing is found, the exit code is 0, and no scratch database is left."""
    done = audited.audit(code=0)
    rerated = json.loads(
        audited.audit("--rerate", "--catalog", str(audited.catalog), "--format", "json", code=0).stdout
    )

    assert done.stdout.endswith("Nothing is wrong.\n")
    assert f"{len(audited.of_period())} lines of" in done.stdout
    assert rerated["clean"]
    assert rerated["lines"] == len(audited.of_period())
    assert rerated["dead_letters"] == audited.letters
    assert rerated["rerated"]["lines"] == len(audited.lines)
    assert rerated["rerated"]["duplicates"] == audited.duplicates
    assert rerated["rerated"]["rejects"] + rerated["rerated"]["records_rejected"] == audited.letters
    assert rerated["rerated"]["records_waiting"] == 0
    assert audited.client.query("SELECT name FROM system.databases WHERE name LIKE 'usage_audit%'").result_rows == []


def other_values(audited: Audited) -> dict[str, str]:
    """Return by column of a line the SQL of another value that a hand might put there."""
    values = {
        "time": "time + INTERVAL 1 MICROSECOND",
        "posted_at": "posted_at + INTERVAL 1 MICROSECOND",
        "period": "period + 1",
        "late": "NOT late",
        "request_type": "if(request_type IS NULL, 'x', NULL)",
        "kind": "if(kind = 'usage', 'failed', 'usage')",
        "pools": "arrayConcat(pools, [('x', '', 0)])",
    }
    for name, kind in audited.client.query(
        "SELECT name, type FROM system.columns WHERE database = 'usage' AND table = 'usage_lines'"
    ).result_rows:
        values.setdefault(name, f"concat({name}, 'x')" if "String" in kind else f"{name} + 1")
    return {name: value for name, value in values.items() if name not in KEYS}


@pytest.mark.rule("R7.1")
@pytest.mark.parametrize("seed", [1, 2])
def test_an_edit_of_any_single_column_of_any_line_is_found(audited: Audited, seed: int):
    """Random lines of the period, one column of each edited: each is named with its column, and no other line is."""
    edits = other_values(audited)
    lines = random.Random(seed).sample(audited.of_period(), len(edits))
    for line, (column, value) in zip(lines, edits.items(), strict=True):
        audited.update(line, f"{column} = {value}")

    found = audited.checks()["log"]

    assert found["count"] == len(edits)
    columns = {(each["customer"], each["seq"]): each["what"].split(":")[0] for each in found["findings"]}
    assert columns == {(line["customer"], line["seq"]): column for line, column in zip(lines, edits, strict=True)}


@pytest.mark.rule("R7.1")
def test_an_edit_that_keeps_all_sums_is_found_with_both_values(audited: Audited):
    """Another feature, put in as a newer version: customer, seq, what was rated and what is there now."""
    line = audited.some_line()
    audited.insert([{**line, "version": line["version"] + 1, "feature": "forged"}])

    (finding,) = audited.checks()["log"]["findings"]

    assert (finding["customer"], finding["seq"]) == (line["customer"], line["seq"])
    assert finding["expected"] == {"version": line["version"], "feature": line["feature"]}
    assert finding["found"] == {"version": line["version"] + 1, "feature": "forged"}


@pytest.mark.rule("R7.2")
def test_a_deleted_line_is_found_by_the_log_and_by_its_number(audited: Audited):
    """A line from the middle is missing in the log's comparison and leaves a gap."""
    line = audited.some_line()
    audited.delete(of(line))

    found = audited.checks()

    assert named(found["log"]) == named(found["line numbers"]) == {(line["customer"], line["seq"])}
    assert found["log"]["findings"][0]["expected"]["charge_pico"] == line["charge_pico"]


@pytest.mark.rule("R7.2")
def test_a_deleted_last_line_is_found(audited: Audited):
    """It leaves no gap, but the log has it and the state has counted it."""
    customer = audited.some_line()["customer"]
    last = max((line for line in audited.lines if line["customer"] == customer), key=lambda line: line["seq"])
    audited.delete(of(last))

    report = audited.audit("--customer", customer, "--format", "json", period=last["period"], code=1)

    found = {check["check"]: check for check in json.loads(report.stdout)["checks"] if check["count"]}
    assert named(found["log"]) == {(customer, last["seq"])}
    assert named(found["line numbers"]) == {(customer, last["seq"])}
    assert found["line numbers"]["findings"][0]["expected"] == str(last["seq"])


@pytest.mark.rule("R7.2")
def test_a_customer_who_is_gone_completely_is_found(audited: Audited):
    """Every line of the customer in the period is named, and with --customer it is damage too, not an unknown name."""
    customer = audited.some_line()["customer"]
    audited.delete(f"customer = '{customer}'")

    of_all = audited.checks()
    of_one = audited.checks("--customer", customer)

    lines = {(customer, line["seq"]) for line in audited.of_period() if line["customer"] == customer}
    assert named(of_all["log"]) == named(of_one["log"]) == lines


@pytest.mark.rule("R7.2", "R6.1")
def test_a_line_that_is_there_under_another_number_too_is_found(audited: Audited):
    """It is in no log, the state has not numbered it, and its event has two lines."""
    line = audited.some_line()
    last = max(each["seq"] for each in audited.lines if each["customer"] == line["customer"])
    audited.insert([{**line, "seq": last + 1}])

    found = audited.checks()

    forged = {(line["customer"], last + 1)}
    assert named(found["log"]) == named(found["line numbers"]) == named(found["identities"]) == forged


@pytest.mark.rule("R7.2")
def test_the_same_row_put_in_again_by_hand_is_found(unmerged: Audited):
    """No reader sees the copy, but a sink says before it inserts a record again."""
    of_period = [record for record in unmerged.records if record[0]["period"] == unmerged.period()]
    record = min(of_period, key=len)
    unmerged.insert(record)

    check = unmerged.checks()["doubled lines"]

    assert named(check) == {(line["customer"], line["seq"]) for line in record if line["period"] == unmerged.period()}


@pytest.mark.rule("R7.2")
def test_one_line_of_a_record_that_a_sink_may_have_repeated_is_found(unmerged: Audited):
    """A sink would have repeated the whole record of usage.lines."""
    record = max(unmerged.records, key=len)
    line = next(line for line in record if line["period"] == unmerged.period())
    unmerged.note_repeats()
    unmerged.insert([line])

    check = unmerged.checks()["doubled lines"]

    assert named(check) == {(line["customer"], line["seq"])}


@pytest.mark.rule("R7.2")
def test_a_sink_that_repeats_inserts_does_no_damage(unmerged: Audited):
    """Whole records again, as after a crash: a note, and the exit code stays 0."""
    unmerged.note_repeats()
    for record in unmerged.records[::2]:
        unmerged.insert(record)

    report = json.loads(unmerged.audit("--format", "json", code=0).stdout)

    (check,) = [check for check in report["checks"] if check["check"] == "doubled lines"]
    assert "several rows" in check["notes"][0]


@pytest.mark.rule("R7.2")
def test_two_contents_of_one_version_are_found(unmerged: Audited):
    """Which of them a reader sees is chance."""
    line = unmerged.some_line()
    unmerged.insert([{**line, "workspace": "forged"}])

    assert named(unmerged.checks()["doubled lines"]) == {(line["customer"], line["seq"])}


@pytest.mark.rule("R7.3", "R6.9", "R6.7")
@pytest.mark.parametrize(
    ("assignment", "rule"),
    [
        ("quantity = quantity + 1", "R7.3: quantity = included + granted + overage + blocked"),
        ("charge_pico = charge_pico + 1", "R7.3: charge = provider_reward + builder_earnings"),
        ("provider_reward_pico = provider_reward_pico + 1", "R6.9: provider_reward = cost_charged"),
        ("margin_pico = margin_pico + 1", "R6.7: charge = cost_charged + margin + surcharge"),
        ("pools = [('x', '', included + granted + 1)]", "R6.4: units of pools = included + granted"),
        ("cost_pico = cost_pico + 1000000", "R6.7: cost_charged = cost x overage / quantity"),
    ],
)
def test_a_line_that_does_not_add_up_is_found(audited: Audited, assignment: str, rule: str):
    """ALTER TABLE asks no constraint; the check names the line and the rule."""
    line = next(
        line for line in audited.of_period() if line["kind"] == "usage" and line["overage"] == line["quantity"] > 0
    )
    audited.update(line, assignment)

    check = audited.checks()["conservation"]

    assert named(check) == {(line["customer"], line["seq"])}
    assert rule in check["findings"][0]["what"]


@pytest.mark.rule("R8.1")
@pytest.mark.parametrize("view", ["statements_v1", "lines_v1"])
def test_a_view_that_hides_lines_is_found(audited: Audited, view: str):
    """Whatever a view shows is held against the sum of the lines themselves."""
    line = audited.some_line()
    ((sql,),) = audited.client.query(
        f"SELECT create_table_query FROM system.tables WHERE database = 'usage' AND name = '{view}'"
    ).result_rows
    lines, where = (
        ("usage_lines FINAL", of(line)) if view == "lines_v1" else ("live_days", of(line).replace("seq", "last_seq"))
    )
    hiding = sql.replace(f"FROM usage.{lines}", f"FROM usage.{lines} WHERE NOT ({where})")
    audited.client.command(hiding.replace("CREATE VIEW", "CREATE OR REPLACE VIEW"))
    try:
        found = audited.checks()
    finally:
        audited.client.command(sql.replace("CREATE VIEW", "CREATE OR REPLACE VIEW"))

    assert set(found) == {"totals"}
    assert {finding["customer"] for finding in found["totals"]["findings"]} == {line["customer"]}
    assert line["feature"] in found["totals"]["findings"][0]["what"]


def test_damage_of_another_customer_or_period_is_not_in_scope(audited: Audited):
    """--customer looks at one customer only, --period at lines that belong to it or should."""
    line = audited.some_line()
    other = next(each for each in audited.of_period() if each["customer"] != line["customer"])
    audited.update(line, "feature = 'forged'")

    audited.audit("--customer", other["customer"], code=0)
    audited.audit("--customer", line["customer"], code=1)
    elsewhere = next(each["period"] for each in audited.lines if each["period"] != line["period"])
    audited.audit(period=elsewhere, code=0)


def test_a_line_moved_to_another_period_is_found_in_both(audited: Audited):
    """It is missing where it was rated, and nobody rated it where it is."""
    line = audited.some_line()
    elsewhere = next(each["period"] for each in audited.lines if each["period"] != line["period"])
    audited.update(line, f"period = '{elsewhere}'")

    assert named(audited.checks()["log"]) == {(line["customer"], line["seq"])}
    report = audited.audit(period=elsewhere, code=1)
    assert f"{line['customer']} line {line['seq']}: period: not as in usage.lines/" in report.stdout


def test_the_first_findings_are_named_and_all_are_counted(audited: Audited):
    """--limit bounds what is shown, and the text says how many more there are."""
    audited.delete(f"period = '{audited.period()}'")

    shown = audited.audit("--limit", "2", code=1).stdout

    total = len(audited.of_period())
    assert f"... and {total - 2:,} more" in shown
    assert "DAMAGE: " in shown.splitlines()[-1]
