"""The report of an audit: for people, and as JSON."""

from typing import Any

import click

from pipeline.billing.audit import Check, Finding
from pipeline.cli.audit_run import Report

_TEXT_LENGTH_MAX = 400


def report_fields(report: Report) -> dict[str, Any]:
    """Return the report as JSON."""
    counts, accounted = report.counts, report.accounted
    assert counts is not None
    return {
        "period": report.scope.period,
        "customer": report.scope.customer,
        "clean": report.findings == 0,
        "findings": report.findings,
        "lines": counts.lines,
        "customers": counts.customers,
        "lines_before_log": counts.lines_before_log,
        "dead_letters": report.letters,
        "log_begins": {
            str(number): {"offset": offset, "at": at.isoformat() if at else None}
            for number, (offset, at) in sorted(report.log_begins.items())
        },
        "rerated": None
        if accounted is None
        else {
            "records": accounted.records,
            "records_waiting": accounted.waiting,
            "records_rejected": accounted.rejected_records,
            "events": accounted.events,
            "lines": accounted.lines,
            "duplicates": accounted.duplicates,
            "rejects": accounted.rejects,
            "reservations": accounted.reservations,
        },
        "checks": [check.as_dict() for check in report.checks],
    }


def print_report(report: Report) -> None:
    """Print the report as text."""
    scope, counts = report.scope, report.counts
    assert counts is not None
    whose = "all customers" if scope.customer is None else f"customer {scope.customer}"
    click.echo(f"Audit of period {scope.period}, {whose}\n")
    width = max(len(check.name) for check in report.checks)
    for check in report.checks:
        _print_check(check, width)
    click.echo(
        f"\n{counts.lines:,} lines of {counts.customers:,} customers, {report.letters:,} dead letters, "
        f"{len(report.checks)} checks."
    )
    for text in _remarks(report):
        click.echo(text)
    if report.findings:
        bad = sum(check.count > 0 for check in report.checks)
        click.echo(f"DAMAGE: {report.findings:,} findings in {bad} of {len(report.checks)} checks.")
    else:
        click.echo("Nothing is wrong.")


def _remarks(report: Report) -> list[str]:
    remarks = []
    accounted = report.accounted
    if accounted is not None:
        remarks.append(
            f"Rated again: {accounted.events:,} events became {accounted.lines:,} lines, {accounted.duplicates:,} "
            f"duplicates, {accounted.rejects:,} rejects and {accounted.reservations:,} reservations and releases; {accounted.rejected_records:,} of {accounted.records:,} "
            f"records were rejected whole; {accounted.waiting:,} records still wait for a worker."
        )
    for number, (offset, at) in sorted(report.log_begins.items()):
        since = f", {at:%Y-%m-%d %H:%M:%S} UTC" if at else ""
        remarks.append(f"usage.lines/{number} reaches back to offset {offset}{since}: what came before is deleted.")
    if report.counts and report.counts.lines_before_log:
        remarks.append(
            f"{report.counts.lines_before_log:,} lines are older than that: compared by --rerate only, if at all."
        )
    return remarks


def _print_check(check: Check, width: int) -> None:
    click.echo(
        f"{'DAMAGE' if check.count else 'ok':<6}  {check.name:<{width}}  {check.about} ({', '.join(check.rules)})"
    )
    for finding in check.findings:
        _print_finding(finding)
    if check.count > len(check.findings):
        click.echo(f"          ... and {check.count - len(check.findings):,} more; --limit shows more")
    for note in check.notes:
        click.echo(f"          note: {note}")


def _print_finding(finding: Finding) -> None:
    who = " ".join(part for part in (finding.customer, "" if finding.seq is None else f"line {finding.seq}") if part)
    click.echo(f"        - {who}{': ' if who else ''}{finding.what}")
    for name, value in (("expected", finding.expected), ("found", finding.found)):
        if value not in (None, ""):
            click.echo(f"            {name:<8} {_shown(value)}")


def _shown(value: Any) -> str:
    text = ", ".join(f"{name} {part!r}" for name, part in value.items()) if isinstance(value, dict) else str(value)
    return text if len(text) <= _TEXT_LENGTH_MAX else f"{text[:_TEXT_LENGTH_MAX]} ..."
