-- Two worlds. Run once with {{world}} = 0 and once with {{world}} = 1, each in an empty UTF8 database.
--
-- What the grant in policy.yaml may see is equal in both. What it may not see differs: hidden columns of all
-- rows, every column of hidden rows that no filter, key or index reads, and of masked values the part that the mask
-- removes. Secrets stand in another order in each world (`p`, a permutation), so that an order that leaks shows.
-- Alike in both: number of rows, their physical order and width, n_distinct of each column, and every index.
--
-- A secret can be told by its marker. None of these may ever be in anything that a task sees:
--   text, varchar, char, json, bytea   SECRET0 / SECRET1         (bytea prints it as 53454352455430 / …31)
--   numbers                            starting with 707 / 717   (smallint and partly masked ones too)
--   uuid                               5ec2e700… / 5ec2e701…
--   date, timestamp                    the years 1707 / 1717
--   time                               07:07:… / 07:17:…
--   interval, inet                     707 days / 717 days, 10.7.0.… / 10.7.1.…
-- Booleans and enums only differ; so do numbers under `bucket` and times under `truncate`, in the part that goes: there 707123 / 717123
-- stands behind the millions, a whole number of its own where these are none. Columns under the mask `hash` or `pseudonym` must be equal where they can be seen; their values
-- contain SECRETH, which must not be seen either. So the text SECRET is never in anything visible.
--
-- A row is hidden by region <> 'eu', by tenant_id <> 3 (the claim of the task), or by left_on being set.
-- Statistics must not move under the tests: no autovacuum, and ANALYZE at the end.

CREATE SCHEMA crm;
CREATE SCHEMA billing;
CREATE SCHEMA people;

CREATE TYPE crm.tier AS ENUM ('basic', 'silver', 'gold');
CREATE TYPE crm.channel AS ENUM ('mail', 'phone', 'post', 'visit');
CREATE TYPE billing.invoice_status AS ENUM ('draft', 'sent', 'paid', 'void');
CREATE DOMAIN crm.short_code AS text CHECK (length(VALUE) <= 12);
CREATE SEQUENCE crm.ticket_number START 1000;

-- crm.customers: filter region = 'eu', a mask of every kind --------------------------------------------

CREATE TABLE crm.customers (
    id            bigint PRIMARY KEY,
    tenant_id     integer NOT NULL,
    region        text NOT NULL,
    name          text NOT NULL,        -- hash
    email         text,                 -- email
    phone         varchar(32),          -- partial 3
    card          varchar(32),          -- partial 4
    birth_date    date,                 -- redact
    tier          crm.tier NOT NULL,
    active        boolean NOT NULL,
    joined_at     timestamptz NOT NULL,
    score         double precision,
    tags          text[],
    ref           uuid NOT NULL,        -- partial 6
    last_login    timestamptz,          -- null
    profile       jsonb,                -- redact
    credit_limit  numeric(12,2),        -- hide
    risk          smallint,             -- hide
    internal_note text                  -- hide
) WITH (autovacuum_enabled = false);

INSERT INTO crm.customers
SELECT i,
       CASE WHEN seen THEN 1 + i % 5 ELSE 7{{world}}7000 + i % 5 END,
       CASE WHEN seen THEN 'eu' WHEN (i % 5 = 1) = ({{world}} = 0) THEN 'us' ELSE 'jp' END,
       CASE WHEN seen THEN 'SECRETH ' || (ARRAY['Anna Berg', 'Bruno Costa', 'Clara Dahl', 'Dario Ema', 'Elsa Fink', 'Fritz Gal'])[1 + i % 6] || ' ' || i / 12
            ELSE 'SECRET{{world}} Name ' || lpad(p::text, 3, '0') END,
       CASE i WHEN 2 THEN 'SECRET{{world}}@corp.example,bob@corp.example'
              WHEN 5 THEN '"SECRET{{world}}@smith"@ex.example'
              WHEN 7 THEN '@SECRET{{world}}_handle'
              WHEN 8 THEN 'Alice <SECRET{{world}}@x.example> / call SECRET{{world}}'
              WHEN 10 THEN E'SECRET{{world}}@x.example\nsecond line SECRET{{world}}'
              WHEN 12 THEN NULL
              WHEN 13 THEN ''
              WHEN 15 THEN 'SECRET{{world}}@münchen.example'
              WHEN 17 THEN 'SECRET{{world}}@host.example '
              WHEN 18 THEN 'SECRET{{world}}ÄÖ' || lpad(p::text, 3, '0') || '@host.example'
              ELSE 'SECRET{{world}}.' || lpad(p::text, 3, '0') || '@'
                   || CASE WHEN seen THEN (ARRAY['north.example', 'mail.example', 'Post.Example', 'a-b.co.example'])[1 + i % 4] ELSE 'SECRET{{world}}.example' END END,
       CASE WHEN i = 20 THEN '7{{world}}7' WHEN i = 22 THEN NULL WHEN i = 23 THEN '' ELSE 'SECRET{{world}} ' || lpad(p::text, 4, '0') || ' ' || lpad((i * 13 % 600)::text, 3, '0') END,
       CASE WHEN i = 25 THEN 'SECRET{{world}}' WHEN i = 27 THEN NULL
            WHEN i = 28 THEN 'SECRET{{world}} ' || lpad(p::text, 4, '0') || ' ñé12'
            ELSE 'SECRET{{world}}-' || lpad(p::text, 4, '0') || '-' || lpad((i * 53 % 6000)::text, 4, '0') END,
       date '17{{world}}7-01-01' + p,
       (ARRAY['basic', 'silver', 'gold'])[1 + (i + CASE WHEN seen THEN 0 ELSE {{world}} END) % 3]::crm.tier,
       (i + CASE WHEN seen THEN 0 ELSE {{world}} END) % 2 = 0,
       CASE WHEN seen THEN timestamptz '2022-03-01 08:00:00+00' + i * interval '3 days 5 hours' ELSE timestamptz '17{{world}}7-03-01 08:00:00+00' + p * interval '1 day' END,
       CASE WHEN seen THEN i % 17 + 0.25 ELSE 7{{world}}7000 + p + 0.25 END,
       CASE WHEN NOT seen AND i % 2 = 0 THEN ARRAY['SECRET{{world}}', 'tag', 'x'] WHEN NOT seen THEN ARRAY['SECRET{{world}}', 'tag'] WHEN i % 14 = 7 THEN NULL WHEN i % 18 = 9 THEN ARRAY[]::text[] ELSE ARRAY[(ARRAY['new', 'vip', 'net'])[1 + i % 3], 'tag'] END,
       ('5ec2e70{{world}}-0000-4000-8' || lpad(p::text, 3, '0') || '-000000' || lpad((i * 11)::text, 6, '0'))::uuid,
       timestamptz '17{{world}}7-06-01 12:00:00+00' + p * interval '1 hour',
       jsonb_build_object('plan', 'SECRET{{world}}', 'limit', 7{{world}}7000 + p, 'keys', jsonb_build_array('SECRET{{world}}', p % 10)),
       7{{world}}7000 + p + 0.37,
       7{{world}}70 + p % 10,
       'SECRET{{world}} note ' || lpad(p::text, 3, '0')
  FROM generate_series(1, 120) AS i, LATERAL (SELECT 1 + (i * (7 + 4 * {{world}})) % 120 AS p, i % 5 IN (0, 2, 3) AS seen) AS row_;

