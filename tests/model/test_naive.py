"""The naive model reproduces the worked examples, and the generator covers what it promises."""

import json
from collections import Counter
from pathlib import Path

import pytest
import yaml

from tests.model.cases import make_case
from tests.model.compare import assert_same
from tests.model.coverage import WANTED, covered
from tests.model.naive import Result, rate

CONFORMANCE = Path(__file__).resolve().parents[3] / "shared" / "conformance"


def read_ndjson(path: Path) -> list[dict]:
    """Read one JSON object a line."""
    return [json.loads(row) for row in path.read_text(encoding="utf-8").splitlines()]


@pytest.mark.parametrize("case", ["case1", "case2", "case3"])
def test_reproduces_the_worked_example(case: str) -> None:
    """The naive model gives the lines, rejects, alerts and statements of the worked example."""
    folder = CONFORMANCE / case
    if not folder.is_dir():
        pytest.skip(f"{folder} is absent: the worked examples are not part of the project")
    expected = folder / "expected"
    wanted = Result(
        lines=read_ndjson(expected / "lines.ndjson"),
        rejects=read_ndjson(expected / "rejects.ndjson"),
        alerts=read_ndjson(expected / "alerts.ndjson"),
        statements=json.loads((expected / "statements.json").read_text(encoding="utf-8")),
    )

    got = rate(read_ndjson(folder / "journal.ndjson"), yaml.safe_load((folder / "catalog.yaml").read_text("utf-8")))

    assert_same(wanted, got)


def test_generator_covers_every_feature() -> None:
    """Thirty seeds exercise every reject code, kind, policy, pool, budget, price form and boundary at least once."""
    found: Counter[str] = Counter()

    for seed in range(30):
        catalog, records = make_case(seed)
        found.update(covered(catalog, records, rate(records, catalog)))

    assert sorted(WANTED - {label for label, count in found.items() if count}) == []


def test_generator_repeats_itself() -> None:
    """One seed makes one case, and its records and catalog survive JSON and YAML."""
    catalog, records = make_case(7)

    assert make_case(7) == (catalog, records)
    assert yaml.safe_load(yaml.safe_dump(catalog, allow_unicode=True)) == catalog
    assert json.loads(json.dumps(records)) == records


@pytest.mark.rule("R7.2", "R7.3", "R6.9")
@pytest.mark.parametrize("seed", range(10))
def test_naive_lines_conserve(seed: int) -> None:
    """The lines of the naive model count without a gap and conserve quantity and charge."""
    catalog, records = make_case(seed)

    result = rate(records, catalog)

    seqs: dict[str, int] = {}
    for line in result.lines:
        seqs[line["customer"]] = seqs.get(line["customer"], 0) + 1
        parts = line["included"] + line["granted"] + line["overage"] + line["blocked"]
        assert line["seq"] == seqs[line["customer"]]
        assert parts == (line["quantity"] if line["kind"] == "usage" else 0)
        assert min(line["included"], line["granted"], line["overage"], line["blocked"]) >= 0
        assert line["charge_pico"] == line["provider_reward_pico"] + line["builder_earnings_pico"]
        margins = line["cost_charged_pico"] + line["margin_pico"] + line["surcharge_pico"]
        assert line["charge_pico"] == margins
