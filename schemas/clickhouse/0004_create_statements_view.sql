-- The rows of statements (R8.1) before rounding: quantities of kind `usage`, the charge of every kind.
-- A statement rounds each row's charge to the cent, half to even, and sums the rounded rows (R5.4).
CREATE OR REPLACE VIEW usage.statements_v1 AS
SELECT
    customer,
    app,
    period,
    feature,
    unit,
    sumIf(quantity, kind = 'usage') AS quantity,
    sum(included) AS included,
    sum(granted) AS granted,
    sum(overage) AS overage,
    sum(blocked) AS blocked,
    CAST(sum(toInt256(charge_pico)) * toDecimal128('0.000000000001', 12), 'Decimal(38, 12)') AS charge,
    count() AS lines
FROM usage.usage_lines FINAL
GROUP BY customer, app, period, feature, unit;
