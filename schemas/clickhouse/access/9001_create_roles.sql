-- Roles and row policies for people and BI tools (docs/sql.md). Applied by `usage migrate --access`, as a user that may manage
-- access: the pipeline's own needs no such right. Then give a tenant a user, and say whose rows it sees:
--
--   CREATE USER acme_bi IDENTIFIED WITH sha256_password BY '...' DEFAULT ROLE usage_customer SETTINGS PROFILE 'usage_readonly';
--   INSERT INTO usage.tenants (user, customer) VALUES ('acme_bi', 'acme');
--
-- A tenant's user sees no row unless usage.tenants names it: deny by default. Views are read with the rights of who asks, so
-- the policies of the tables below them hold whatever is asked.
CREATE TABLE IF NOT EXISTS usage.tenants
(
    user String,
    customer String DEFAULT '',
    builder String DEFAULT ''
)
ENGINE = ReplacingMergeTree
ORDER BY (user, customer, builder);

-- 2: reads only, but a BI tool may send settings with its queries; not these.
CREATE SETTINGS PROFILE IF NOT EXISTS usage_readonly SETTINGS readonly = 2, enable_shared_storage_snapshot_in_query = 1, max_execution_time = 60 CONST, max_memory_usage = 4000000000 CONST;

-- For operators' BI: every row of the views, and nothing else.
CREATE ROLE IF NOT EXISTS usage_reader;
GRANT SELECT ON usage.* TO usage_reader;

-- For a customer's BI: only its rows. Columns, not tables: a customer is told its charge, not how it is shared (docs/api.md).
CREATE ROLE IF NOT EXISTS usage_customer;
GRANT SELECT ON usage.lines_v1 TO usage_customer;
GRANT SELECT ON usage.statements_v1 TO usage_customer;
GRANT SELECT ON usage.statement_details_v1 TO usage_customer;
GRANT SELECT ON usage.usage_daily_v1 TO usage_customer;
GRANT SELECT ON usage.usage_hourly_v1 TO usage_customer;
GRANT SELECT ON usage.closings_v1 TO usage_customer;
GRANT SELECT ON usage.live_days TO usage_customer;
GRANT SELECT ON usage.rollup_behind TO usage_customer;
GRANT SELECT ON usage.tenants TO usage_customer;
GRANT SELECT ON usage.closings TO usage_customer;
GRANT SELECT ON usage.line_heads TO usage_customer;
GRANT SELECT(customer, seq, version, event_id, source, time, posted_at, period, late, builder, app, plan, plan_version, deployment, environment, workspace, feature, model, class, request_type, unit, kind, quantity, included, granted, overage, blocked, input_tokens, cached_input_tokens, output_tokens, surcharge_pico, charge_pico, pools, catalog) ON usage.usage_lines TO usage_customer;
GRANT SELECT(customer, period, app, day, builder, plan, plan_version, deployment, environment, workspace, feature, model, class, unit, kind, late, upto, last_seq, lines, quantity, included, granted, overage, blocked, input_tokens, cached_input_tokens, output_tokens, surcharge_pico, charge_pico) ON usage.rollup_days TO usage_customer;

-- For a builder's BI: the rows of its apps, with cost and what it earns; not what providers are owed.
CREATE ROLE IF NOT EXISTS usage_builder;
GRANT SELECT ON usage.lines_v1 TO usage_builder;
GRANT SELECT ON usage.statements_v1 TO usage_builder;
GRANT SELECT ON usage.statement_details_v1 TO usage_builder;
GRANT SELECT ON usage.usage_daily_v1 TO usage_builder;
GRANT SELECT ON usage.usage_hourly_v1 TO usage_builder;
GRANT SELECT ON usage.closings_v1 TO usage_builder;
GRANT SELECT ON usage.builder_earnings_v1 TO usage_builder;
GRANT SELECT ON usage.margin_v1 TO usage_builder;
GRANT SELECT ON usage.payouts_v1 TO usage_builder;
GRANT SELECT ON usage.live_days TO usage_builder;
GRANT SELECT ON usage.rollup_behind TO usage_builder;
GRANT SELECT ON usage.tenants TO usage_builder;
GRANT SELECT ON usage.closings TO usage_builder;
GRANT SELECT ON usage.line_heads TO usage_builder;
GRANT SELECT(customer, seq, version, event_id, source, time, posted_at, period, late, builder, app, plan, plan_version, deployment, environment, workspace, feature, model, class, request_type, unit, kind, quantity, included, granted, overage, blocked, input_tokens, cached_input_tokens, output_tokens, surcharge_pico, charge_pico, pools, catalog, cost_pico, cost_charged_pico, margin_pico, builder_earnings_pico) ON usage.usage_lines TO usage_builder;
GRANT SELECT(customer, period, app, day, builder, plan, plan_version, deployment, environment, workspace, feature, model, class, unit, kind, late, upto, last_seq, lines, quantity, included, granted, overage, blocked, input_tokens, cached_input_tokens, output_tokens, surcharge_pico, charge_pico, cost_pico, cost_charged_pico, margin_pico, builder_earnings_pico) ON usage.rollup_days TO usage_builder;
GRANT SELECT(id, builder, month, made_at, currency, earnings_pico, fee_pico, carried_in_pico, paid_pico, carried_out_pico) ON usage.payouts TO usage_builder;

