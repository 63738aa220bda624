"""`usage settings`: what a process would run with."""

import json

import click

from pipeline.cli.options import options_for
from pipeline.settings import Settings, shown_settings


@click.command("settings")
@click.option("--format", "form", type=click.Choice(["table", "json"]), default="table", help="How to print them.")
@options_for("kafka", "clickhouse", "catalog", "log_level")
def settings_command(form: str, settings: Settings) -> None:
    """Show the settings that every command would run with, secrets masked.

    Flags come first, then USAGE_* variables, then the --secrets-dir, then the --config file (TOML), then defaults.
    """
    shown = shown_settings(settings)
    if form == "json":
        click.echo(json.dumps(shown, indent=2))
        return
    width = max(map(len, shown))
    for name, value in shown.items():
        description = Settings.model_fields[name].description
        click.echo(f"{name:<{width}}  {'' if value is None else value}  # USAGE_{name.upper()}: {description}")