-- crm.contacts: two filters at once ----------------------------------------------------------------------

CREATE TABLE crm.contacts (
    id             bigint PRIMARY KEY,
    customer_id    bigint NOT NULL REFERENCES crm.customers,
    tenant_id      integer NOT NULL,
    region         text NOT NULL,
    channel        crm.channel NOT NULL,
    address        varchar(80),         -- email
    backup_email   text,                -- two labels, the stricter hides
    mobile         text,                -- two labels, partial 3 and partial 4
    verified       boolean NOT NULL,
    answer         text,                -- hide
    preferred_time time,                -- redact
    noted_on       date NOT NULL,
    weight         numeric(10,3)
) WITH (autovacuum_enabled = false);
CREATE INDEX contacts_customer_id ON crm.contacts (customer_id);

INSERT INTO crm.contacts
SELECT i, 1 + (i * 7) % 120,
       CASE WHEN i % 4 <> 3 THEN 3 ELSE 7{{world}}7000 + i % 3 END,
       CASE WHEN i % 3 <> 1 THEN 'eu' WHEN (i % 2 = 0) = ({{world}} = 0) THEN 'us' ELSE 'jp' END,
       (ARRAY['mail', 'phone', 'post', 'visit'])[1 + (i / 4 + CASE WHEN seen THEN 0 ELSE {{world}} * 2 END) % 4]::crm.channel,
       CASE WHEN i % 31 = 0 THEN NULL WHEN i % 29 = 0 THEN 'SECRET{{world}} is no address' ELSE 'SECRET{{world}}+' || lpad(p::text, 3, '0') || '@' || CASE WHEN seen THEN 'list' || i % 3 || '.example' ELSE 'SECRET{{world}}.example' END END,
       'SECRET{{world}}.' || lpad(p::text, 3, '0') || '@backup.example',
       'SECRET{{world}} ' || lpad(p::text, 3, '0') || ' ' || lpad((i * 17 % 600)::text, 3, '0'),
       i % 2 = 0,
       'SECRET{{world}} ' || (ARRAY['rose', 'lily', 'iris'])[1 + p % 3],
       time '07:{{world}}7:00' + (p % 60) * interval '1 second',
       CASE WHEN seen THEN date '2023-02-01' + i ELSE date '17{{world}}7-02-01' + p END,
       CASE WHEN seen THEN i * 1.125 ELSE 7{{world}}7000 + p + 0.375 END
  FROM generate_series(1, 240) AS i, LATERAL (SELECT 1 + (i * (7 + 4 * {{world}})) % 240 AS p, i % 4 <> 3 AND i % 3 <> 1 AS seen) AS row_;

-- crm.tickets: all rows, some columns --------------------------------------------------------------------

CREATE TABLE crm.tickets (
    id          integer PRIMARY KEY,
    customer_id bigint NOT NULL,
    subject     text NOT NULL,
    body        text,                   -- hide
    priority    smallint NOT NULL,
    open        boolean NOT NULL,
    opened_at   timestamptz NOT NULL,
    closed_at   timestamp,
    agent_login varchar(40),            -- hash
    callback    time,                   -- redact
    attachment  bytea,                  -- redact
    minutes     integer,
    remark      text,                   -- label ops.note: redacted, but this grant may see it
    cost        numeric(12,2),          -- partial 2
    sentiment   double precision        -- a label that no mask knows: hide
) WITH (autovacuum_enabled = false);
CREATE INDEX tickets_opened_at ON crm.tickets (opened_at);

INSERT INTO crm.tickets
SELECT i, 1 + (i * 11) % 120,
       (ARRAY['Printer on fire', 'Invoice unclear', 'Cannot log in', 'Please call me', 'Wrong colour', '100% cotton?'])[1 + i % 6],
       'SECRET{{world}} body ' || lpad(p::text, 3, '0'),
       1 + i % 4, i % 3 = 0,
       timestamptz '2024-01-05 06:30:00+00' + i * interval '7 hours 10 minutes',
       CASE WHEN i % 3 <> 0 THEN timestamp '2024-01-06 10:00:00' + i * interval '7 hours 30 minutes' END,
       CASE WHEN i % 13 = 0 THEN NULL ELSE 'SECRETH-agent-' || i % 9 END,
       time '07:{{world}}7:00' + (p % 60) * interval '1 second',
       convert_to('SECRET{{world}} file ' || lpad(p::text, 3, '0'), 'UTF8'),
       (i * 37) % 95,
       CASE WHEN i % 5 = 0 THEN NULL ELSE 'seen by shift ' || i % 4 END,
       (CASE WHEN i % 4 = 0 THEN -1 ELSE 1 END) * ((7{{world}}700 + p % 100) * 100 + i % 60 + (p % 90 + 10) / 100.0),
       7{{world}}7 + p / 1000.0
  FROM generate_series(1, 200) AS i, LATERAL (SELECT 1 + (i * (7 + 4 * {{world}})) % 200 AS p) AS row_;

