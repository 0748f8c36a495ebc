-- The governed catalog: what `information_schema` and `pg_catalog` would say if the database held exactly what one task may see.
-- Included in setup.sql after the private tables: it begins and ends as the DBA, and leaves search_path pinned until COMMIT.
--
-- The gateway keeps, per profile, which relations, columns, types and keys are shown; the views join that with PostgreSQL's own catalogs at
-- the moment of the question. Object ids are those of the profile's views and schemas, so that what a task finds here works in its statements.
-- A courtesy, not a wall: the wall is that a task's role may read nothing but its views.
SET LOCAL search_path = pg_catalog, pg_temp;

-- 1. What each profile shows. Written by the gateway's login (fill.sql, forget.sql beside this file), never by a task.
SET LOCAL ROLE {definer};
CREATE TABLE pgteller_private.shown_schema(
  profile name, oid oid, real_schema name NOT NULL, PRIMARY KEY (profile, oid));
CREATE TABLE pgteller_private.shown_relation(      -- oid, schema: of the profile; base: the real relation; kind: its relkind, a foreign table as `r`;
  profile name, oid oid, schema oid NOT NULL, base oid NOT NULL, kind "char" NOT NULL, columns int2[] NOT NULL, PRIMARY KEY (profile, oid));   -- columns: the real number of each column of the view
CREATE TABLE pgteller_private.shown_type(          -- types of shown columns that PostgreSQL does not bring
  profile name, oid oid, PRIMARY KEY (profile, oid));
CREATE TABLE pgteller_private.shown_constraint(    -- oid, index: of the real constraint; columns: numbers in the profile's views
  profile name, oid oid, kind "char" NOT NULL, relation oid NOT NULL, columns int2[] NOT NULL, ref_relation oid, ref_columns int2[], index oid, PRIMARY KEY (profile, oid));
CREATE INDEX ON pgteller_private.shown_constraint(profile, index);
GRANT SELECT ON pgteller_private.shown_schema, pgteller_private.shown_relation, pgteller_private.shown_type, pgteller_private.shown_constraint TO {owner};
GRANT SELECT, INSERT, DELETE ON pgteller_private.shown_schema, pgteller_private.shown_relation, pgteller_private.shown_type, pgteller_private.shown_constraint TO {login};
-- Statistics, until autovacuum has seen real rows: without any, PostgreSQL takes a profile for a handful of rows and joins them in nested loops.
INSERT INTO pgteller_private.shown_schema SELECT p::text, p * 10 + g, g::text FROM generate_series(1, 3) p, generate_series(1, 5) g;
INSERT INTO pgteller_private.shown_relation SELECT p::text, p * 1000 + g, p * 10 + g % 5, g, 'r', '{1,2,3,4,5,6,7,8}' FROM generate_series(1, 3) p, generate_series(1, 300) g;
INSERT INTO pgteller_private.shown_type SELECT p::text, g FROM generate_series(1, 3) p, generate_series(1, 20) g;
INSERT INTO pgteller_private.shown_constraint SELECT p::text, p * 1000 + g, CASE g % 2 WHEN 0 THEN 'p' ELSE 'f' END, p * 1000 + g / 2, '{1}', p * 1000 + g / 3, CASE g % 2 WHEN 1 THEN '{1}'::int2[] END, CASE g % 2 WHEN 0 THEN g END FROM generate_series(1, 3) p, generate_series(1, 600) g;
ANALYZE pgteller_private.shown_schema, pgteller_private.shown_relation, pgteller_private.shown_type, pgteller_private.shown_constraint;
TRUNCATE pgteller_private.shown_schema, pgteller_private.shown_relation, pgteller_private.shown_type, pgteller_private.shown_constraint;   -- keeps them
RESET ROLE;

-- 2. The views.
SET LOCAL ROLE {owner};
CREATE SCHEMA pgteller_catalog;
CREATE SCHEMA pgteller_information_schema;

