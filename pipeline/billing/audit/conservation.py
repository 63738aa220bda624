"""What every line must hold by itself (R7.3, R6 and R2.2), whatever the table's constraints were when it was written."""

from pipeline.billing.audit.findings import Check
from pipeline.billing.audit.scratch import Scratch

_EMPTY_UNLESS_USAGE = (
    "kind = 'usage' OR (included = 0 AND granted = 0 AND overage = 0 AND blocked = 0 AND margin_pico = 0 "
    "AND surcharge_pico = 0 AND empty(pools))"
)
_COST_SHARE = (
    # Half to even, so at most half of a picodollar off; in Int256, since the product of both exceeds Int128.
    "kind != 'usage' OR if(quantity = 0, cost_charged_pico IN (0, cost_pico), "
    "2 * abs(toInt256(cost_charged_pico) * quantity - toInt256(cost_pico) * overage) <= quantity)"
)
_RULES = {
    "R7.3: quantity = included + granted + overage + blocked": (
        "kind != 'usage' OR toInt256(quantity) = toInt256(included) + granted + overage + blocked"
    ),
    "R7.3: charge = provider_reward + builder_earnings": (
        "toInt256(charge_pico) = toInt256(provider_reward_pico) + builder_earnings_pico"
    ),
    "R6.9: provider_reward = cost_charged": "provider_reward_pico = cost_charged_pico",
    "R6.7: charge = cost_charged + margin + surcharge": (
        "toInt256(charge_pico) = toInt256(cost_charged_pico) + margin_pico + surcharge_pico"
    ),
    "R6.7: cost_charged = cost x overage / quantity": _COST_SHARE,
    "R6.4: units of pools = included + granted": "toInt256(arraySum(pools.units)) = toInt256(included) + granted",
    "R6.3: only usage takes from pools and earns": _EMPTY_UNLESS_USAGE,
    "R6.3: byok and non_billable cost nothing": "kind NOT IN ('byok', 'non_billable') OR charge_pico = 0",
    "R6.3: failed and repeat cost nothing, or the cost": (
        "kind NOT IN ('failed', 'repeat') OR charge_pico IN (0, cost_pico)"
    ),
    "R6.2: kind is known": "kind IN ('usage', 'byok', 'non_billable', 'failed', 'repeat')",
    "R5.2: cost is not negative": "cost_pico >= 0 AND (kind != 'byok' OR cost_pico = 0)",
    "R3.1: posted in the period": "toDate(posted_at) >= period AND toDate(posted_at) < addMonths(period, 1)",
    "R3.2: posted at its own time, unless late": "late OR posted_at = time",
    "R7.1: deployment = source": "deployment = source",
    "R2.2: counts are at most 10^12": (
        "greatest(quantity, included, granted, overage, blocked, input_tokens, cached_input_tokens, output_tokens) "
        "<= 1000000000000"
    ),
}

_BROKEN = """
SELECT customer, toInt64(seq) AS line, arrayStringConcat(broken, '; ') AS what, '' AS expected, shown AS found
FROM (
    SELECT customer, seq,
        arrayFilter((name, holds) -> NOT holds, [@names], [@conditions]) AS broken,
        concat(kind, ', quantity ', toString(quantity), ' = ', toString(included), ' + ', toString(granted), ' + ',
            toString(overage), ' + ', toString(blocked), ', cost ', toString(cost_pico), ', charge ', toString(charge_pico),
            ' = ', toString(cost_charged_pico), ' + ', toString(margin_pico), ' + ', toString(surcharge_pico), ' = ',
            toString(provider_reward_pico), ' + ', toString(builder_earnings_pico)) AS shown
    FROM usage.usage_lines FINAL
    WHERE period = {period:Date} AND @scope AND NOT (@all)
)
"""


def check_conservation(scratch: Scratch) -> Check:
    """Check every line of the period by itself."""
    check = Check("conservation", ("R7.3", "R6.9", "R6.7", "R6.4"), "every line adds up by itself")
    conditions = list(_RULES.values())
    sql = _BROKEN.replace("@names", ", ".join(f"'{name}'" for name in _RULES))
    sql = sql.replace("@conditions", ", ".join(f"toBool({condition})" for condition in conditions))
    sql = sql.replace("@all", " AND ".join(f"({condition})" for condition in conditions))
    scratch.collect(check, sql.replace("@scope", scratch.scope.of_customer()))
    return check