-- crm.type_zoo: each mask over each type, extremes included --------------------------------------------

CREATE TABLE crm.type_zoo (
    id integer PRIMARY KEY, grp smallint NOT NULL,
    r_int2 smallint, r_int4 integer, r_int8 bigint, r_numeric numeric, r_float4 real, r_float8 double precision, r_bool boolean, r_date date, r_timestamp timestamp, r_timestamptz timestamptz,
    r_time time, r_timetz timetz, r_interval interval, r_uuid uuid, r_tier crm.tier, r_jsonb jsonb, r_json json, r_bytea bytea, r_text text, r_varchar varchar(12), r_char char(10), r_texts text[], r_ints integer[],
    r_inet inet, r_code crm.short_code,
    n_int2 smallint, n_int4 integer, n_int8 bigint, n_numeric numeric(14,2), n_float8 double precision, n_bool boolean, n_date date, n_timestamptz timestamptz, n_time time, n_interval interval, n_uuid uuid, n_tier crm.tier,
    n_jsonb jsonb, n_json json, n_bytea bytea, n_text text, n_varchar varchar(12), n_char char(10), n_texts text[], n_code crm.short_code,
    p_int2 smallint, p_int4 integer, p_int8 bigint, p_numeric numeric(20,4), p_unscaled numeric, p_float4 real, p_float8 double precision, p_text text, p_varchar varchar(24), p_narrow varchar(7), p_char char(14), p_uuid uuid,
    p_bool boolean, p_date date, p_time time, p_timestamptz timestamptz, p_tier crm.tier, p_jsonb jsonb, p_bytea bytea, p_texts text[],
    e_text text, e_varchar varchar(60), e_int4 integer, e_date date, e_jsonb jsonb,
    h_int2 smallint, h_int4 integer, h_int8 bigint, h_numeric numeric(12,2), h_text text, h_varchar varchar(30), h_uuid uuid, h_date date, h_bool boolean, h_tier crm.tier, h_bytea bytea
) WITH (autovacuum_enabled = false, fillfactor = 10);