-- The rows of the asking task's profile. Nobody but the view owner may select from these four. They are no barriers, or PostgreSQL could not
-- look rows up in them by index; they are only read behind the fences below.
DO $do$ DECLARE t text; BEGIN
  FOREACH t IN ARRAY ARRAY['schema', 'relation', 'type', 'constraint'] LOOP
    EXECUTE format('CREATE VIEW pgteller_information_schema._%1$s AS SELECT * FROM pgteller_private.shown_%1$s s
                    WHERE s.profile = (SELECT t.profile FROM pgteller_private.task t WHERE t.role_name = session_user)', t);
  END LOOP; END $do$;

-- What the functions below look up: numbers only. kind: a relation's, `i` for a key's index, `c` for a key itself, `t` for a type.
CREATE VIEW pgteller_information_schema.shown WITH (security_barrier = true) AS
  SELECT r.oid, r.kind, r.oid AS relation, cardinality(r.columns) AS columns FROM pgteller_information_schema._relation r
  UNION ALL SELECT k.index, 'i', k.relation, cardinality(k.columns) FROM pgteller_information_schema._constraint k WHERE k.index IS NOT NULL
  UNION ALL SELECT k.oid, 'c', k.relation, cardinality(k.columns) FROM pgteller_information_schema._constraint k
  UNION ALL SELECT t.oid, 't', NULL, NULL FROM pgteller_information_schema._type t;

-- Everything else is written column by column after this server's own catalog, so that every major gets exactly its own columns.
-- `instead` says what stands in place of a column; the rest comes from the row behind `alias`. Without an alias `rows` is a query of its own,
-- called x, the rest is NULL, and `key` is a condition.
-- Every view is fenced, by DISTINCT ON its `key`, OFFSET 0 or MATERIALIZED: a condition of the agent's may be tried on object ids before the rows
-- are its own, on nothing else (PostgreSQL moves conditions that it takes for leakproof below joins and filters, and some of them raise all the same).
-- generate_series yields each row once, and keeps the planner from taking `relkind = 'r'` for one row in a thousand: nested loops over fences are slow.
DO $do$
DECLARE
  v record;
  c constant text := 'pgteller_catalog';
  i constant text := 'pgteller_information_schema';
  -- the namespace that a type is shown in: the profile's, if that schema is shown
  type_schema constant text := 'coalesce((SELECT s.oid FROM pgteller_information_schema._schema s JOIN pg_namespace n ON n.nspname = s.real_schema WHERE n.oid = t.typnamespace), t.typnamespace)';
  base_column constant text := '(SELECT b.%s FROM pg_attribute b WHERE b.attrelid = r.base AND b.attnum = r.columns[a.attnum])';
  view_column constant text := '(SELECT b.%s FROM pg_attribute b WHERE b.attrelid = k.relation AND b.attnum = k.columns[a.attnum])';
  strip constant text := $x$btrim(regexp_replace(regexp_replace(d.description, '(?<!\S)@label:\S*', '', 'g'), '\s+', ' ', 'g'))$x$;
  no_description constant text := $x$ AND btrim(regexp_replace(d.description, '(?<!\S)@label:\S*', '', 'g')) <> ''$x$;
  -- raw material of information_schema. What a row only needs to be told is a sub-select, so that the number of rows stays plain to the planner.
  schema_of constant text := '(SELECT s.real_schema FROM pgteller_information_schema._schema s WHERE s.oid = %s)';
  name_of constant text := '(SELECT c.relname FROM pg_class c WHERE c.oid = %s)';
  rel constant text := 'SELECT r.oid, r.kind, ' || format(schema_of, 'r.schema') || ' AS real_schema, c.relname FROM pgteller_information_schema._relation r JOIN pg_class c ON c.oid = r.oid';
  schema_of_relation constant text := '(SELECT s.real_schema FROM pgteller_information_schema._relation r JOIN pgteller_information_schema._schema s ON s.oid = r.schema WHERE r.oid = %s)';
  con constant text := 'SELECT k.oid, k.kind, k.relation, k.columns, k.ref_relation, k.ref_columns, k.index, kc.conindid, kc.conname, kc.condeferrable, kc.condeferred, kc.confmatchtype, kc.confupdtype, kc.confdeltype, '
    || format(schema_of_relation, 'k.relation') || ' AS real_schema, ' || format(name_of, 'k.relation') || ' AS relname FROM pgteller_information_schema._constraint k JOIN pg_constraint kc ON kc.oid = k.oid';
  -- the shown key that a foreign key refers to
  referred constant text := 'FROM pgteller_information_schema._constraint q JOIN pg_constraint qc ON qc.oid = q.oid WHERE q.index = x.conindid AND q.relation = x.ref_relation LIMIT 1';
  rule constant text := $x$CASE %s WHEN 'a' THEN 'NO ACTION' WHEN 'r' THEN 'RESTRICT' WHEN 'c' THEN 'CASCADE' WHEN 'n' THEN 'SET NULL' WHEN 'd' THEN 'SET DEFAULT' END$x$;
  catalog constant jsonb := jsonb_build_object('table_catalog', 'current_database()', 'table_schema', 'x.real_schema', 'table_name', 'x.relname');
  named constant jsonb := jsonb_build_object('constraint_catalog', 'current_database()', 'constraint_schema', 'x.real_schema', 'constraint_name', 'x.conname');
BEGIN
  FOR v IN
    WITH part(n, target, name, source, alias, key, instead, rows) AS (VALUES
      -- Schemas: the profile's under their real names, PostgreSQL's two, and those that shown types live in.
      (10, c, 'pg_namespace', 'pg_catalog.pg_namespace', 'n', 'n.oid', jsonb_build_object('nspname', 's.real_schema', 'nspowner', '0', 'nspacl', NULL),
        'pgteller_information_schema._schema s JOIN pg_namespace n ON n.oid = s.oid'),
      (11, c, 'pg_namespace', 'pg_catalog.pg_namespace', 'n', 'n.oid', jsonb_build_object('nspowner', '0', 'nspacl', NULL),
        $x$pg_namespace n WHERE n.nspname NOT IN (SELECT s.real_schema FROM pgteller_information_schema._schema s) AND (n.nspname IN ('pg_catalog', 'information_schema')
           OR n.oid IN (SELECT t.typnamespace FROM pgteller_information_schema._type y JOIN pg_type t ON t.oid = y.oid))$x$),
      -- Relations, as what they are; counts, owners, storage and privileges are nobody's business. Then the indexes behind shown keys.
      (20, c, 'pg_class', 'pg_catalog.pg_class', 'c', 'c.oid', jsonb_build_object('relkind', 'r.kind', 'relowner', '0', 'reltype', '0', 'relacl', NULL, 'reloptions', NULL, 'relpartbound', NULL,
          'reltuples', '-1', 'relpages', '0', 'relallvisible', '0', 'relallfrozen', '0', 'relam', $x$CASE WHEN r.kind IN ('r', 'm') THEN 2 ELSE 0 END$x$,
          'relreplident', $x$CASE r.kind WHEN 'v' THEN 'n' ELSE 'd' END$x$, 'relhasrules', $x$r.kind = 'v'$x$, 'relispartition', $x$r.base IN (SELECT i.inhrelid FROM pg_inherits i JOIN pgteller_information_schema._relation p ON p.base = i.inhparent WHERE p.kind = 'p')$x$, 'relrowsecurity', 'false', 'relforcerowsecurity', 'false',
          'relhasindex', 'c.oid IN (SELECT k.relation FROM pgteller_information_schema._constraint k WHERE k.index IS NOT NULL)',
          'relhastriggers', $x$c.oid IN (SELECT k.relation FROM pgteller_information_schema._constraint k WHERE k.kind = 'f' UNION ALL SELECT k.ref_relation FROM pgteller_information_schema._constraint k WHERE k.kind = 'f')$x$),
        'pgteller_information_schema._relation r JOIN pg_class c ON c.oid = r.oid'),
      (21, c, 'pg_class', 'pg_catalog.pg_class', 'c', 'c.oid', jsonb_build_object('relnamespace', '(SELECT r.schema FROM pgteller_information_schema._relation r WHERE r.oid = k.relation)', 'relowner', '0', 'reltype', '0', 'relacl', NULL, 'reloptions', NULL, 'relpartbound', NULL,
          'relkind', $x$'i'$x$, 'relispartition', 'false', 'relfilenode', '0', 'reltablespace', '0', 'reltuples', '-1', 'relpages', '0', 'relallvisible', '0', 'relallfrozen', '0',
          'relnatts', 'cardinality(k.columns)', 'relfrozenxid', $x$'0'$x$, 'relminmxid', $x$'0'$x$),
        'pgteller_information_schema._constraint k JOIN pg_class c ON c.oid = k.index'),
      (30, c, 'pg_attribute', 'pg_catalog.pg_attribute', 'a', 'a.attrelid, a.attnum', jsonb_build_object('attnotnull', format(base_column, 'attnotnull'), 'attidentity', format(base_column, 'attidentity'), 'atthasdef', 'false', 'attacl', NULL, 'attoptions', NULL, 'attfdwoptions', NULL, 'attmissingval', NULL, 'attstattarget', CASE WHEN current_setting('server_version_num')::int < 170000 THEN '-1' END),
        'pgteller_information_schema._relation r JOIN pg_attribute a ON a.attrelid = r.oid AND a.attnum > 0'),
      (31, c, 'pg_attribute', 'pg_catalog.pg_attribute', 'a', 'a.attrelid, a.attnum', jsonb_build_object('attname', format(view_column, 'attname'), 'atttypid', format(view_column, 'atttypid'), 'atttypmod', format(view_column, 'atttypmod'), 'attacl', NULL, 'attoptions', NULL, 'attfdwoptions', NULL, 'attmissingval', NULL, 'attstattarget', CASE WHEN current_setting('server_version_num')::int < 170000 THEN '-1' END),
        'pgteller_information_schema._constraint k JOIN pg_attribute a ON a.attrelid = k.index AND a.attnum <= cardinality(k.columns)'),
      (35, c, 'pg_inherits', 'pg_catalog.pg_inherits', 'i', NULL, jsonb_build_object('inhrelid', 'child.oid', 'inhparent', 'parent.oid'),
        'pg_inherits i JOIN pgteller_information_schema._relation child ON child.base = i.inhrelid JOIN pgteller_information_schema._relation parent ON parent.base = i.inhparent'),
      -- Keys, of which every column is shown.
      (40, c, 'pg_constraint', 'pg_catalog.pg_constraint', 'kc', 'kc.oid', jsonb_build_object('connamespace', '(SELECT r.schema FROM pgteller_information_schema._relation r WHERE r.oid = k.relation)', 'conrelid', 'k.relation', 'confrelid', 'coalesce(k.ref_relation, 0)', 'conkey', 'k.columns', 'confkey', 'k.ref_columns',
          'contypid', '0', 'conparentid', 'CASE WHEN kc.conparentid IN (SELECT q.oid FROM pgteller_information_schema._constraint q) THEN kc.conparentid ELSE 0 END', 'conbin', NULL, 'confdelsetcols', NULL, 'coninhcount', '0', 'conislocal', 'true'),
        'pgteller_information_schema._constraint k JOIN pg_constraint kc ON kc.oid = k.oid'),
      (50, c, 'pg_index', 'pg_catalog.pg_index', 'i', 'i.indexrelid', jsonb_build_object('indrelid', 'k.relation', 'indnatts', 'cardinality(k.columns)', 'indnkeyatts', 'cardinality(k.columns)', 'indkey', $x$array_to_string(k.columns, ' ')$x$, 'indexprs', NULL, 'indpred', NULL),
        'pgteller_information_schema._constraint k JOIN pg_index i ON i.indexrelid = k.index'),
      -- PostgreSQL's own types, and those of shown columns.
      (60, c, 'pg_type', 'pg_catalog.pg_type', 't', 't.oid', jsonb_build_object('typowner', '0', 'typacl', NULL), $x$pg_type t WHERE t.oid < 16384 AND t.typnamespace = 'pg_catalog'::regnamespace$x$),
      (61, c, 'pg_type', 'pg_catalog.pg_type', 't', 't.oid', jsonb_build_object('typowner', '0', 'typacl', NULL, 'typnamespace', type_schema, 'typrelid', '0', 'typdefault', NULL, 'typdefaultbin', NULL),
        'pgteller_information_schema._type y JOIN pg_type t ON t.oid = y.oid'),
      (70, c, 'pg_enum', 'pg_catalog.pg_enum', 'e', 'e.oid', '{}', 'pgteller_information_schema._type y JOIN pg_enum e ON e.enumtypid = y.oid'),
      -- Comments without their labels.
      (80, c, 'pg_description', 'pg_catalog.pg_description', 'd', 'r.oid, d.objsubid', jsonb_build_object('objoid', 'r.oid', 'objsubid', $x$CASE d.objsubid WHEN 0 THEN 0 ELSE array_position(r.columns, d.objsubid::int2) END$x$, 'description', strip),
        $x$pgteller_information_schema._relation r JOIN pg_description d ON d.objoid = r.base AND d.classoid = 'pg_class'::regclass WHERE (d.objsubid = 0 OR d.objsubid = ANY (r.columns))$x$ || no_description),
      (90, c, 'pg_proc', 'pg_catalog.pg_proc', 'p', 'p.oid', jsonb_build_object('proowner', '0', 'proacl', NULL), $x$pg_proc p WHERE p.oid < 16384 AND p.pronamespace = 'pg_catalog'::regnamespace$x$),
      (91, c, 'pg_database', 'pg_catalog.pg_database', 'd', NULL, jsonb_build_object('datdba', '0', 'datacl', NULL, 'datfrozenxid', $x$'0'$x$, 'datminmxid', $x$'0'$x$, 'datconnlimit', '-1'), 'pg_database d WHERE d.datname = current_database()'),
      (92, c, 'pg_roles', 'pg_catalog.pg_roles', 'r', NULL, jsonb_build_object('rolconfig', NULL), 'pg_roles r WHERE r.rolname = session_user'),
      (93, c, 'pg_tablespace', 'pg_catalog.pg_tablespace', 't', NULL, jsonb_build_object('spcowner', '0', 'spcacl', NULL, 'spcoptions', NULL), 'pg_tablespace t WHERE t.oid < 16384'),
      -- The friendly views over them.
      (100, c, 'pg_tables', 'pg_catalog.pg_tables', NULL, $x$x.kind IN ('r', 'p')$x$, jsonb_build_object('schemaname', 'x.real_schema', 'tablename', 'x.relname', 'hasrules', 'false', 'rowsecurity', 'false',
          'hasindexes', 'x.oid IN (SELECT k.relation FROM pgteller_information_schema._constraint k WHERE k.index IS NOT NULL)', 'hastriggers', 'false'), rel),
      (101, c, 'pg_views', 'pg_catalog.pg_views', NULL, $x$x.kind = 'v'$x$, jsonb_build_object('schemaname', 'x.real_schema', 'viewname', 'x.relname'), rel),
      (102, c, 'pg_matviews', 'pg_catalog.pg_matviews', NULL, $x$x.kind = 'm'$x$, jsonb_build_object('schemaname', 'x.real_schema', 'matviewname', 'x.relname', 'hasindexes', 'false', 'ispopulated', 'true'), rel),
      (103, c, 'pg_stat_user_tables', 'pg_catalog.pg_stat_user_tables', NULL, $x$x.kind IN ('r', 'p', 'm')$x$, jsonb_build_object('relid', 'x.oid', 'schemaname', 'x.real_schema', 'relname', 'x.relname'), rel),
      (104, c, 'pg_stat_all_tables', 'pg_catalog.pg_stat_all_tables', NULL, $x$x.kind IN ('r', 'p', 'm')$x$, jsonb_build_object('relid', 'x.oid', 'schemaname', 'x.real_schema', 'relname', 'x.relname'), rel),
      (105, c, 'pg_statio_user_tables', 'pg_catalog.pg_statio_user_tables', NULL, $x$x.kind IN ('r', 'p', 'm')$x$, jsonb_build_object('relid', 'x.oid', 'schemaname', 'x.real_schema', 'relname', 'x.relname'), rel),
      -- information_schema
      (200, i, 'schemata', 'information_schema.schemata', NULL, NULL, jsonb_build_object('catalog_name', 'current_database()', 'schema_name', 'x.real_schema'), 'SELECT s.real_schema FROM pgteller_information_schema._schema s'),
      (201, i, 'tables', 'information_schema.tables', NULL, $x$x.kind IN ('r', 'p', 'v')$x$, catalog || jsonb_build_object('table_type', $x$CASE x.kind WHEN 'v' THEN 'VIEW' ELSE 'BASE TABLE' END$x$, 'is_insertable_into', $x$'NO'$x$, 'is_typed', $x$'NO'$x$), rel),
      (202, i, 'views', 'information_schema.views', NULL, $x$x.kind = 'v'$x$, catalog || jsonb_build_object('check_option', $x$'NONE'$x$, 'is_updatable', $x$'NO'$x$, 'is_insertable_into', $x$'NO'$x$, 'is_trigger_updatable', $x$'NO'$x$, 'is_trigger_deletable', $x$'NO'$x$, 'is_trigger_insertable_into', $x$'NO'$x$), rel),
      (203, i, 'table_privileges', 'information_schema.table_privileges', NULL, NULL, catalog || jsonb_build_object('grantee', 'session_user', 'privilege_type', $x$'SELECT'$x$, 'is_grantable', $x$'NO'$x$, 'with_hierarchy', $x$'NO'$x$), rel),
      (204, i, 'role_table_grants', 'information_schema.role_table_grants', NULL, NULL, catalog || jsonb_build_object('grantee', 'session_user', 'privilege_type', $x$'SELECT'$x$, 'is_grantable', $x$'NO'$x$, 'with_hierarchy', $x$'NO'$x$), rel),
      (210, i, 'columns', 'information_schema.columns', NULL, NULL, catalog || jsonb_build_object('column_name', 'x.attname', 'ordinal_position', 'x.attnum', 'is_nullable', $x$CASE WHEN x.attnotnull OR x.typnotnull THEN 'NO' ELSE 'YES' END$x$,
          'data_type', $x$CASE WHEN x.elem <> 0 AND x.len = -1 THEN 'ARRAY' WHEN x.schema_of_type = 'pg_catalog' THEN pg_catalog.format_type(x.type, NULL) ELSE 'USER-DEFINED' END$x$,
          'character_maximum_length', 'information_schema._pg_char_max_length(x.type, x.typmod)', 'character_octet_length', 'information_schema._pg_char_octet_length(x.type, x.typmod)',
          'numeric_precision', 'information_schema._pg_numeric_precision(x.type, x.typmod)', 'numeric_precision_radix', 'information_schema._pg_numeric_precision_radix(x.type, x.typmod)', 'numeric_scale', 'information_schema._pg_numeric_scale(x.type, x.typmod)',
          'datetime_precision', 'information_schema._pg_datetime_precision(x.type, x.typmod)', 'interval_type', 'information_schema._pg_interval_type(x.type, x.typmod)',
          'collation_catalog', 'CASE WHEN x.collname IS NOT NULL THEN current_database() END', 'collation_schema', 'CASE WHEN x.collname IS NOT NULL THEN x.collschema END', 'collation_name', 'x.collname',
          'domain_catalog', 'CASE WHEN x.domain IS NOT NULL THEN current_database() END', 'domain_schema', 'CASE WHEN x.domain IS NOT NULL THEN x.domain_schema END', 'domain_name', 'x.domain',
          'udt_catalog', 'current_database()') || jsonb_build_object('udt_schema', 'CASE WHEN x.typeshown THEN x.schema_of_type END', 'udt_name', 'CASE WHEN x.typeshown THEN x.typname END', 'dtd_identifier', 'x.attnum', 'is_self_referencing', $x$'NO'$x$,
          'is_identity', $x$CASE WHEN x.attidentity = '' THEN 'NO' ELSE 'YES' END$x$, 'identity_generation', $x$CASE x.attidentity WHEN 'a' THEN 'ALWAYS' WHEN 'd' THEN 'BY DEFAULT' END$x$, 'identity_cycle', $x$'NO'$x$, 'is_generated', $x$'NEVER'$x$, 'is_updatable', $x$'NO'$x$),
        'SELECT ' || format(schema_of, 'r.schema') || ' AS real_schema, c.relname, a.attname, a.attnum, ' || format(base_column, 'attnotnull') || ' AS attnotnull, ' || format(base_column, 'attidentity') || $x$ AS attidentity, t.typtype = 'd' AND t.typnotnull AS typnotnull,
              coalesce(u.oid, t.oid) AS type, CASE WHEN t.typtype = 'd' THEN t.typtypmod ELSE a.atttypmod END AS typmod, coalesce(u.typname, t.typname) AS typname, (SELECT n.nspname FROM pg_namespace n WHERE n.oid = coalesce(u.typnamespace, t.typnamespace)) AS schema_of_type,
              coalesce(u.typelem, t.typelem) AS elem, coalesce(u.typlen, t.typlen) AS len, CASE WHEN t.typtype = 'd' THEN t.typname END AS domain, (SELECT n.nspname FROM pg_namespace n WHERE n.oid = t.typnamespace) AS domain_schema,
              co.collname, (SELECT n.nspname FROM pg_namespace n WHERE n.oid = co.collnamespace) AS collschema,
              coalesce(u.oid, t.oid) < 16384 OR coalesce(u.oid, t.oid) IN (SELECT y.oid FROM pgteller_information_schema._type y) AS typeshown
            FROM pgteller_information_schema._relation r JOIN pg_class c ON c.oid = r.oid JOIN pg_attribute a ON a.attrelid = r.oid AND a.attnum > 0 JOIN pg_type t ON t.oid = a.atttypid
            LEFT JOIN pg_type u ON t.typtype = 'd' AND u.oid = t.typbasetype LEFT JOIN pg_collation co ON co.oid = a.attcollation AND co.oid <> 'pg_catalog."default"'::regcollation
            WHERE r.kind IN ('r', 'p', 'v')$x$),
      (220, i, 'table_constraints', 'information_schema.table_constraints', NULL, NULL, catalog || named || jsonb_build_object('constraint_type', $x$CASE x.kind WHEN 'p' THEN 'PRIMARY KEY' WHEN 'u' THEN 'UNIQUE' ELSE 'FOREIGN KEY' END$x$,
          'is_deferrable', $x$CASE WHEN x.condeferrable THEN 'YES' ELSE 'NO' END$x$, 'initially_deferred', $x$CASE WHEN x.condeferred THEN 'YES' ELSE 'NO' END$x$, 'enforced', $x$'YES'$x$,
          'nulls_distinct', $x$CASE WHEN x.kind = 'u' THEN (SELECT CASE WHEN ix.indnullsnotdistinct THEN 'NO' ELSE 'YES' END FROM pg_index ix WHERE ix.indexrelid = x.index) END$x$), con),
      (221, i, 'key_column_usage', 'information_schema.key_column_usage', NULL, NULL, catalog || named || jsonb_build_object('column_name', 'x.attname', 'ordinal_position', 'x.ord', 'position_in_unique_constraint', 'x.ref_ord'),
        'SELECT x.*, u.ord, (SELECT a.attname FROM pg_attribute a WHERE a.attrelid = x.relation AND a.attnum = u.num) AS attname, array_position((SELECT q.columns ' || referred || '), x.ref_columns[u.ord]) AS ref_ord
          FROM (' || con || ' OFFSET 0) x CROSS JOIN LATERAL unnest(x.columns) WITH ORDINALITY u(num, ord)'),
      (222, i, 'constraint_column_usage', 'information_schema.constraint_column_usage', NULL, NULL, named || jsonb_build_object('table_catalog', 'current_database()', 'table_schema', 'x.used_schema', 'table_name', 'x.used_relation', 'column_name', 'x.attname'),
        'SELECT x.*, (SELECT a.attname FROM pg_attribute a WHERE a.attrelid = coalesce(x.ref_relation, x.relation) AND a.attnum = u.num) AS attname, ' || format(schema_of_relation, 'coalesce(x.ref_relation, x.relation)') || ' AS used_schema, ' || format(name_of, 'coalesce(x.ref_relation, x.relation)')
          || ' AS used_relation FROM (' || con || ' OFFSET 0) x CROSS JOIN LATERAL unnest(coalesce(x.ref_columns, x.columns)) u(num)'),
      (223, i, 'constraint_table_usage', 'information_schema.constraint_table_usage', NULL, NULL, named || jsonb_build_object('table_catalog', 'current_database()', 'table_schema', 'x.used_schema', 'table_name', 'x.used_relation'),
        'SELECT x.*, ' || format(schema_of_relation, 'coalesce(x.ref_relation, x.relation)') || ' AS used_schema, ' || format(name_of, 'coalesce(x.ref_relation, x.relation)') || ' AS used_relation FROM (' || con || ' OFFSET 0) x'),
      (224, i, 'referential_constraints', 'information_schema.referential_constraints', NULL, NULL, named || jsonb_build_object('unique_constraint_catalog', 'CASE WHEN x.unique_name IS NOT NULL THEN current_database() END',
          'unique_constraint_schema', 'x.unique_schema', 'unique_constraint_name', 'x.unique_name', 'match_option', $x$CASE x.confmatchtype WHEN 'f' THEN 'FULL' WHEN 'p' THEN 'PARTIAL' WHEN 's' THEN 'NONE' END$x$,
          'update_rule', format(rule, 'x.confupdtype'), 'delete_rule', format(rule, 'x.confdeltype')),
        'SELECT x.*, (SELECT qc.conname ' || referred || ') AS unique_name, (SELECT ' || format(schema_of_relation, 'q.relation') || ' ' || referred || ') AS unique_schema FROM (' || con || ' WHERE k.kind = ''f'' OFFSET 0) x'))
    -- The same for everybody.
    , pass AS (SELECT 300, c, name, 'pg_catalog.' || name, 'x', 'x.oid', CASE name WHEN 'pg_am' THEN '{}'::jsonb WHEN 'pg_language' THEN jsonb_build_object('lanowner', '0', 'lanacl', NULL)
          ELSE jsonb_build_object('collowner', '0', 'opcowner', '0', 'extowner', '0', 'extconfig', NULL, 'extcondition', NULL) END, 'pg_catalog.' || name || ' x'
          || CASE WHEN name IN ('pg_collation', 'pg_opclass') THEN ' WHERE x.oid < 16384' ELSE '' END
      FROM unnest(ARRAY['pg_am', 'pg_collation', 'pg_extension', 'pg_language', 'pg_opclass']) name)
    -- There, and empty: what they hold would name or count what is not shown.
    , empty AS (SELECT 400, target, name, CASE target WHEN c THEN 'pg_catalog.' ELSE 'information_schema.' END || name, NULL, 'false', '{}'::jsonb, 'SELECT' FROM (
        SELECT c, unnest(ARRAY['pg_attrdef', 'pg_trigger', 'pg_policy', 'pg_policies', 'pg_rewrite', 'pg_rules', 'pg_statistic_ext', 'pg_publication', 'pg_publication_rel', 'pg_publication_namespace', 'pg_publication_tables', 'pg_subscription', 'pg_subscription_rel',
          'pg_foreign_table', 'pg_foreign_server', 'pg_foreign_data_wrapper', 'pg_partitioned_table', 'pg_seclabel', 'pg_seclabels', 'pg_depend', 'pg_shdepend', 'pg_shdescription', 'pg_sequence', 'pg_sequences', 'pg_event_trigger', 'pg_default_acl',
          'pg_auth_members', 'pg_user_mappings', 'pg_stats', 'pg_stats_ext', 'pg_stat_user_indexes', 'pg_stat_all_indexes', 'pg_statio_user_indexes', 'pg_init_privs', 'pg_largeobject_metadata'])
        UNION ALL SELECT i, unnest(ARRAY['check_constraints', 'routines', 'parameters', 'triggers', 'sequences', 'domains', 'domain_constraints', 'element_types', 'view_table_usage', 'view_column_usage', 'column_privileges', 'role_column_grants'])) e(target, name))
    , parts AS (SELECT * FROM part UNION ALL SELECT * FROM pass UNION ALL SELECT * FROM empty)
    SELECT p.target, p.name, string_agg(CASE
        WHEN p.alias IS NULL THEN format('WITH x AS MATERIALIZED (%s) SELECT %s FROM x WHERE %s', p.rows, l.list, coalesce(p.key, 'true'))
        WHEN p.key IS NULL THEN format('(SELECT %s FROM %s OFFSET 0)', l.list, p.rows)
        WHEN p.name IN ('pg_class', 'pg_constraint', 'pg_index') THEN format('(SELECT y.* FROM (SELECT DISTINCT ON (%s) %s FROM %s) y CROSS JOIN LATERAL generate_series(1, CASE WHEN y.%I IS NULL THEN 0 ELSE 1 END))', p.key, l.list, p.rows, l.first)
        ELSE format('(SELECT DISTINCT ON (%s) %s FROM %s)', p.key, l.list, p.rows) END, ' UNION ALL ' ORDER BY p.n) AS body
    FROM parts p CROSS JOIN LATERAL (
      SELECT string_agg(format('%s AS %I', CASE WHEN p.instead ? a.attname::text OR p.alias IS NULL
          THEN format('(%s)::%s%s', coalesce(p.instead ->> a.attname::text, 'NULL'), CASE a.atttypid WHEN 'anyarray'::regtype THEN 'text[]' ELSE format_type(a.atttypid, a.atttypmod) END,
                      CASE WHEN a.attcollation <> t.typcollation AND a.attcollation = '"C"'::regcollation THEN ' COLLATE "C"' ELSE '' END)
          ELSE format('%I.%I', p.alias, a.attname) END, a.attname), ', ' ORDER BY a.attnum) AS list, (array_agg(a.attname ORDER BY a.attnum))[1] AS first
      FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid WHERE a.attrelid = to_regclass(p.source) AND a.attnum > 0 AND NOT a.attisdropped) l
    WHERE l.list IS NOT NULL                             -- a catalog that this major does not have
    GROUP BY p.target, p.name ORDER BY min(p.n), p.name
  LOOP
    EXECUTE format('CREATE VIEW %I.%I WITH (security_barrier = true) AS %s', v.target, v.name, v.body);
  END LOOP;
END $do$;

-- 3. Functions in the names of PostgreSQL's own, with its own signatures on this server: a signature that we lacked would be PostgreSQL's.
-- They run as the task and see what it sees. What has no body here is NULL, false or empty.
DO $do$
DECLARE
  f record;
  answer text;
  relation text;
  body text;
  -- what a text names, by real names, as in `to_regclass`
  named constant text := '(pgteller_catalog.to_regclass(%s))::oid';
BEGIN
  FOR f IN
    SELECT p.oid, p.proname, p.proname || '(' || array_to_string(ARRAY(SELECT format_type(a.type, NULL) FROM unnest(p.proargtypes) WITH ORDINALITY a(type, place) ORDER BY place), ',') || ')' AS signature,
           pg_get_function_identity_arguments(p.oid) AS arguments, pg_get_function_result(p.oid) AS result, p.proisstrict, p.proretset, p.pronargs, p.proargtypes, p.prorettype, b.body
    FROM pg_proc p JOIN (VALUES
      (1, 'current_schemas', $x$ARRAY(SELECT CASE WHEN n.oid = 'pg_catalog'::regnamespace THEN n.nspname ELSE s.nspname END FROM unnest(pg_catalog.current_schemas(false)) WITH ORDINALITY u(name, place) JOIN pg_catalog.pg_namespace n ON n.nspname = u.name
          JOIN pgteller_catalog.pg_namespace s ON s.oid = n.oid WHERE CASE WHEN n.oid = 'pg_catalog'::regnamespace THEN $1 ELSE s.nspname IN (SELECT i.schema_name FROM pgteller_information_schema.schemata i) END ORDER BY place)$x$),
      (2, 'current_schema', '(pgteller_catalog.current_schemas(false))[1]'),
      (3, 'pg_table_is_visible', $x$(SELECT pg_catalog.pg_table_is_visible(x.relation) FROM pgteller_information_schema.shown x WHERE x.oid = $1 AND x.kind NOT IN ('c', 't'))$x$),
      (4, 'to_regclass', $x$CASE WHEN cardinality(parse_ident($1)) = 1 THEN coalesce(
            (SELECT c.oid::regclass FROM pgteller_catalog.pg_class c WHERE c.relname = (parse_ident($1))[1]::name AND pgteller_catalog.pg_table_is_visible(c.oid) LIMIT 1),
            pg_catalog.to_regclass('pg_catalog.' || quote_ident((parse_ident($1))[1])))
          WHEN (parse_ident($1))[1] = 'pg_catalog' THEN pg_catalog.to_regclass($1)
          ELSE (SELECT c.oid::regclass FROM pgteller_catalog.pg_class c JOIN pgteller_catalog.pg_namespace n ON n.oid = c.relnamespace
                WHERE n.nspname = (parse_ident($1))[cardinality(parse_ident($1)) - 1]::name AND c.relname = (parse_ident($1))[cardinality(parse_ident($1))]::name AND cardinality(parse_ident($1)) <= 3) END$x$),
      (5, 'to_regnamespace', $x$(SELECT n.oid::regnamespace FROM pgteller_catalog.pg_namespace n WHERE n.nspname = (parse_ident($1))[1]::name AND cardinality(parse_ident($1)) = 1)$x$),
      (6, 'pg_type_is_visible', $x$(SELECT t.typnamespace = 'pg_catalog'::regnamespace OR EXISTS (SELECT FROM unnest(pg_catalog.current_schemas(false)) u(name) JOIN pg_catalog.pg_namespace n ON n.nspname = u.name WHERE n.oid = t.typnamespace) FROM pgteller_catalog.pg_type t WHERE t.oid = $1)$x$),
      (6, 'pg_function_is_visible', $x$(SELECT true FROM pgteller_catalog.pg_proc p WHERE p.oid = $1)$x$),
      (6, 'pg_get_function_arguments', $x$(SELECT pg_catalog.pg_get_function_arguments(p.oid) FROM pgteller_catalog.pg_proc p WHERE p.oid = $1)$x$),
      (6, 'pg_get_function_identity_arguments', $x$(SELECT pg_catalog.pg_get_function_identity_arguments(p.oid) FROM pgteller_catalog.pg_proc p WHERE p.oid = $1)$x$),
      (6, 'pg_get_function_result', $x$(SELECT pg_catalog.pg_get_function_result(p.oid) FROM pgteller_catalog.pg_proc p WHERE p.oid = $1)$x$),
      (6, 'pg_get_functiondef', NULL),
      (6, 'format_type', $x$CASE WHEN $1 IS NULL THEN NULL WHEN $1 < 16384 OR EXISTS (SELECT FROM pgteller_information_schema.shown x WHERE x.oid = $1 AND x.kind = 't') THEN pg_catalog.format_type($1, $2) ELSE '???' END$x$),
      (7, 'obj_description', $x$CASE WHEN $2 = 'pg_class' THEN (SELECT d.description FROM pgteller_catalog.pg_description d WHERE d.objoid = $1 AND d.classoid = 'pg_catalog.pg_class'::regclass AND d.objsubid = 0)
          WHEN $2 IN ('pg_type', 'pg_proc') AND $1 < 16384 THEN pg_catalog.obj_description($1, $2) END$x$),
      (7, 'col_description', $x$(SELECT d.description FROM pgteller_catalog.pg_description d WHERE d.objoid = $1 AND d.classoid = 'pg_catalog.pg_class'::regclass AND d.objsubid = $2)$x$),
      -- PostgreSQL's own words for the real key, whose every column is shown; less INCLUDE, which may name others.
      (8, 'pg_get_constraintdef', $x$(SELECT regexp_replace(pg_catalog.pg_get_constraintdef(c.oid, true), ' INCLUDE \((?:"(?:[^"]|"")*"|[^")])*\)', '') FROM pgteller_information_schema.shown c WHERE c.oid = $1 AND c.kind = 'c')$x$),
      (9, 'pg_get_indexdef', $x$(SELECT CASE WHEN $2 > 0 THEN CASE WHEN $2 <= i.columns THEN pg_catalog.pg_get_indexdef(i.oid, $2, $3) ELSE '' END
            ELSE regexp_replace(pg_catalog.pg_get_indexdef(i.oid, 0, $3), ' INCLUDE \((?:"(?:[^"]|"")*"|[^")])*\)', '') END FROM pgteller_information_schema.shown i WHERE i.oid = $1 AND i.kind = 'i')$x$),
      (10, 'pg_partition_ancestors', $x$WITH RECURSIVE up(oid) AS (SELECT c.oid FROM pgteller_catalog.pg_class c WHERE c.oid = $1 AND (c.relkind = 'p' OR c.relispartition) UNION ALL SELECT i.inhparent FROM up JOIN pgteller_catalog.pg_inherits i ON i.inhrelid = up.oid)
          SELECT up.oid::regclass FROM up$x$),
      (10, 'has_table_privilege', NULL), (10, 'has_any_column_privilege', NULL), (10, 'has_column_privilege', NULL), (10, 'has_schema_privilege', NULL),
      (11, 'shobj_description', NULL), (11, 'pg_get_viewdef', NULL), (11, 'pg_get_expr', NULL), (11, 'pg_get_userbyid', NULL), (11, 'pg_get_serial_sequence', NULL), (11, 'pg_get_partkeydef', NULL),
      (11, 'pg_get_partition_constraintdef', NULL), (11, 'pg_get_statisticsobjdef', NULL), (11, 'pg_get_statisticsobjdef_columns', NULL), (11, 'pg_get_statisticsobjdef_expressions', NULL), (11, 'pg_get_triggerdef', NULL),
      (11, 'pg_get_ruledef', NULL), (11, 'pg_relation_size', NULL), (11, 'pg_total_relation_size', NULL), (11, 'pg_table_size', NULL), (11, 'pg_indexes_size', NULL), (11, 'pg_database_size', NULL), (11, 'pg_tablespace_size', NULL),
      (11, 'pg_partition_tree', NULL), (11, 'pg_partition_root', NULL), (11, 'pg_relation_is_publishable', NULL), (11, 'pg_statistics_obj_is_visible', NULL), (11, 'pg_get_replica_identity_index', NULL)
    ) b(n, name, body) ON b.name = p.proname
    WHERE p.pronamespace = 'pg_catalog'::regnamespace AND p.prokind = 'f'
    ORDER BY b.n, p.proname, p.pronargs DESC
  LOOP
    body := f.body;
    IF f.signature = 'obj_description(oid)' THEN body := $x$(SELECT d.description FROM pgteller_catalog.pg_description d WHERE d.objoid = $1 AND d.objsubid = 0)$x$; END IF;
    IF f.proname = 'pg_get_indexdef' AND f.pronargs = 1 THEN body := 'pgteller_catalog.pg_get_indexdef($1, 0, false)'; END IF;
    IF f.proname LIKE 'has\_%' THEN
      -- The optional first argument is a role, the last the privilege; between them the object, and a column.
      answer := CASE WHEN f.proargtypes[0] = 'name'::regtype THEN '$1 = session_user'
                     WHEN f.pronargs = CASE f.proname WHEN 'has_column_privilege' THEN 4 ELSE 3 END THEN '$1 = (SELECT r.oid FROM pgteller_catalog.pg_roles r)' ELSE 'true' END;
      DECLARE o int := CASE WHEN answer = 'true' THEN 1 ELSE 2 END; last int := f.pronargs; BEGIN
        answer := answer || format(' AND %s ~* %L', '$' || last, CASE f.proname WHEN 'has_schema_privilege' THEN '(^|,)\s*USAGE\s*(,|$)' ELSE '(^|,)\s*SELECT\s*(,|$)' END);
        relation := CASE WHEN f.proargtypes[o - 1] = 'text'::regtype THEN format(CASE f.proname WHEN 'has_schema_privilege' THEN '(pgteller_catalog.to_regnamespace(%s))::oid' ELSE named END, '$' || o) ELSE '$' || o END;
        body := 'coalesce(' || answer || ' AND EXISTS (SELECT FROM ' || CASE
          WHEN f.proname = 'has_schema_privilege' THEN 'pgteller_catalog.pg_namespace x WHERE x.oid = ' || relation
          WHEN f.proname = 'has_column_privilege' THEN 'pgteller_catalog.pg_attribute x WHERE x.attrelid = ' || relation || CASE WHEN f.proargtypes[o] = 'text'::regtype THEN ' AND x.attname = $' || o + 1 || '::name' ELSE ' AND x.attnum = $' || o + 1 END
          ELSE 'pgteller_information_schema.shown x WHERE x.kind NOT IN (''c'', ''t'') AND x.oid = ' || relation END || '), false)';
      END;
    END IF;
    IF f.proretset THEN
      EXECUTE format('CREATE FUNCTION pgteller_catalog.%I(%s) RETURNS %s LANGUAGE sql STABLE STRICT BEGIN ATOMIC %s; END', f.proname,
        pg_get_function_arguments(f.oid), f.result, coalesce(body, (SELECT 'SELECT ' || coalesce(string_agg('NULL::' || format_type(a.type, NULL), ', ' ORDER BY place), 'NULL::' || format_type(f.prorettype, NULL)) || ' WHERE false'
           FROM pg_proc p, unnest(p.proallargtypes, p.proargmodes) WITH ORDINALITY a(type, mode, place) WHERE p.oid = f.oid AND a.mode IN ('o', 't'))));
    ELSE
      EXECUTE format('CREATE FUNCTION pgteller_catalog.%I(%s) RETURNS %s LANGUAGE sql STABLE %s RETURN (%s)::%s', f.proname, f.arguments, f.result, CASE WHEN f.proisstrict THEN 'STRICT' ELSE '' END,
        coalesce(body, CASE WHEN f.prorettype = 'boolean'::regtype THEN 'false' ELSE 'NULL' END), f.result);
    END IF;
  END LOOP;
  -- A relation's name as text: without these, PostgreSQL would look the real name up as the task, which may not.
  FOR f IN SELECT name, extra FROM unnest(ARRAY['pg_relation_size', 'pg_total_relation_size', 'pg_table_size', 'pg_indexes_size']) name, (VALUES ('text'), ('text, text')) e(extra) WHERE extra = 'text' OR name = 'pg_relation_size' LOOP
    EXECUTE format('CREATE FUNCTION pgteller_catalog.%I(%s) RETURNS bigint LANGUAGE sql STABLE STRICT RETURN NULL::bigint', f.name, f.extra);
  END LOOP;
  -- No signature of PostgreSQL's may be left.
  FOR f IN SELECT p.oid FROM pg_proc p WHERE p.pronamespace = 'pg_catalog'::regnamespace AND EXISTS (SELECT FROM pg_proc o WHERE o.pronamespace = 'pgteller_catalog'::regnamespace AND o.proname = p.proname)
      AND NOT EXISTS (SELECT FROM pg_proc o WHERE o.pronamespace = 'pgteller_catalog'::regnamespace AND o.proname = p.proname AND o.proargtypes = p.proargtypes) LOOP
    RAISE EXCEPTION 'no governed form of %', f.oid::regprocedure;
  END LOOP;
END $do$;
REVOKE ALL ON ALL FUNCTIONS IN SCHEMA pgteller_catalog FROM PUBLIC;

-- Keys are the only indexes that are shown.
CREATE VIEW pgteller_catalog.pg_indexes WITH (security_barrier = true) AS
  WITH x AS MATERIALIZED (
    SELECT (SELECT s.real_schema FROM pgteller_information_schema._relation r JOIN pgteller_information_schema._schema s ON s.oid = r.schema WHERE r.oid = k.relation) AS real_schema,
           (SELECT c.relname FROM pg_class c WHERE c.oid = k.relation) AS relname, i.relname AS index_name, k.index
    FROM pgteller_information_schema._constraint k JOIN pg_class i ON i.oid = k.index)
  SELECT x.real_schema AS schemaname, x.relname AS tablename, x.index_name AS indexname, NULL::name AS tablespace, pgteller_catalog.pg_get_indexdef(x.index) AS indexdef FROM x;
-- What a profile's role needs, granted once: the rows depend on who asks, and whoever is no task of ours sees none.
-- (Per profile it would be a hundred changed privileges each.) The views whose names begin with `_` are not for tasks.
GRANT USAGE ON SCHEMA pgteller_catalog, pgteller_information_schema TO PUBLIC;
GRANT SELECT ON ALL TABLES IN SCHEMA pgteller_catalog TO PUBLIC;
GRANT SELECT ON
  pgteller_information_schema.shown,                -- read by the functions; not a name for agents
  pgteller_information_schema.schemata, pgteller_information_schema.tables, pgteller_information_schema.columns, pgteller_information_schema.views,
  pgteller_information_schema.table_constraints, pgteller_information_schema.key_column_usage, pgteller_information_schema.constraint_column_usage,
  pgteller_information_schema.constraint_table_usage, pgteller_information_schema.referential_constraints, pgteller_information_schema.table_privileges,
  pgteller_information_schema.role_table_grants, pgteller_information_schema.column_privileges, pgteller_information_schema.role_column_grants,
  pgteller_information_schema.check_constraints, pgteller_information_schema.routines, pgteller_information_schema.parameters,
  pgteller_information_schema.triggers, pgteller_information_schema.sequences, pgteller_information_schema.domains,
  pgteller_information_schema.domain_constraints, pgteller_information_schema.element_types, pgteller_information_schema.view_table_usage,
  pgteller_information_schema.view_column_usage
  TO PUBLIC;
GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA pgteller_catalog TO PUBLIC;
RESET ROLE;