-- Before anything is restricted: whoever has neither role, the pipeline above all, sees every row, whatever the server's
-- `users_without_row_policies_can_read_rows` is.
CREATE ROW POLICY IF NOT EXISTS usage_others ON usage.usage_lines FOR SELECT USING 1 TO ALL EXCEPT usage_customer, usage_builder;
CREATE ROW POLICY IF NOT EXISTS usage_others ON usage.rollup_days FOR SELECT USING 1 TO ALL EXCEPT usage_customer, usage_builder;
CREATE ROW POLICY IF NOT EXISTS usage_others ON usage.line_heads FOR SELECT USING 1 TO ALL EXCEPT usage_customer, usage_builder;
CREATE ROW POLICY IF NOT EXISTS usage_others ON usage.closings FOR SELECT USING 1 TO ALL EXCEPT usage_customer, usage_builder;
CREATE ROW POLICY IF NOT EXISTS usage_others ON usage.payouts FOR SELECT USING 1 TO ALL EXCEPT usage_customer, usage_builder;
CREATE ROW POLICY IF NOT EXISTS usage_others ON usage.tenants FOR SELECT USING 1 TO ALL EXCEPT usage_customer, usage_builder;

CREATE ROW POLICY IF NOT EXISTS usage_self ON usage.tenants FOR SELECT USING user = currentUser() TO usage_customer, usage_builder;
CREATE ROW POLICY IF NOT EXISTS usage_customer ON usage.usage_lines FOR SELECT USING customer IN (SELECT customer FROM usage.tenants WHERE user = currentUser() AND customer != '') TO usage_customer;
CREATE ROW POLICY IF NOT EXISTS usage_customer ON usage.rollup_days FOR SELECT USING customer IN (SELECT customer FROM usage.tenants WHERE user = currentUser() AND customer != '') TO usage_customer;
CREATE ROW POLICY IF NOT EXISTS usage_customer ON usage.line_heads FOR SELECT USING customer IN (SELECT customer FROM usage.tenants WHERE user = currentUser() AND customer != '') TO usage_customer;
CREATE ROW POLICY IF NOT EXISTS usage_customer ON usage.closings FOR SELECT USING customer IN (SELECT customer FROM usage.tenants WHERE user = currentUser() AND customer != '') TO usage_customer;

-- Which customers a builder has is what its own rows of the rollup say.
CREATE ROW POLICY IF NOT EXISTS usage_builder ON usage.usage_lines FOR SELECT USING builder IN (SELECT builder FROM usage.tenants WHERE user = currentUser() AND builder != '') TO usage_builder;
CREATE ROW POLICY IF NOT EXISTS usage_builder ON usage.rollup_days FOR SELECT USING builder IN (SELECT builder FROM usage.tenants WHERE user = currentUser() AND builder != '') TO usage_builder;
CREATE ROW POLICY IF NOT EXISTS usage_builder ON usage.payouts FOR SELECT USING builder IN (SELECT builder FROM usage.tenants WHERE user = currentUser() AND builder != '') TO usage_builder;
CREATE ROW POLICY IF NOT EXISTS usage_builder ON usage.line_heads FOR SELECT USING customer IN (SELECT customer FROM usage.rollup_days WHERE builder IN (SELECT builder FROM usage.tenants WHERE user = currentUser() AND builder != '')) TO usage_builder;
CREATE ROW POLICY IF NOT EXISTS usage_builder ON usage.closings FOR SELECT USING (customer, app) IN (SELECT customer, app FROM usage.rollup_days WHERE builder IN (SELECT builder FROM usage.tenants WHERE user = currentUser() AND builder != '')) TO usage_builder;
