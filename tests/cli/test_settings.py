import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from pipeline.cli import usage
from pipeline.settings import Settings

SECRET = "hunter2-hunter2"


def run(*arguments: str, **environment: str) -> Result:
    return CliRunner(env=environment).invoke(usage, arguments)


def test_flags_come_before_variables_before_secret_files_before_the_file(tmp_path: Path) -> None:
    """Each source gives way to the ones before it."""
    config, secrets = tmp_path / "usage.toml", tmp_path / "secrets"
    config.write_text('kafka = "file:1"\nclickhouse = "http://file:1"\nsink_group = "file"\nlog_level = "ERROR"\n')
    secrets.mkdir()
    (secrets / "usage_sink_group").write_text("secret-file")
    flags = ("--kafka", "flag:1", "--config", str(config), "--secrets-dir", str(secrets), "--format", "json")

    shown = json.loads(run("settings", *flags, USAGE_KAFKA="variable:1", USAGE_CLICKHOUSE="http://variable:1").output)

    assert shown["kafka"] == "flag:1"
    assert shown["clickhouse"] == "http://variable:1"
    assert shown["sink_group"] == "secret-file"
    assert shown["log_level"] == "ERROR"
    assert shown["worker_group"] == Settings.model_fields["worker_group"].default


@pytest.mark.parametrize("form", ["table", "json"])
def test_secrets_are_masked(form: str) -> None:
    """No form of the settings shows a secret."""
    result = run("settings", "--format", form, USAGE_KAFKA_PASSWORD=SECRET, USAGE_CLICKHOUSE_PASSWORD=SECRET)

    assert result.exit_code == 0
    assert SECRET not in result.output
    assert result.output.count("********") == 2


def test_a_wrong_setting_is_named_without_its_value() -> None:
    """What is wrong is said by the setting's name; its value might be a secret."""
    result = run("settings", USAGE_PARTITIONS=SECRET)

    assert result.exit_code == 2
    assert "partitions" in result.output
    assert SECRET not in result.output


def test_an_unknown_setting_in_the_file_is_refused(tmp_path: Path) -> None:
    """A misspelt setting is not ignored."""
    config = tmp_path / "usage.toml"
    config.write_text('kafak = "x:1"\n')

    result = run("settings", "--config", str(config))

    assert result.exit_code == 2
    assert "kafak" in result.output


@pytest.mark.parametrize("command", ["up", "rate"])
def test_a_command_that_needs_a_catalog_says_so(command: str, tmp_path: Path) -> None:
    """Without a catalog there is nothing to rate by, and the message says how to give one."""
    journal = tmp_path / "journal.ndjson"
    journal.touch()
    arguments = [command, str(journal), "--out", str(tmp_path)] if command == "rate" else [command]

    result = run(*arguments)

    assert result.exit_code == 2
    assert "USAGE_CATALOG" in result.output
