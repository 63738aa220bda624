"""Files that are not YAML, or not a catalog, are refused with a place and a reason."""

import time
from pathlib import Path

import pytest
import yaml

from pipeline.catalog import check_catalog, load_catalog
from pipeline.catalog.positions import ALIASED_VALUES_MAX, DEPTH_MAX, read_yaml
from tests.catalog.support import GOOD, faults_of, write


@pytest.mark.parametrize(
    ("content", "line", "column", "part"),
    [
        (b"", 1, 1, "is empty"),
        (b"# nothing yet\n", 1, 1, "is empty"),
        (b"- a\n- b\n", 1, 1, "is not a mapping"),
        (b"just text", 1, 1, "is not a mapping"),
        (b"currency: USD\nplans: [1, 2", 3, 1, "flow sequence that begins in line 2"),
        (b"currency: USD\n\tplans: []", 2, 1, "is not YAML"),
        (b"currency: USD\nplans: a: b", 2, 9, "is not YAML"),
        (b"currency: USD\n---\ncurrency: USD\n", 2, 1, "second YAML document"),
        (b"currency: USD\nname: \xff\n", 2, 7, "is not UTF-8"),
        ("currency: USD".encode("utf-16"), 1, 1, "is not UTF-8"),
        (b"currency: USD\nname: a\x00b\n", 2, 8, "a character that YAML forbids"),
        (b"[" * 100_000, 1, DEPTH_MAX + 2, "nests deeper"),
        (b"a: &a [*a]\ncurrency: USD", 1, 8, "no anchor before it"),
    ],
)
def test_unreadable_content_has_a_place(tmp_path: Path, content: bytes, line: int, column: int, part: str) -> None:
    """Each unreadable file gets a fault at the line and column where reading stopped."""
    faults = faults_of(tmp_path, content)

    assert any((fault.line, fault.column) == (line, column) and part in str(fault) for fault in faults), faults


def test_a_syntax_error_is_the_only_fault_of_its_file(tmp_path: Path) -> None:
    """A file that cannot be read is not also called empty or without currency."""
    assert len(faults_of(tmp_path, GOOD + "\n]")) == 1


def test_a_missing_path_is_a_fault(tmp_path: Path) -> None:
    """A path without a file says so."""
    (fault,) = check_catalog(tmp_path / "gone.yaml")

    assert str(fault).startswith(f"{tmp_path}/gone.yaml: cannot be read (No such file or directory)")


def test_a_folder_without_yaml_is_a_fault(tmp_path: Path) -> None:
    """A folder without catalog files says so."""
    write(tmp_path, "x", "readme.txt")

    (fault,) = check_catalog(tmp_path)

    assert str(fault) == f"{tmp_path}: holds no *.yaml or *.yml file; put the catalog there"


def test_an_alias_bomb_is_refused_at_once(tmp_path: Path) -> None:
    """Aliases that multiply beyond the bound stop the reading instead of filling memory."""
    rows = ["a: &a [x, x, x, x, x, x, x, x, x, x]"]
    rows += [f"{chr(code)}: &{chr(code)} [{', '.join([f'*{chr(code - 1)}'] * 10)}]" for code in range(98, 115)]
    began = time.monotonic()

    (fault,) = faults_of(tmp_path, "\n".join(rows))

    assert f"aliases repeat more than {ALIASED_VALUES_MAX:,} values" in str(fault)
    assert time.monotonic() - began < 5


def test_what_a_program_writes_with_many_aliases_loads(tmp_path: Path) -> None:
    """300 plans that share one match, which a YAML writer turns into aliases, are a catalog like any other."""
    match = {"unit": [f"unit-{number}" for number in range(50)]}
    prices = [{"match": match, "price": "0.02"}]
    plans = [{"id": f"plan-{number}", "version": 1, "app": "a", "prices": prices} for number in range(300)]
    root = {"currency": "USD", "builders": [{"id": "b"}], "apps": [{"id": "a", "builder": "b"}], "plans": plans}
    text = yaml.safe_dump(root)

    catalog = load_catalog(write(tmp_path, text))

    assert "*id001" in text
    assert {plan.prices[0].match["unit"] for plan in catalog.plans.values()} == {frozenset(match["unit"])}


@pytest.mark.parametrize(
    "needle", ['"0.02"', "legal-cap", "5000", "{document: 5, ticket: 1}", "2026-06-01", "docflow, builder", "all,"]
)
def test_positions_are_those_of_the_text(needle: str) -> None:
    """The place of each value is where it stands in the file."""
    paths = {
        '"0.02"': ("plans", 0, "prices", 1, "price"),
        "legal-cap": ("plans", 0, "budgets", 0, "id"),
        "5000": ("plans", 0, "budgets", 1, "quantity"),
        "{document: 5, ticket: 1}": ("plans", 0, "allowances", 1, "credits"),
        "2026-06-01": ("subscriptions", 1, "end"),
        "docflow, builder": ("apps", 1, "id"),
        "all,": ("migrations", 0, "customers"),
    }
    before = GOOD[: GOOD.index(needle)]

    mark = read_yaml("catalog.yaml", GOOD.encode()).mark(paths[needle])

    assert mark == (before.count("\n") + 1, len(before) - before.rindex("\n"))


def test_an_unknown_key_is_marked_at_the_key(tmp_path: Path) -> None:
    """The place of an unknown key is the key, not its value."""
    (fault,) = faults_of(tmp_path, GOOD + "plan:\n  - 1\n")

    assert (fault.line, fault.column, fault.path) == (GOOD.count("\n") + 1, 1, "plan")
