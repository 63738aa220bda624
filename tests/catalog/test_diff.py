"""`usage catalog diff`: what differs between two catalogs, in the words of those who pay."""

import json
from pathlib import Path
from random import Random
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result

from pipeline.catalog import load_catalog, read_catalog
from pipeline.catalog.diff import catalog_changes
from pipeline.catalog.diff_plans import plan_changes
from pipeline.cli.catalog import catalog_group
from pipeline.settings.resources import schema_path
from tests.model.case_catalog import make_catalog
from tests.model.cases import STARTS
from tests.rating.support import write_catalog

EXAMPLE = schema_path("examples/catalog.yaml")


def edited(folder: Path, *edits: tuple[str, str]) -> Path:
    text = EXAMPLE.read_text()
    for before, after in edits:
        assert before in text
        text = text.replace(before, after)
    path = folder / "new.yaml"
    path.write_text(text)
    return path


def diff(old: Path, new: Path, *arguments: str) -> Result:
    return CliRunner().invoke(catalog_group, ["diff", str(old), str(new), *arguments])


def test_layout_makes_no_difference(tmp_path: Path) -> None:
    """A catalog that was only written in another way is the same: nothing is printed, exit code 0."""
    other = tmp_path / "other.yaml"
    other.write_text(yaml.safe_dump(yaml.safe_load(EXAMPLE.read_text())))

    done = diff(EXAMPLE, other)

    assert (done.exit_code, done.stdout) == (0, "")


def test_changes_are_told_in_the_words_of_the_plan(tmp_path: Path) -> None:
    """Each change is a sentence with what comes and what was until then, in the order of the catalog; exit code 1."""
    new = edited(
        tmp_path,
        ("included: 300, alerts", "included: 250, alerts"),
        ('{match: {unit: [document]}, price: "0.55"}', '{match: {unit: [document]}, price: "0.60"}'),
        ('input: "0.25"', 'input: "0.30"'),
        ("end: 2024-01-01", "end: 2023-12-01"),
        ("name: Fjord Bank ASA", "name: Fjord Bank"),
    )

    done = diff(EXAMPLE, new)

    assert done.exit_code == 1
    assert done.stdout.splitlines() == [
        "~ plans: docflow-business version 1 changed",
        "    included documents: 250 documents a period; until then 300 documents a period",
        "~ plans: docflow-payg version 1 changed",
        "    price of documents: 0.60 each; until then 0.55 each",
        "~ models: gpt-5-mini changed",
        "    input 0.30 per million tokens, until then 0.25",
        "~ customers: fjord-bank changed",
        "    name Fjord Bank, until then Fjord Bank ASA",
        "~ subscriptions: evergreen on helpdesk-team version 1 from 2023-01-01 changed",
        "    until 2023-12-01; before, until 2024-01-01",
    ]


def test_json_has_the_same_changes(tmp_path: Path) -> None:
    """As JSON, a change has its section, id, kind and sentences."""
    new = edited(tmp_path, ("  - {id: gpt-5, ", "  - {id: gpt-6, "))

    changes = json.loads(diff(EXAMPLE, new, "--format", "json").stdout)

    assert [(each["section"], each["id"], each["kind"]) for each in changes] == [
        ("models", "gpt-5", "removed"),
        ("models", "gpt-6", "added"),
    ]


def test_a_catalog_with_faults_is_trouble(tmp_path: Path) -> None:
    """What cannot be read is neither the same nor different: exit code 2, with the fault's place."""
    done = diff(EXAMPLE, edited(tmp_path, ("currency: USD", "currency: dollars")))

    assert done.exit_code == 2
    assert "new.yaml" in done.output


@pytest.mark.parametrize("seed", range(20))
def test_no_difference_of_terms_goes_unsaid(seed: int, tmp_path: Path) -> None:
    """Two versions of a plan with other terms have a sentence at least, but for rows that never count."""
    catalog: dict[str, Any] = make_catalog(Random(seed), STARTS[0])
    path = write_catalog(tmp_path, catalog)
    plans = list(load_catalog(path).plans.values())

    for one in plans:
        assert plan_changes(one, one) == []
        for other in plans:
            if (one.allowances, one.surcharges, one.budgets) != (other.allowances, other.surcharges, other.budgets):
                assert plan_changes(one, other)
    assert catalog_changes(read_catalog(path)[0], read_catalog(path)[0]) == []