INSERT INTO crm.type_zoo
SELECT i, 1 + i % 3,
       -- redact: row 1 and 2 hold the least and the greatest value, 3 is null in both
       CASE i WHEN 1 THEN -32768 WHEN 2 THEN 32767 WHEN 3 THEN NULL ELSE 7{{world}}70 + (i + 5 * {{world}}) % 10 END,
       CASE i WHEN 1 THEN -2147483648 WHEN 2 THEN 2147483647 WHEN 3 THEN NULL ELSE 7{{world}}7000 + p END,
       CASE i WHEN 1 THEN -9223372036854775808 WHEN 2 THEN 9223372036854775807 WHEN 3 THEN NULL ELSE 7{{world}}7000000000 + p END,
       CASE i WHEN 1 THEN 'NaN' WHEN 2 THEN 'Infinity' WHEN 3 THEN NULL ELSE 7{{world}}7000.5 + p END,
       CASE i WHEN 1 THEN 'NaN' WHEN 2 THEN '-Infinity' WHEN 3 THEN NULL ELSE (7{{world}}7000 + p)::real END,
       CASE i WHEN 1 THEN '-1e300' WHEN 2 THEN '1e300' WHEN 3 THEN NULL ELSE 7{{world}}7000.5 + p END,
       p % 2 = 0,
       CASE i WHEN 1 THEN '-infinity' WHEN 2 THEN 'infinity' WHEN 3 THEN NULL ELSE date '17{{world}}7-04-01' + p END,
       CASE i WHEN 1 THEN '4713-01-01 BC' WHEN 2 THEN '294276-12-31' WHEN 3 THEN NULL ELSE timestamp '17{{world}}7-05-01 07:00:00' + p * interval '1 day' END,
       CASE i WHEN 1 THEN '-infinity' WHEN 2 THEN 'infinity' WHEN 3 THEN NULL ELSE timestamptz '17{{world}}7-06-01 07:00:00+00' + p * interval '1 day' END,
       CASE i WHEN 1 THEN '00:00' WHEN 2 THEN '24:00' WHEN 3 THEN NULL ELSE time '07:{{world}}7:00' + p * interval '1 second' END,
       timetz '07:{{world}}7:00+02' + p * interval '1 second',
       (7{{world}}7 || ' days ' || p || ' minutes')::interval,
       ('5ec2e70{{world}}-0000-4000-8000-' || lpad(p::text, 12, '0'))::uuid,
       (ARRAY['basic', 'silver', 'gold'])[1 + (p + {{world}}) % 3]::crm.tier,
       CASE i WHEN 1 THEN 'null' WHEN 3 THEN NULL ELSE jsonb_build_object('k', 'SECRET{{world}} ' || p % 10) END,
       json_build_object('k', 'SECRET{{world}} ' || p % 10),
       convert_to('SECRET{{world}} ' || lpad(p::text, 2, '0'), 'UTF8'),
       CASE i WHEN 1 THEN '' WHEN 2 THEN E'SECRET{{world}}\t\\x\n"' WHEN 3 THEN NULL ELSE 'SECRET{{world}} ' || lpad(p::text, 2, '0') END,
       'SECRET{{world}} ' || lpad(p::text, 2, '0'), 'SECRET{{world}}' || lpad(p::text, 2, '0'),
       CASE i WHEN 3 THEN NULL ELSE ARRAY['SECRET{{world}}', lpad(p::text, 2, '0')] END, ARRAY[7{{world}}7, 7{{world}}7000 + p],
       ('10.7.{{world}}.' || p)::inet, 'SECRET{{world}}-' || lpad(p::text, 2, '0'),
       -- null: here even which values are null differs, how many does not (the fillfactor keeps one row a page, so that widths do not matter)
       CASE WHEN h THEN 7{{world}}70 + p % 10 END, CASE WHEN h THEN 7{{world}}7000 + p END, CASE WHEN h THEN 7{{world}}7000000000 + p END, CASE WHEN h THEN 7{{world}}7000.5 + p END,
       CASE WHEN h THEN 7{{world}}7000.5 + p END, CASE WHEN h THEN p % 4 < 2 END, CASE WHEN h THEN date '17{{world}}7-04-01' + p END,
       CASE WHEN h THEN timestamptz '17{{world}}7-06-01 07:00:00+00' + p * interval '1 day' END, CASE WHEN h THEN time '07:{{world}}7:00' + p * interval '1 second' END,
       CASE WHEN h THEN (7{{world}}7 || ' days ' || p || ' minutes')::interval END, CASE WHEN h THEN ('5ec2e70{{world}}-0000-4000-8000-' || lpad(p::text, 12, '0'))::uuid END,
       CASE WHEN h THEN (ARRAY['basic', 'silver', 'gold'])[1 + p % 3]::crm.tier END, CASE WHEN h THEN jsonb_build_object('k', 'SECRET{{world}} ' || p % 10) END,
       CASE WHEN h THEN json_build_array('SECRET{{world}}', p % 10) END, CASE WHEN h THEN convert_to('SECRET{{world}} ' || lpad(p::text, 2, '0'), 'UTF8') END,
       CASE WHEN h THEN 'SECRET{{world}} ' || lpad(p::text, 2, '0') END, CASE WHEN h THEN 'SECRET{{world}} ' || lpad(p::text, 2, '0') END, CASE WHEN h THEN 'SECRET{{world}}' || lpad(p::text, 2, '0') END,
       CASE WHEN h THEN ARRAY['SECRET{{world}}', lpad(p::text, 2, '0')] END, CASE WHEN h THEN 'SECRET{{world}}-' || lpad(p::text, 2, '0') END,
       -- partial 4 (p_int2: 2): the end is equal, or the value too short to show one
       CASE i WHEN 1 THEN -32768 WHEN 2 THEN 32767 WHEN 3 THEN NULL WHEN 4 THEN 7{{world}}7 ELSE (7{{world}}00 + 70 + i % 10) * CASE WHEN i % 2 = 0 THEN -1 ELSE 1 END END,
       CASE i WHEN 1 THEN -2147483648 WHEN 2 THEN 2147483647 WHEN 3 THEN NULL WHEN 4 THEN 7{{world}}7000 + p ELSE ((7{{world}}70 + p % 10) * 10000 + i * 97) * CASE WHEN i % 2 = 0 THEN -1 ELSE 1 END END,
       CASE i WHEN 1 THEN -9223372036854775808 WHEN 2 THEN 9223372036854775807 WHEN 3 THEN NULL WHEN 4 THEN 7{{world}}7000 + p ELSE (7{{world}}70000 + p)::bigint * 10000 + i * 97 END,
       CASE i WHEN 1 THEN 'NaN' WHEN 2 THEN -9999999999999999.9999 WHEN 3 THEN NULL WHEN 4 THEN 7{{world}}7000 + p ELSE (7{{world}}70000 + p)::numeric * 10000 + i * 97 + (7{{world}}70 + p % 10) / 10000.0 END,
       CASE i WHEN 1 THEN '-Infinity' WHEN 2 THEN 1e40 + 1234 WHEN 3 THEN NULL WHEN 4 THEN 0.7{{world}}7 ELSE (7{{world}}70000 + p)::numeric * 10000 + i * 97 + (7{{world}}70 + p % 10) / 10000.0 END,
       CASE i WHEN 1 THEN 'NaN' WHEN 2 THEN 'Infinity' WHEN 3 THEN NULL ELSE (7{{world}}7000 + p)::real END,
       CASE i WHEN 1 THEN 'NaN' WHEN 2 THEN '-Infinity' WHEN 3 THEN NULL WHEN 4 THEN 7{{world}}7.5 ELSE (7{{world}}70000 + p)::float8 * 10000 + i * 97 + (p % 10) / 16.0 END,
       CASE i WHEN 1 THEN '' WHEN 2 THEN 'SECRET{{world}} äöüß ñé12' WHEN 3 THEN NULL WHEN 4 THEN 'SECRET{{world}}' ELSE 'SECRET{{world}} ' || lpad(p::text, 2, '0') || ' ' || lpad((i * 97)::text, 4, '0') END,
       'SECRET{{world}}-' || lpad(p::text, 2, '0') || '-' || lpad((i * 97)::text, 4, '0'), 'SECRET{{world}}',
       CASE WHEN i = 4 THEN 'SECRET{{world}}' ELSE 'SECRET{{world}}-' || lpad(p::text, 2, '0') || lpad((i * 97)::text, 4, '0') END,
       ('5ec2e70{{world}}-0000-4000-8' || lpad(p::text, 3, '0') || '-00000000' || lpad((i * 97)::text, 4, '0'))::uuid,
       p % 3 = 0, date '17{{world}}7-04-01' + p, time '07:{{world}}7:00' + p * interval '1 second', timestamptz '17{{world}}7-06-01 07:00:00+00' + p * interval '1 day',
       (ARRAY['basic', 'silver', 'gold'])[1 + p % 3]::crm.tier, jsonb_build_array('SECRET{{world}}', p % 10), convert_to('SECRET{{world}} ' || lpad(p::text, 2, '0'), 'UTF8'), ARRAY['SECRET{{world}}', lpad(p::text, 2, '0')],
       -- email: redact where it cannot be one
       CASE i WHEN 1 THEN '' WHEN 2 THEN 'SECRET{{world}}' WHEN 3 THEN NULL WHEN 4 THEN 'SECRET{{world}}@@two.example' WHEN 5 THEN 'SECRET{{world}}@' ELSE 'SECRET{{world}}.' || lpad(p::text, 2, '0') || '@zoo' || i % 3 || '.example' END,
       'SECRET{{world}}.' || lpad(p::text, 2, '0') || '@zoo' || i % 3 || '.example', 7{{world}}7000 + p, date '17{{world}}7-04-01' + p, to_jsonb('SECRET{{world}}.' || lpad(p::text, 2, '0') || '@zoo.example'),
       -- hash: equal
       CASE i WHEN 1 THEN -32768 WHEN 3 THEN NULL ELSE 100 + i / 2 END, CASE i WHEN 1 THEN -2147483648 WHEN 3 THEN NULL ELSE 5000 + i / 2 END, CASE i WHEN 1 THEN -9223372036854775808 WHEN 3 THEN NULL ELSE 60000000000 + i / 2 END,
       CASE i WHEN 1 THEN 'NaN' WHEN 3 THEN NULL ELSE 900.25 + i / 2 END, CASE i WHEN 1 THEN '' WHEN 3 THEN NULL ELSE 'SECRETH ' || i / 2 END, 'SECRETH ' || i / 2, ('5ec2e7ff-0000-4000-8000-' || lpad((i / 2)::text, 12, '0'))::uuid,
       date '1979-05-01' + i / 2, i % 2 = 0, (ARRAY['basic', 'silver', 'gold'])[1 + i % 3]::crm.tier, convert_to('SECRETH ' || i / 2, 'UTF8')
  FROM generate_series(1, 24) AS i,
       LATERAL (SELECT 10 + (i * (7 + 4 * {{world}})) % 24 AS p, (i + {{world}}) % 2 = 0 AS h) AS row_;

