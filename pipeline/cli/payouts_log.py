"""The topic billing.payouts, read to its end."""

from dataclasses import dataclass, field

from pipeline.cli.audit_log import Logs
from pipeline.codec.payouts import decode_payout
from pipeline.domain.payouts import MadePayout
from pipeline.domain.records import PAYOUTS_TOPIC


@dataclass(slots=True)
class PayoutLog:
    """What billing.payouts holds."""

    made: dict[str, MadePayout] = field(default_factory=dict)
    """By id: the first record of an id counts (R11.4)."""
    faults: list[str] = field(default_factory=list)
    """Where a record is no payout, and why."""


async def read_payout_log(logs: Logs) -> PayoutLog:
    """Return what the topic holds now, as far as it is committed. Raises LogError, KafkaError."""
    log = PayoutLog()
    async for records in logs.read(await logs.begins(PAYOUTS_TOPIC), await logs.ends(PAYOUTS_TOPIC)):
        for record in records:
            try:
                payout = decode_payout(record.value)
            except ValueError as fault:
                log.faults.append(f"{PAYOUTS_TOPIC}/{record.partition} offset {record.offset} is no payout ({fault})")
            else:
                log.made.setdefault(payout.id, payout)
    return log
