"""The JSON Schema is the one definition of a catalog's form, for editors and for us."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator, FormatChecker

from pipeline.catalog import check_catalog, load_catalog
from pipeline.settings.resources import schema_path
from tests.catalog.support import GOOD, edited

EXAMPLE = schema_path("examples", "catalog.yaml")


@pytest.fixture(scope="module")
def schema() -> dict[str, Any]:
    """Return the schema as editors read it."""
    return json.loads(schema_path("catalog.schema.json").read_bytes())


def errors(schema: dict[str, Any], text: str) -> list[str]:
    """Return what an editor that knows nothing of us reports; it reads days as text."""
    loader = type("Loader", (yaml.SafeLoader,), {})
    loader.add_constructor("tag:yaml.org,2002:timestamp", yaml.SafeLoader.construct_yaml_str)
    plain = yaml.load(text, loader)
    checker = Draft202012Validator(schema, format_checker=FormatChecker(["date"]))
    return [error.message for error in checker.iter_errors(plain)]


def test_the_schema_is_a_schema(schema: dict[str, Any]) -> None:
    """The schema obeys the metaschema of its draft."""
    Draft202012Validator.check_schema(schema)


def test_every_key_is_explained(schema: dict[str, Any]) -> None:
    """Each key of each mapping has a title or a description for an editor's tooltip, or its definition has one."""
    definitions = schema["$defs"]
    mappings = [schema, *(each for each in definitions.values() if "properties" in each)]

    silent = [
        f"{mapping.get('title')}.{key}"
        for mapping in mappings
        for key, shape in mapping["properties"].items()
        if not {"title", "description"} & {*shape, *definitions.get(shape.get("$ref", "").rpartition("/")[2], {})}
    ]

    assert silent == []


def test_every_mapping_is_closed(schema: dict[str, Any]) -> None:
    """No mapping takes keys that nobody defined."""
    mappings = [schema, *(each for each in schema["$defs"].values() if "properties" in each)]

    assert all(mapping["additionalProperties"] is False for mapping in mappings)


@pytest.mark.parametrize("text", [GOOD, EXAMPLE.read_text(encoding="utf-8")], ids=["good", "example"])
def test_sound_catalogs_pass_the_bare_schema(schema: dict[str, Any], text: str) -> None:
    """An editor with nothing but the schema finds no fault in a sound catalog."""
    assert errors(schema, text) == []


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("failed: cost", "faild: cost"),
        ('price: "0.02"', "price: 0.02"),
        ('input: "0.25"', 'input: "0.2512345"'),
        (", included: 50}", "}"),
        ('amount: "50.00",', ""),
        ("effective: 2027-01-01", "effective: 2027-02-30"),
    ],
)
def test_faults_of_form_show_in_an_editor(schema: dict[str, Any], old: str, new: str) -> None:
    """Unknown keys, floats, too many decimals, missing numbers and bad days are seen by the bare schema."""
    assert errors(schema, edited((old, new))) != []


def test_the_example_shows_every_feature() -> None:
    """The example loads and has each kind of price, pool, overage, budget and a migration, from 2023 on."""
    assert check_catalog(EXAMPLE) == []
    catalog = load_catalog(EXAMPLE)
    plans = catalog.plans.values()

    assert EXAMPLE.read_text().startswith("# yaml-language-server: $schema=../catalog.schema.json\n")
    assert (EXAMPLE.parent / "../catalog.schema.json").is_file()
    assert {policy for plan in plans for policy in plan.overage.values()} == {"invoice", "prepaid", "block"}
    assert any(allowance.credits for plan in plans for allowance in plan.allowances)
    assert {allowance.per for plan in plans for allowance in plan.allowances} == {"period", "day"}
    assert any(len(row.tiers) > 1 for plan in plans for row in plan.prices)
    assert any(row.margin_percent_pico for plan in plans for row in plan.prices)
    assert any(surcharge.match.get("class") == {"premium"} for plan in plans for surcharge in plan.surcharges)
    assert {budget.blocks for plan in plans for budget in plan.budgets} == {True, False}
    assert [each.plan.version for each in catalog.subscriptions["acme", "helpdesk"]] == [1, 2]
    assert any(model.model_class == "premium" for model in catalog.models.values())
    assert len(catalog.builders) == 2
    assert all(each[0].start_us == 1_672_531_200_000_000 for each in catalog.subscriptions.values())


def test_resources_are_found_in_the_checkout() -> None:
    """The schema path leads into this checkout's folder `schemas`."""
    assert schema_path("catalog.schema.json") == Path(__file__).resolve().parents[2] / "schemas" / "catalog.schema.json"