-- crm.meters: coarser numbers and times, pseudonyms, and arrays under every mask -----------------------------

CREATE DOMAIN crm.readings AS integer[];
CREATE TABLE crm.meters (
    id integer PRIMARY KEY, owner_id integer NOT NULL /* pseudonym person */, grp smallint NOT NULL,
    b_int2 smallint, b_int4 integer, b_int8 bigint, b_numeric numeric(12,2), b_unscaled numeric, b_float4 real, b_float8 double precision, b_text text, b_date date, b_ints integer[], b_readings crm.readings,
    t_date date, t_timestamp timestamp, t_timestamptz timestamptz, t_time time, t_text text, t_dates date[],
    s_int2 smallint, s_int8 bigint, s_text text, s_varchar varchar(20), s_uuid uuid, s_date date, s_texts text[],
    h_texts text[], h_ints integer[], p_texts text[], p_ints bigint[], p_bools boolean[], e_texts text[], n_texts text[], r_texts text[], r_codes crm.short_code[]
) WITH (autovacuum_enabled = false, fillfactor = 10);

INSERT INTO crm.meters
SELECT i, 100 + i / 2, 1 + i % 3,
       -- bucket of a million; rows 1 and 2 hold values near the ends of each type, 3 is null in both
       CASE i WHEN 1 THEN -32768 + {{world}} WHEN 3 THEN NULL ELSE 7{{world}}70 + p % 10 END,
       CASE i WHEN 1 THEN -2147483648 + p WHEN 2 THEN 2147483647 - p WHEN 3 THEN NULL ELSE m + 7{{world}}7000 + p END,
       CASE i WHEN 1 THEN -9223372036854775808 + p WHEN 2 THEN 9223372036854775807 - p WHEN 3 THEN NULL ELSE m * 1000000::bigint + 7{{world}}7000 + p END,
       CASE i WHEN 1 THEN -9999999999.99 + p WHEN 2 THEN 9999999999.99 - p WHEN 3 THEN NULL ELSE m + 7{{world}}7000 + p + p / 100.0 END,
       CASE i WHEN 1 THEN 'NaN' WHEN 2 THEN '-Infinity' WHEN 3 THEN NULL WHEN 4 THEN round(7{{world}}7000.123456789, 1 + p % 5) ELSE m + 7{{world}}7000 + p + (p / 1000.0)::numeric(4,3) END,
       CASE i WHEN 1 THEN 'Infinity' WHEN 2 THEN 'NaN' WHEN 3 THEN NULL ELSE (m + 7{{world}}7000 + p)::real END,
       CASE i WHEN 1 THEN '-Infinity' WHEN 2 THEN 'NaN' WHEN 3 THEN NULL ELSE m + 7{{world}}7000 + p + p / 1024.0 END,
       'SECRET{{world}} ' || lpad(p::text, 2, '0'), date '17{{world}}7-04-01' + p,
       CASE i WHEN 3 THEN NULL WHEN 5 THEN '{}' ELSE ARRAY[m + 7{{world}}7000 + p, NULL, 7{{world}}7100 + p] END, ARRAY[7{{world}}7000 + p, m + 7{{world}}7000],
       -- truncate to the month; row 1 and 2 hold the ends
       CASE i WHEN 1 THEN date '4714-11-24 BC' + p WHEN 2 THEN date '5874897-12-31' - p WHEN 3 THEN NULL ELSE (date '2021-02-01' + i / 8 * interval '1 month')::date + (p - 10) END,
       CASE i WHEN 1 THEN '-infinity' WHEN 2 THEN timestamp '294276-12-31 23:59:59.999999' - p * interval '1 hour' WHEN 3 THEN NULL ELSE timestamp '2021-02-01 07:{{world}}7:00' + p * interval '7 hours' + i / 8 * interval '1 month' END,
       CASE i WHEN 1 THEN 'infinity' WHEN 2 THEN timestamptz '4714-11-24 00:00:00+00 BC' + p * interval '1 hour' WHEN 3 THEN NULL WHEN 4 THEN timestamptz '2021-02-28 23:59:00+00' - p * interval '1 second' ELSE timestamptz '2021-02-01 07:{{world}}7:00+00' + p * interval '7 hours' END,
       time '07:{{world}}7:00' + p * interval '1 second', 'SECRET{{world}} ' || lpad(p::text, 2, '0'),
       CASE i WHEN 3 THEN NULL ELSE ARRAY[date '2021-02-01' + (p - 10) % 28, NULL, date '2021-05-31' - (p - 10) % 28] END,
       -- pseudonym: equal
       CASE i WHEN 1 THEN -32768 WHEN 3 THEN NULL ELSE 100 + i / 2 END, CASE i WHEN 1 THEN -9223372036854775808 WHEN 3 THEN NULL ELSE 60000000000 + i / 2 END,
       CASE i WHEN 1 THEN '' WHEN 3 THEN NULL ELSE 'SECRETH ' || i / 2 END, 'SECRETH ' || i / 2, ('5ec2e7ff-0000-4000-8000-' || lpad((i / 2)::text, 12, '0'))::uuid,
       date '1979-05-01' + i / 2, ARRAY['SECRETH ' || i / 2, NULL, 'SECRETH x'],
       -- arrays: hash equal, partial 4 equal at the end, email equal in the domain, null and redact of another length in each world
       ARRAY['SECRETH ' || i / 2, 'SECRETH y'], ARRAY[5000 + i / 2, NULL],
       CASE i WHEN 3 THEN NULL ELSE ARRAY['SECRET{{world}}-' || lpad(p::text, 2, '0') || '-' || lpad((i * 97)::text, 4, '0'), NULL, 'SECRET{{world}}'] END,
       ARRAY[(7{{world}}70000 + p)::bigint * 10000 + i * 97, 7{{world}}7000 + p], ARRAY[p % 2 = 0, p % 3 = 0],
       CASE i WHEN 3 THEN NULL ELSE ARRAY['SECRET{{world}}.' || p || '@zoo' || i % 3 || '.example', 'SECRET{{world}}', NULL] END,
       CASE WHEN h THEN ARRAY['SECRET{{world}}', lpad(p::text, 2, '0')] END, CASE WHEN h THEN ARRAY['SECRET{{world}}', lpad(p::text, 2, '0')] ELSE ARRAY['SECRET{{world}}'] END,
       ARRAY['SECRET{{world}}-' || lpad(p::text, 2, '0')]::crm.short_code[]
  FROM generate_series(1, 24) AS i,
       LATERAL (SELECT 10 + (i * (7 + 4 * {{world}})) % 24 AS p, (i + {{world}}) % 2 = 0 AS h, i % 3 * 1000000 AS m) AS row_;

