-- Fills the governed catalog for one profile, as the gateway's login, after the profile's views exist and in the same transaction.
-- $1 the profile's role; $2 real schemas and $3 the profile's schemas, side by side. One statement.
WITH RECURSIVE
schemas AS MATERIALIZED (
  SELECT ours.oid, base.oid AS base, base.nspname AS real_schema
  FROM unnest($2::text[], $3::text[]) given(real_schema, our_schema)
  JOIN pg_catalog.pg_namespace ours ON ours.nspname = given.our_schema::name
  JOIN pg_catalog.pg_namespace base ON base.nspname = given.real_schema::name
), relations AS MATERIALIZED (              -- a profile's view and what it shows bear the same name, and so do their columns
  SELECT v.oid, s.oid AS schema, b.oid AS base, CASE b.relkind WHEN 'f' THEN 'r'::"char" ELSE b.relkind END AS kind,
         ARRAY(SELECT (SELECT n.attnum FROM pg_catalog.pg_attribute n WHERE n.attrelid = b.oid AND n.attname = a.attname AND n.attnum > 0 AND NOT n.attisdropped)
               FROM pg_catalog.pg_attribute a WHERE a.attrelid = v.oid AND a.attnum > 0 ORDER BY a.attnum) AS columns
  FROM schemas s
  JOIN pg_catalog.pg_class v ON v.relnamespace = s.oid AND v.relkind = 'v'
  JOIN pg_catalog.pg_class b ON b.relnamespace = s.base AND b.relname = v.relname AND b.relkind IN ('r', 'v', 'm', 'p', 'f')
), types(oid) AS (
  SELECT DISTINCT a.atttypid FROM relations r JOIN pg_catalog.pg_attribute a ON a.attrelid = r.oid AND a.attnum > 0
  UNION
  SELECT part.oid FROM types t JOIN pg_catalog.pg_type y ON y.oid = t.oid CROSS JOIN LATERAL (VALUES (y.typelem), (y.typbasetype)) part(oid) WHERE part.oid <> 0
), into_schema AS (
  INSERT INTO pgteller_private.shown_schema(profile, oid, real_schema) SELECT $1::text::name, oid, real_schema FROM schemas
), into_relation AS (
  INSERT INTO pgteller_private.shown_relation(profile, oid, schema, base, kind, columns) SELECT $1::text::name, oid, schema, base, kind, columns FROM relations
), into_type AS (                           -- a row type is named after its table: never shown
  INSERT INTO pgteller_private.shown_type(profile, oid)
  SELECT $1::text::name, t.oid FROM types t JOIN pg_catalog.pg_type y ON y.oid = t.oid LEFT JOIN pg_catalog.pg_type e ON e.oid = y.typelem
  WHERE NOT (y.oid < 16384 AND y.typnamespace = 'pg_catalog'::regnamespace)
    AND NOT EXISTS (SELECT FROM pg_catalog.pg_class c WHERE c.oid IN (y.typrelid, e.typrelid) AND c.relkind <> 'c')
)
INSERT INTO pgteller_private.shown_constraint(profile, oid, kind, relation, columns, ref_relation, ref_columns, index)
SELECT $1::text::name, k.oid, k.contype, r.oid, ARRAY(SELECT array_position(r.columns, num) FROM unnest(k.conkey) WITH ORDINALITY u(num, place) ORDER BY place),
       f.oid, CASE WHEN k.contype = 'f' THEN ARRAY(SELECT array_position(f.columns, num) FROM unnest(k.confkey) WITH ORDINALITY u(num, place) ORDER BY place) END,
       CASE WHEN k.contype <> 'f' THEN k.conindid END
FROM relations r
JOIN pg_catalog.pg_constraint k ON k.conrelid = r.base AND k.contype IN ('p', 'u', 'f') AND r.columns @> k.conkey
LEFT JOIN relations f ON f.base = k.confrelid AND f.columns @> k.confkey
LEFT JOIN pg_catalog.pg_constraint p ON p.oid = k.conparentid AND p.conrelid = k.conrelid   -- PostgreSQL's own copy of a key, one per partition referred to
LEFT JOIN pg_catalog.pg_index i ON i.indexrelid = k.conindid
WHERE (k.contype <> 'f' OR f.oid IS NOT NULL) AND p.oid IS NULL
  AND (k.contype <> 'u' OR r.columns @> i.indkey::int2[])   -- a unique key is named after its INCLUDE columns too
