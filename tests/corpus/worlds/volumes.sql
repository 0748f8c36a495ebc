-- Hidden rows, {{more}} times more. Runs after world.sql, in every world: with {{more}} = 0 it changes nothing, and object ids stay alike.
-- The copies keep what hides them and get keys of their own; rows of unfiltered tables are all visible and are not copied.

INSERT INTO crm.customers
SELECT (jsonb_populate_record(t, jsonb_build_object('id', t.id + 100000 * k))).* FROM crm.customers AS t, generate_series(1, {{more}}) AS k WHERE t.region <> 'eu' ORDER BY k, t.id;
INSERT INTO crm.contacts
SELECT (jsonb_populate_record(t, jsonb_build_object('id', t.id + 100000 * k))).* FROM crm.contacts AS t, generate_series(1, {{more}}) AS k WHERE t.region <> 'eu' OR t.tenant_id <> 3 ORDER BY k, t.id;
INSERT INTO billing.invoices
SELECT (jsonb_populate_record(t, jsonb_build_object('id', t.id + 100000 * k))).* FROM billing.invoices AS t, generate_series(1, {{more}}) AS k WHERE t.tenant_id <> 3 ORDER BY k, t.id;
INSERT INTO billing.invoice_lines
SELECT (jsonb_populate_record(t, jsonb_build_object('id', t.id + 100000 * k))).* FROM billing.invoice_lines AS t, generate_series(1, {{more}}) AS k WHERE t.tenant_id <> 3 ORDER BY k, t.id;
INSERT INTO people.staff
SELECT (jsonb_populate_record(t, jsonb_build_object('id', t.id + 100000 * k))).* FROM ONLY people.staff AS t, generate_series(1, {{more}}) AS k WHERE t.left_on IS NOT NULL ORDER BY k, t.id;
INSERT INTO people.contractors
SELECT (jsonb_populate_record(t, jsonb_build_object('id', t.id + 100000 * k))).* FROM people.contractors AS t, generate_series(1, {{more}}) AS k WHERE t.left_on IS NOT NULL ORDER BY k, t.id;
INSERT INTO crm.vault
SELECT (jsonb_populate_record(t, jsonb_build_object('id', t.id + 100000 * k))).* FROM crm.vault AS t, generate_series(1, {{more}}) AS k ORDER BY k, t.id;
INSERT INTO people.medical
SELECT (jsonb_populate_record(t, jsonb_build_object('id', t.id + 100000 * k))).* FROM people.medical AS t, generate_series(1, {{more}}) AS k ORDER BY k, t.id;

REFRESH MATERIALIZED VIEW crm.customer_report;
REFRESH MATERIALIZED VIEW crm.tenant_revenue;
ANALYZE;