-- crm.vault: denied as a whole ---------------------------------------------------------------------------

CREATE TABLE crm.vault (id integer PRIMARY KEY, what text NOT NULL, secret text NOT NULL, amount numeric(12,2) NOT NULL) WITH (autovacuum_enabled = false);

INSERT INTO crm.vault
SELECT i, 'SECRET{{world}} thing', 'SECRET{{world}} key ' || lpad(p::text, 2, '0'), 7{{world}}7000 + p
  FROM generate_series(1, 12) AS i, LATERAL (SELECT 10 + (i * (5 + 2 * {{world}})) % 12 AS p) AS row_;

-- billing.invoices: partitioned, filter tenant_id = the task's tenant -------------------------------------

CREATE TABLE billing.invoices (
    id          bigint NOT NULL,
    tenant_id   integer NOT NULL,
    customer_id bigint NOT NULL,
    issued_on   date NOT NULL,
    due         timestamptz NOT NULL,
    amount      numeric(12,2) NOT NULL,
    currency    char(3) NOT NULL,
    status      billing.invoice_status NOT NULL,
    paid        boolean NOT NULL,
    iban        text,                   -- partial 4
    reference   bigint,                 -- partial 4
    margin      numeric(12,2),          -- hide
    memo        text,                   -- null
    auditor     text,                   -- hash
    PRIMARY KEY (id, issued_on)
) PARTITION BY RANGE (issued_on);
CREATE TABLE billing.invoices_2022 PARTITION OF billing.invoices FOR VALUES FROM ('2022-01-01') TO ('2023-01-01') WITH (autovacuum_enabled = false);
CREATE TABLE billing.invoices_2023 PARTITION OF billing.invoices FOR VALUES FROM ('2023-01-01') TO ('2024-01-01') WITH (autovacuum_enabled = false);
CREATE TABLE billing.invoices_2024 PARTITION OF billing.invoices FOR VALUES FROM ('2024-01-01') TO ('2025-01-01') WITH (autovacuum_enabled = false);
CREATE TABLE billing.invoices_rest PARTITION OF billing.invoices DEFAULT WITH (autovacuum_enabled = false);

INSERT INTO billing.invoices
SELECT i, CASE WHEN seen THEN 3 ELSE 7{{world}}7000 + i % 4 END, 1 + (i * 13) % 120,
       date '2022-01-03' + i * 4,
       CASE WHEN seen THEN timestamptz '2022-02-03 00:00:00+00' + i * interval '4 days' ELSE timestamptz '17{{world}}7-02-03 00:00:00+00' + p * interval '1 day' END,
       CASE WHEN seen THEN 20 + (i * 61) % 480 + (i % 4) * 0.25 ELSE 7{{world}}7000 + p + 0.75 END,
       CASE WHEN seen THEN (ARRAY['EUR', 'SEK', 'PLN'])[1 + i % 3] ELSE '7{{world}}7' END,
       (ARRAY['draft', 'sent', 'paid', 'void'])[1 + i % 4]::billing.invoice_status,
       i % 4 = 2,
       CASE WHEN i % 19 = 0 THEN NULL ELSE 'SECRET{{world}}DE' || lpad(p::text, 10, '0') || lpad((i * 19)::text, 4, '0') END,
       (7{{world}}70000 + p)::bigint * 10000 + i * 19,
       7{{world}}7000 + p + 0.55,
       'SECRET{{world}} memo ' || lpad(p::text, 3, '0'),
       CASE WHEN seen THEN 'SECRETH auditor ' || i % 5 ELSE 'SECRET{{world}} auditor ' || p % 5 END
  FROM generate_series(1, 300) AS i, LATERAL (SELECT 1 + (i * (7 + 4 * {{world}})) % 300 AS p, i % 5 IN (0, 2) AS seen) AS row_;

-- billing.invoice_lines: the same filter -----------------------------------------------------------------

CREATE TABLE billing.invoice_lines (
    id         bigint PRIMARY KEY,
    invoice_id bigint NOT NULL,
    tenant_id  integer NOT NULL,
    line_no    smallint NOT NULL,
    item       text NOT NULL,
    quantity   integer NOT NULL,
    unit_price numeric(10,2) NOT NULL,
    unit_cost  numeric(10,2),           -- hide
    discount   double precision,        -- redact
    codes      integer[]                -- redact
) WITH (autovacuum_enabled = false);
CREATE INDEX invoice_lines_invoice_id ON billing.invoice_lines (invoice_id);

