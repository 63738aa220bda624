"""`usage audit` on what real workers and a real sink made, across a restart."""

import json
import signal
from contextlib import closing
from pathlib import Path

import clickhouse_connect
import pytest
import yaml

from pipeline.settings.clients import clickhouse_arguments
from tests.e2e.stack import RunningStack
from tests.model.cases import make_case

SEED = 4


@pytest.mark.rule("R3.3", "R7.2")
def test_what_the_stack_made_is_clean_until_a_hand_touches_it(tmp_path: Path):
    """Two workers, stopped in the middle and started again: nothing is wrong, rated again too; a deleted line is."""
    catalog, journal = make_case(SEED, events=400)
    journal.sort(key=lambda entry: entry["ts"])
    for number, entry in enumerate(journal):
        entry["ts"] += number
    path = tmp_path / "catalog.yaml"
    path.write_text(yaml.safe_dump(catalog, sort_keys=False))
    stack = RunningStack(tmp_path, path, workers=2).start()
    try:
        stack.feed(journal[: len(journal) // 2])
        assert stack.stop(signal.SIGINT) == 0, stack.log()
        stack.start()
        stack.feed(journal[len(journal) // 2 :])
        stack.drain()
        assert stack.settings is not None
        line = stack.lines()[0]

        clean = stack.usage("audit", "--period", line["period"], "--rerate", "--catalog", str(path), "--format", "json")
        with closing(clickhouse_connect.get_client(**clickhouse_arguments(stack.settings))) as client:
            condition = f"customer = '{line['customer']}' AND seq = {line['seq']}"
            client.command(f"ALTER TABLE usage.usage_lines DELETE WHERE {condition}", settings={"mutations_sync": 1})
        damaged = stack.usage("audit", "--period", line["period"])
    finally:
        stack.kill()

    assert clean.returncode == 0, clean.stdout + clean.stderr
    assert json.loads(clean.stdout)["rerated"]["records_waiting"] == 0
    assert damaged.returncode == 1, damaged.stdout + damaged.stderr
    assert f"{line['customer']} line {line['seq']}: line is missing" in damaged.stdout
