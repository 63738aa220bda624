"""Double entry: what customers owe is owed to providers and builders, and payouts are what was earned (R11.6)."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict

from clickhouse_connect.driver.client import Client

from pipeline.billing.audit.findings import Check, Finding, differing
from pipeline.billing.audit.scratch import Scratch
from pipeline.billing.payouts import read_earnings
from pipeline.domain.payouts import MadePayout, fee_of, payout_id
from pipeline.domain.statements import format_exact

_UNBALANCED = """
SELECT customer, NULL AS seq, 'the account of the customer is not those of providers and builders' AS what,
    toString(sum(toInt256(provider_reward_pico)) + sum(toInt256(builder_earnings_pico))) AS expected,
    toString(sum(toInt256(charge_pico))) AS found
FROM usage.usage_lines FINAL
WHERE period = {period:Date} AND @scope
GROUP BY customer
HAVING expected != found
"""
# The view against the columns, for what was posted in the month of days that the period is, and its payouts.
_ACCOUNTS = """
SELECT kind, account, toString(sumIf(pico, side = 1)) AS expected, toString(sumIf(pico, side = 2)) AS found
FROM (
    SELECT entry.1 AS kind, entry.2 AS account, entry.3 AS pico, 1 AS side
    FROM (
        SELECT arrayJoin([
            ('customer', customer, toInt256(charge_pico)),
            ('provider', toString(provider), -toInt256(provider_reward_pico)),
            ('builder', toString(builder), -toInt256(builder_earnings_pico))
        ]) AS entry
        FROM usage.usage_lines FINAL
        WHERE posted_at >= {period:Date} AND posted_at < addMonths({period:Date}, 1)
        UNION ALL
        SELECT arrayJoin([
            ('builder', builder, toInt256(fee_booked_pico) + paid_pico),
            ('platform_fee', '', -toInt256(fee_booked_pico)),
            ('paid_out', '', -toInt256(paid_pico))
        ]) AS entry
        FROM usage.payouts FINAL
        WHERE made_at >= {period:Date} AND made_at < addMonths({period:Date}, 1)
    )
    UNION ALL
    SELECT kind, account, toInt256(reinterpretAsInt128(amount)), 2
    FROM usage.postings_v1 WHERE at >= {period:Date} AND at < addMonths({period:Date}, 1)
)
GROUP BY kind, account
HAVING expected != found
"""
_AGAIN_MAX = 3
"""While lines come in, two sums of one moment may differ once."""
_CENT = 10**10

Faults = Mapping[str, Callable[[MadePayout], bool]]
_RULES: Faults = {
    "R11.1: earnings - fee + carried in = paid + carried out": lambda each: (
        each.earnings_pico - each.fee_pico + each.carried_in_pico == each.paid_pico + each.carried_out_pico
    ),
    "R11.1: the fee is the percentage of positive earnings": lambda each: (
        each.fee_pico == fee_of(each.fee_percent_pico, each.earnings_pico)
    ),
    "R11.1: whole cents are paid, and never less than none": lambda each: (
        each.paid_pico >= 0 and each.paid_pico % _CENT == 0
    ),
    "R11.4: the id is that of builder and month": lambda each: each.id == payout_id(each.builder, each.month),
}


def check_books(scratch: Scratch, logged: Mapping[str, MadePayout], stored: Iterable[MadePayout]) -> Check:
    """Check that postings and accounts balance, and that ClickHouse has the payouts of billing.payouts.

    `stored` was read from ClickHouse before `logged` from Kafka. With one customer in scope, payouts are left out.
    """
    check = Check(
        "books", ("R11.6", "R11.1"), "accounts balance: customers, providers, builders, platform; payouts add up"
    )
    scratch.collect(check, _UNBALANCED.replace("@scope", scratch.scope.of_customer()))
    if scratch.scope.customer is not None:
        return check
    for (kind, account), (expected, found) in sorted(_differing_accounts(scratch).items()):
        what = f"usage.postings_v1: {kind} {account}".rstrip() + ": does not equal the sum of lines and payouts"
        check.add(Finding("", None, what, expected, found), scratch.scope.findings_max)
    payouts = list(stored)
    check.notes += _notes(scratch.client, payouts)
    for finding in (each for payout in payouts for each in _faults(payout, logged.get(payout.id))):
        check.add(finding, scratch.scope.findings_max)
    return check


def _faults(payout: MadePayout, of_log: MadePayout | None) -> Iterator[Finding]:
    """Yield what is wrong with a payout of ClickHouse, beside that of the log."""
    broken = [name for name, holds in _RULES.items() if not holds(payout)]
    if broken:
        yield Finding("", None, f"payout {payout.id}: {'; '.join(broken)}", None, asdict(payout))
    if of_log is None:
        yield Finding("", None, f"payout {payout.id}: is not in billing.payouts", None, asdict(payout))
    elif of_log != payout:
        expected, found = differing(asdict(of_log), asdict(payout))
        yield Finding("", None, f"payout {payout.id}: is not what billing.payouts has", expected, found)


def _differing_accounts(scratch: Scratch) -> dict[tuple[str, str], tuple[str, str]]:
    """Return (kind, account) to the sums that differ each time that they are taken."""
    differing_now: dict[tuple[str, str], tuple[str, str]] = {}
    for attempt in range(_AGAIN_MAX):
        rows = {(kind, account): (expected, found) for kind, account, expected, found in scratch.rows(_ACCOUNTS)}
        differing_now = {key: sums for key, sums in rows.items() if attempt == 0 or key in differing_now}
        if not differing_now:
            break
    return differing_now


def _notes(client: Client, payouts: list[MadePayout]) -> list[str]:
    """Say what was posted into months after they were settled: the next payout has it (R11.2), so it is no damage."""
    notes = []
    for builder in sorted({each.builder for each in payouts}):
        made = [each for each in payouts if each.builder == builder]
        last = max(made, key=lambda each: each.month)
        settled = sum(each.fee_booked_pico + each.paid_pico for each in made) + last.carried_out_pico
        months = read_earnings(client, builder).get(builder, {})
        since_pico = sum(pico for month, pico in months.items() if month <= last.month) - settled
        if since_pico:
            notes.append(
                f"{builder}: {format_exact(since_pico)} {last.currency} was posted into {last.month} or before since "
                f"{last.id} was made: the next payout has it"
            )
    return notes
