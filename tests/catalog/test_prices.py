"""`usage catalog prices`: list prices as a change to review."""

import difflib
from datetime import date
from decimal import Decimal
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from genai_prices.data_snapshot import get_snapshot

from pipeline.catalog import load_catalog
from pipeline.catalog.prices import PriceError, list_price, parse_wanted
from pipeline.cli.catalog import catalog_group
from tests.catalog.test_diff import edited

DAY = date(2026, 11, 24)


def prices(catalog: Path, models: str, *arguments: str) -> Result:
    fixed = ["prices", "--catalog", str(catalog), "--models", models, "--today", DAY.isoformat()]
    return CliRunner().invoke(catalog_group, [*fixed, *arguments])


def test_the_diff_is_shown_and_nothing_is_written(tmp_path: Path) -> None:
    """Without --write the file stays as it is; the diff holds the price as text, its source, version and date."""
    catalog = edited(tmp_path, ('input: "0.25", cached', 'input: "9", cached'))
    before = catalog.read_text()

    done = prices(catalog, "gpt-5-mini,gemini-2.5-pro")

    assert done.exit_code == 0, done.output
    assert catalog.read_text() == before
    added = [line for line in done.stdout.splitlines() if line.startswith("+ ")]
    assert 'id: gpt-5-mini, provider: openai, class: standard, input: "0.25"' in added[0]
    assert "# genai-prices " in added[0]
    assert ", 2026-11-24" in added[0]
    assert "another one holds for calls with more than 200,000 input tokens" in added[1]


def test_write_changes_what_the_diff_shows_and_nothing_else(tmp_path: Path) -> None:
    """With --write the file is sound, its comments stay, a model keeps its class, and to do it again changes nothing."""
    catalog = edited(tmp_path, ('input: "5.00", cached', 'input: "4.00", cached'))
    before = catalog.read_text()

    prices(catalog, "claude-opus-4-5,gpt-5", "--write")

    changed = [line for line in difflib.ndiff(before.splitlines(), catalog.read_text().splitlines()) if line[0] in "+-"]
    assert len(changed) == 2
    model = load_catalog(catalog).models["claude-opus-4-5"]
    assert (model.model_class, model.input_pico) == ("premium", 5 * 10**6)
    assert "nothing changes" in prices(catalog, "claude-opus-4-5", "--write").output


def test_unknown_models_are_named_and_nothing_is_written(tmp_path: Path) -> None:
    """All that cannot be taken is named at once, with near names; exit code 1."""
    catalog = edited(tmp_path)
    before = catalog.read_text()

    done = prices(catalog, "gpt-5-minni,gpt-5,deepseek-chat,xyzzy", "--write")

    assert done.exit_code == 1
    assert "near names: openai/gpt-5-mini" in done.output
    assert "deepseek-chat: its price depends on the time of day" in done.output
    assert "'xyzzy'" in done.output
    assert catalog.read_text() == before


def test_every_listed_price_is_exact_or_refused() -> None:
    """Of all models that are listed, a price is taken to the last digit, or a reason is given."""
    taken = 0
    for provider in get_snapshot().providers:
        for model in provider.models:
            try:
                found = list_price(parse_wanted(f"it={provider.id}/{model.id}"), None, DAY)
            except PriceError:
                continue
            taken += 1
            assert all(
                Decimal(text).as_tuple().exponent >= -6 for text in (found.input, found.cached_input, found.output)
            )
    assert taken > 100


@pytest.mark.parametrize("text", ["a", "a=b", "a=c/b", "a=c/b/d"])
def test_a_model_may_be_listed_under_another_name(text: str) -> None:
    """ID, ID=MODEL and ID=PROVIDER/MODEL name a model; a model's name may hold further slashes."""
    wanted = parse_wanted(text)

    assert wanted.id == "a"
    assert (wanted.provider, wanted.listed) == {
        "a": (None, "a"),
        "a=b": (None, "b"),
        "a=c/b": ("c", "b"),
        "a=c/b/d": ("c", "b/d"),
    }[text]