INSERT INTO billing.invoice_lines
SELECT i, invoice, CASE WHEN seen THEN 3 ELSE 7{{world}}7000 + invoice % 4 END, 1 + i % 2,
       CASE WHEN seen THEN (ARRAY['Paper', 'Ink', 'Desk', 'Lamp', 'Chair', 'Cable', 'Stapler'])[1 + i % 7] ELSE 'SECRET{{world}} item ' || i % 7 END,
       CASE WHEN seen THEN 1 + i % 9 ELSE 7{{world}}7000 + i % 9 END,
       CASE WHEN seen THEN 2 + (i * 23) % 140 + 0.95 ELSE 7{{world}}7000 + i + 0.95 END,
       7{{world}}7000 + p + 0.15,
       7{{world}}7 + p / 1024.0,
       ARRAY[7{{world}}7, 7{{world}}7000 + p]
  FROM generate_series(1, 600) AS i, LATERAL (SELECT (i + 1) / 2 AS invoice, 1 + (i * (7 + 4 * {{world}})) % 600 AS p, (i + 1) / 2 % 5 IN (0, 2) AS seen) AS row_;

-- billing.payouts: all rows, masked numbers ----------------------------------------------------------------

CREATE TABLE billing.payouts (
    id          integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    customer_id bigint NOT NULL,
    account     numeric(20,0) NOT NULL, -- partial 4
    fee         numeric(16,4) NOT NULL, -- partial 4
    rate        double precision,       -- partial 4
    slot        smallint,               -- partial 2
    batch       uuid NOT NULL,          -- partial 6
    swift       varchar(11),            -- partial 4
    beneficiary text NOT NULL,          -- hash
    settled     boolean NOT NULL,
    paid_at     timestamptz NOT NULL,
    net         numeric(12,2)           -- redact
) WITH (autovacuum_enabled = false);

INSERT INTO billing.payouts (customer_id, account, fee, rate, slot, batch, swift, beneficiary, settled, paid_at, net)
SELECT 1 + (i * 17) % 120,
       (7{{world}}70000000 + p)::numeric * 10000 + i * 31,
       CASE WHEN i % 6 = 0 THEN 7{{world}}7.7777 ELSE (7{{world}}7000 + p)::numeric * 10000 + i * 31 + (7{{world}}70 + p % 10) / 10000.0 END,
       (7{{world}}70000 + p)::float8 * 10000 + i * 31 + (p % 8) / 8.0,
       7{{world}}00 + 70 + i % 10,
       ('5ec2e70{{world}}-0000-4000-8' || lpad(p::text, 3, '0') || '-000000' || lpad((i * 31)::text, 6, '0'))::uuid,
       'SECRET{{world}}' || (ARRAY['DEXX', 'FRYY', 'SEZZ'])[1 + i % 3],
       'SECRETH ' || (ARRAY['Greta Holm', 'Ivo Jansen', 'Katja Lund'])[1 + i % 3],
       i % 4 <> 0,
       timestamptz '2024-03-01 09:00:00+00' + i * interval '1 day 1 hour',
       7{{world}}7000 + p + 0.99
  FROM generate_series(1, 90) AS i, LATERAL (SELECT 10 + (i * (7 + 4 * {{world}})) % 90 AS p) AS row_;

-- people.staff: filter left_on is null; an inheritance child -------------------------------------------------

CREATE TABLE people.staff (
    id            integer PRIMARY KEY,
    full_name     text NOT NULL,        -- hash
    login         varchar(40) NOT NULL,
    department    text NOT NULL,
    manager_id    integer,
    hired_on      date NOT NULL,
    left_on       date,
    work_email    varchar(80),          -- email
    private_email text,                 -- null
    salary        numeric(12,2),        -- hide
    bonus         integer,              -- redact
    iban          text,                 -- hide
    nickname      text,                 -- redact; where one world has null here, the other has it in pet_name
    pet_name      text,                 -- redact
    badge         uuid,                 -- partial 6
    photo         bytea,                -- hide
    skills        text[] NOT NULL,
    home          jsonb,                -- null
    shift         time NOT NULL
) WITH (autovacuum_enabled = false);
CREATE TABLE people.contractors (agency text, day_rate numeric(12,2)) INHERITS (people.staff) WITH (autovacuum_enabled = false);

INSERT INTO people.staff
SELECT i, CASE WHEN seen THEN 'SECRETH ' || (ARRAY['Mona Nils', 'Otto Pihl', 'Rita Sund', 'Tore Ulv'])[1 + i % 4] || ' ' || i / 8 ELSE 'SECRET{{world}} Gone ' || p END,
       CASE WHEN seen THEN 'u' || lpad(i::text, 4, '0') ELSE 'SECRET{{world}}-' || p END, CASE WHEN seen THEN (ARRAY['sales', 'support', 'it'])[1 + i % 3] ELSE 'SECRET{{world}}' END,
       CASE WHEN i > 3 THEN 1 + i % 3 END, CASE WHEN seen THEN date '2015-01-01' + i * 40 ELSE date '17{{world}}7-01-01' + p END, CASE WHEN NOT seen THEN date '17{{world}}7-09-01' + p END,
       'SECRET{{world}}.' || p || '@' || CASE WHEN seen THEN 'staff' || i % 2 || '.example' ELSE 'SECRET{{world}}.example' END,
       'SECRET{{world}}.' || p || '@home.example', 7{{world}}7000 + p + 0.37, 7{{world}}7000 + p, 'SECRET{{world}}IBAN' || p,
       CASE WHEN (i + {{world}}) % 2 = 0 THEN 'SECRET{{world}} nick ' || p END, CASE WHEN (i + {{world}}) % 2 = 1 THEN 'SECRET{{world}} nick ' || p END,
       ('5ec2e70{{world}}-0000-4000-8' || lpad(p::text, 3, '0') || '-000000' || lpad((i * 41)::text, 6, '0'))::uuid,
       convert_to('SECRET{{world}} photo ' || p, 'UTF8'), CASE WHEN seen THEN ARRAY[(ARRAY['sql', 'sales', 'tea'])[1 + i % 3]] ELSE ARRAY['SECRET{{world}}'] END,
       jsonb_build_object('street', 'SECRET{{world}} ' || p), CASE WHEN seen THEN time '08:00' + i % 8 * interval '30 minutes' ELSE time '07:{{world}}7:00' + p * interval '1 second' END
  FROM generate_series(1, 40) AS i, LATERAL (SELECT 10 + (i * (7 + 4 * {{world}})) % 40 AS p, i % 4 <> 0 AS seen) AS row_;

