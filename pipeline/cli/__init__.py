"""The command `usage`, one module a command; a command's module is loaded only when it is called."""

import importlib
import sys

import click

_COMMANDS = {
    "alerts": ("pipeline.cli.alerts", "alerts_group", "Send alerts to webhooks, mail or standard output."),
    "api": ("pipeline.cli.api", "api_command", "Serve the HTTP API: events, quota, grants."),
    "audit": ("pipeline.cli.audit", "audit_command", "Prove a period from ClickHouse and Kafka."),
    "catalog": ("pipeline.cli.catalog", "catalog_group", "Check, publish, compare and migrate catalogs."),
    "close": ("pipeline.cli.close", "close_command", "Close a period: freeze its statements."),
    "dead-letter": ("pipeline.cli.dead_letter", "dead_letter_group", "List, show, count and replay rejected records."),
    "demo": ("pipeline.cli.demo", "demo_command", "Run everything once on made-up or traced usage."),
    "explain": ("pipeline.cli.explain", "explain_group", "Say why a line costs what it does, and why a bill changed."),
    "export": ("pipeline.cli.export", "export_group", "Export statements: CSV, JSON, HTML, FOCUS, invoice items."),
    "grant": ("pipeline.cli.grant", "grant_command", "Give a customer extra quantity."),
    "import": ("pipeline.cli.import_", "import_command", "Import signed batches of an offline deployment."),
    "keys": ("pipeline.cli.keys", "keys_group", "Make, list and revoke API keys."),
    "margin": ("pipeline.cli.margin", "margin_command", "Show which customers cost more than they bring."),
    "migrate": ("pipeline.cli.migrate", "migrate_command", "Bring ClickHouse's tables and views up to date."),
    "payouts": ("pipeline.cli.payouts", "payouts_group", "Show and make what builders are paid for a month."),
    "rate": ("pipeline.cli.rate", "rate_command", "Rate a journal of records offline."),
    "rewards": ("pipeline.cli.rewards", "rewards_command", "Show what providers are owed for a month."),
    "settings": ("pipeline.cli.settings", "settings_command", "Show the settings, secrets masked."),
    "signing-keys": ("pipeline.cli.signing_keys", "signing_keys_group", "Add, list and revoke keys that sign batches."),
    "simulate": ("pipeline.cli.simulate", "simulate_command", "Re-rate a past period under another catalog."),
    "sink": ("pipeline.cli.sink", "sink_command", "Move rated lines from Kafka to ClickHouse."),
    "statement": ("pipeline.cli.statement", "statement_command", "Show what a customer owes, and for what."),
    "topics": ("pipeline.cli.topics", "topics_command", "Create the Kafka topics."),
    "topup": ("pipeline.cli.grant", "topup_command", "Add money to a customer's prepaid wallet."),
    "up": ("pipeline.cli.up", "up_command", "Run the whole pipeline on this machine."),
    "worker": ("pipeline.cli.worker", "worker_command", "Rate usage events from Kafka."),
}

INTERRUPTED = 130
"""Exit code after Ctrl-C, as shells have it."""


class _Commands(click.Group):
    """Loads a command's module when the command is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - the signature is click's
        return sorted(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in _COMMANDS:
            return None
        module, attribute, _ = _COMMANDS[cmd_name]
        command = getattr(importlib.import_module(module), attribute)
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, _, text) in sorted(_COMMANDS.items())])


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="usage-pipeline", prog_name="usage")
def usage() -> None:
    """Meter, rate and bill usage of AI applications: from events on Kafka to statements."""


def main() -> None:
    """Run the command line."""
    try:
        code = usage(standalone_mode=False)
    except click.exceptions.Abort:
        click.echo("interrupted", err=True)
        code = INTERRUPTED
    except click.ClickException as error:
        error.show()
        code = error.exit_code
    sys.exit(code if isinstance(code, int) else 0)
