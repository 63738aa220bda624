-- Read-only access for people and BI tools on a ClickHouse server: run once, by an administrator, after `usage migrate`.
--
--   clickhouse-client --multiquery < deploy/clickhouse/tenants.sql
--
-- Then give a tenant a user, and say whose rows it sees:
--
--   CREATE USER acme_bi IDENTIFIED WITH sha256_password BY '...' DEFAULT ROLE usage_tenant SETTINGS PROFILE 'usage_readonly';
--   INSERT INTO usage.tenants (user, customer) VALUES ('acme_bi', 'acme');
--
-- A tenant's user sees no row unless usage.tenants names it: deny by default. Views are read with the rights of who asks, so
-- the policies of the tables below them hold whatever is asked. Users without this role see every row that they may read.
CREATE TABLE IF NOT EXISTS usage.tenants
(
    user String,
    customer String DEFAULT '',
    builder String DEFAULT ''
)
ENGINE = ReplacingMergeTree
ORDER BY (user, customer, builder);

-- 2: reads only, but a BI tool may send settings with its queries; not these.
CREATE SETTINGS PROFILE IF NOT EXISTS usage_readonly SETTINGS readonly = 2, max_execution_time = 60 CONST, max_memory_usage = 4000000000 CONST;

-- For operators' BI: every row of the views, and nothing else.
CREATE ROLE IF NOT EXISTS usage_reader;
GRANT SELECT ON usage.* TO usage_reader;

-- For a customer's or a builder's BI: only its rows.
CREATE ROLE IF NOT EXISTS usage_tenant;
GRANT SELECT ON usage.lines_v1 TO usage_tenant;
GRANT SELECT ON usage.statements_v1 TO usage_tenant;
GRANT SELECT ON usage.statement_details_v1 TO usage_tenant;
GRANT SELECT ON usage.usage_daily_v1 TO usage_tenant;
GRANT SELECT ON usage.usage_hourly_v1 TO usage_tenant;
GRANT SELECT ON usage.closings_v1 TO usage_tenant;
GRANT SELECT ON usage.tenants TO usage_tenant;
-- Columns, not tables: a tenant is told its charge, not how it is shared (docs/api.md). `SELECT *` is refused, too.
GRANT SELECT(customer, seq, version, event_id, source, time, posted_at, period, late, builder, app, plan, plan_version, deployment, environment, workspace, feature, model, class, request_type, unit, kind, quantity, included, granted, overage, blocked, input_tokens, cached_input_tokens, output_tokens, surcharge_pico, charge_pico, pools, catalog) ON usage.usage_lines TO usage_tenant;
GRANT SELECT(customer, period, app, day, builder, plan, plan_version, deployment, environment, workspace, feature, model, class, unit, kind, late, upto, last_seq, lines, quantity, included, granted, overage, blocked, input_tokens, cached_input_tokens, output_tokens, surcharge_pico, charge_pico) ON usage.rollup_days TO usage_tenant;
GRANT SELECT ON usage.closings TO usage_tenant;

-- Before anything is restricted: whoever has not this role, the pipeline above all, sees every row, whatever the server's
-- `users_without_row_policies_can_read_rows` is.
CREATE ROW POLICY IF NOT EXISTS usage_others ON usage.tenants FOR SELECT USING 1 TO ALL EXCEPT usage_tenant;
CREATE ROW POLICY IF NOT EXISTS usage_others ON usage.usage_lines FOR SELECT USING 1 TO ALL EXCEPT usage_tenant;
CREATE ROW POLICY IF NOT EXISTS usage_others ON usage.rollup_days FOR SELECT USING 1 TO ALL EXCEPT usage_tenant;
CREATE ROW POLICY IF NOT EXISTS usage_others ON usage.closings FOR SELECT USING 1 TO ALL EXCEPT usage_tenant;

CREATE ROW POLICY IF NOT EXISTS usage_tenant_self ON usage.tenants FOR SELECT USING user = currentUser() AS RESTRICTIVE TO usage_tenant;
CREATE ROW POLICY IF NOT EXISTS usage_tenant_self_seen ON usage.tenants FOR SELECT USING 1 TO usage_tenant;
CREATE ROW POLICY IF NOT EXISTS usage_tenant_lines ON usage.usage_lines FOR SELECT
USING customer IN (SELECT customer FROM usage.tenants WHERE user = currentUser() AND customer != '')
   OR builder IN (SELECT builder FROM usage.tenants WHERE user = currentUser() AND builder != '')
TO usage_tenant;
CREATE ROW POLICY IF NOT EXISTS usage_tenant_days ON usage.rollup_days FOR SELECT
USING customer IN (SELECT customer FROM usage.tenants WHERE user = currentUser() AND customer != '')
   OR builder IN (SELECT builder FROM usage.tenants WHERE user = currentUser() AND builder != '')
TO usage_tenant;
CREATE ROW POLICY IF NOT EXISTS usage_tenant_closings ON usage.closings FOR SELECT
USING customer IN (SELECT customer FROM usage.tenants WHERE user = currentUser() AND customer != '')
TO usage_tenant;