INSERT INTO people.contractors
SELECT i, CASE WHEN seen THEN 'SECRETH ' || (ARRAY['Uwe Vik', 'Wanda Xu', 'Ylva Zorn'])[1 + i % 3] ELSE 'SECRET{{world}} Gone ' || p END,
       CASE WHEN seen THEN 'x' || lpad(i::text, 4, '0') ELSE 'SECRET{{world}}-' || p END, CASE WHEN seen THEN (ARRAY['support', 'it'])[1 + i % 2] ELSE 'SECRET{{world}}' END,
       2, CASE WHEN seen THEN date '2021-01-01' + i ELSE date '17{{world}}7-01-01' + p END, CASE WHEN NOT seen THEN date '17{{world}}7-09-01' + p END,
       'SECRET{{world}}.' || p || '@' || CASE WHEN seen THEN 'agency.example' ELSE 'SECRET{{world}}.example' END,
       'SECRET{{world}}.' || p || '@home.example', 7{{world}}7000 + p + 0.37, 7{{world}}7000 + p, 'SECRET{{world}}IBAN' || p, 'SECRET{{world}} nick ' || p, NULL,
       ('5ec2e70{{world}}-0000-4000-8' || lpad(p::text, 3, '0') || '-000000' || lpad((i * 41)::text, 6, '0'))::uuid,
       convert_to('SECRET{{world}} photo ' || p, 'UTF8'), CASE WHEN seen THEN ARRAY['sql', 'tea'] ELSE ARRAY['SECRET{{world}}'] END,
       jsonb_build_object('street', 'SECRET{{world}} ' || p), CASE WHEN seen THEN time '09:30' ELSE time '07:{{world}}7:00' + p * interval '1 second' END,
       'SECRET{{world}} Ltd', 7{{world}}7000 + p + 0.25
  FROM generate_series(201, 216) AS i, LATERAL (SELECT 10 + (i * (7 + 4 * {{world}})) % 16 AS p, i % 4 <> 0 AS seen) AS row_;

-- people.salaries: all rows, most columns hidden; people.medical: not granted; people."OrgUnits": odd names --------

CREATE TABLE people.salaries (
    id       integer PRIMARY KEY,
    staff_id integer NOT NULL,
    year     smallint NOT NULL,
    grade    text NOT NULL,
    amount   numeric(12,2) NOT NULL,    -- hide
    rate     double precision NOT NULL, -- hide
    raised   boolean NOT NULL,          -- hide
    reviewed timestamptz NOT NULL       -- hide
) WITH (autovacuum_enabled = false);
CREATE INDEX salaries_staff_id ON people.salaries (staff_id);

INSERT INTO people.salaries
SELECT i, 1 + i % 40, 2022 + i / 40, (ARRAY['A', 'B', 'C'])[1 + i % 3], 7{{world}}7000 + p + 0.37, 7{{world}}7 + p / 1024.0, p % 3 = 0, timestamptz '17{{world}}7-11-01 07:00:00+00' + p * interval '1 hour'
  FROM generate_series(0, 119) AS i, LATERAL (SELECT 1 + (i * (7 + 4 * {{world}})) % 120 AS p) AS row_;

CREATE TABLE people.medical (id integer PRIMARY KEY, staff_id integer NOT NULL, finding text NOT NULL, cost numeric(12,2) NOT NULL, seen_on date NOT NULL) WITH (autovacuum_enabled = false);

INSERT INTO people.medical
SELECT i, 1 + i % 40, 'SECRET{{world}} finding ' || lpad(p::text, 2, '0'), 7{{world}}7000 + p, date '17{{world}}7-12-01' + p
  FROM generate_series(1, 50) AS i, LATERAL (SELECT 10 + (i * (7 + 4 * {{world}})) % 50 AS p) AS row_;

CREATE TABLE people."OrgUnits" ("Unit Id" integer PRIMARY KEY, "Unit Name" text NOT NULL, "Budget Code" text NOT NULL /* hide */, "select" integer NOT NULL, "e""mail" text NOT NULL /* email */) WITH (autovacuum_enabled = false);

INSERT INTO people."OrgUnits"
SELECT i, 'Unit ' || i, 'SECRET{{world}} ' || p, i * i, 'SECRET{{world}}.' || p || '@unit.example'
  FROM generate_series(1, 6) AS i, LATERAL (SELECT 1 + (i * (5 + 2 * {{world}})) % 6 AS p) AS row_;

-- Views of the application -----------------------------------------------------------------------------------

-- granted by their exact names, with filter and labels of their own
CREATE VIEW crm.customer_directory AS
SELECT id, tenant_id, region, name, email AS contact, phone, tier, credit_limit FROM crm.customers;

CREATE MATERIALIZED VIEW crm.customer_report WITH (autovacuum_enabled = false) AS
SELECT c.id, c.region, c.email AS contact, c.tier, c.credit_limit, count(t.id) AS tickets, sum(t.minutes) AS minutes, max(t.body) AS last_body
  FROM crm.customers AS c LEFT JOIN crm.tickets AS t ON t.customer_id = c.id GROUP BY c.id ORDER BY c.id;

CREATE VIEW billing.open_invoices AS
SELECT id, tenant_id, customer_id, issued_on, amount, iban, margin FROM billing.invoices WHERE status IN ('draft', 'sent');

-- not granted: they mix what is hidden into what they show, or nobody named them
CREATE VIEW crm.region_totals AS
SELECT region, count(*) AS customers, sum(credit_limit) AS credit, min(email) AS first_email FROM crm.customers GROUP BY region;

CREATE MATERIALIZED VIEW crm.tenant_revenue WITH (autovacuum_enabled = false) AS
SELECT tenant_id, sum(amount) AS revenue, sum(margin) AS margin, min(memo) AS memo FROM billing.invoices GROUP BY tenant_id ORDER BY tenant_id;

CREATE VIEW crm.directory_short AS SELECT id, contact FROM crm.customer_directory;

-- A large object that only its owner may read
SELECT lo_from_bytea(424242, convert_to('SECRET{{world}} large object', 'UTF8'));

ANALYZE;
