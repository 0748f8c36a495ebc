-- Fills the governed catalog for one profile, as the gateway's login, after the profile's views exist and in the same transaction.
-- $1 the profile's role; $2 real schemas and $3 the profile's schemas, side by side. One statement.
WITH RECURSIVE
schemas AS MATERIALIZED (
  SELECT ours.oid, base.oid AS base, base.nspname AS real_schema
  FROM unnest($2::text[], $3::text[]) given(real_schema, our_schema)
  JOIN pg_catalog.pg_namespace ours ON ours.nspname = given.our_schema::name
  JOIN pg_catalog.pg_namespace base ON base.nspname = given.real_schema::name
), relations AS MATERIALIZED (
  SELECT v.oid, s.oid AS schema, b.oid AS base, CASE b.relkind WHEN 'f' THEN 'r'::"char" ELSE b.relkind END AS kind
  FROM schemas s
  JOIN pg_catalog.pg_class v ON v.relnamespace = s.oid AND v.relkind = 'v'
  JOIN pg_catalog.pg_class b ON b.relnamespace = s.base AND b.relname = v.relname AND b.relkind IN ('r', 'v', 'm', 'p', 'f')
), columns AS MATERIALIZED (
  SELECT r.oid, v.attnum, r.base, b.attnum AS base_attnum, v.atttypid AS type
  FROM relations r
  JOIN pg_catalog.pg_attribute v ON v.attrelid = r.oid AND v.attnum > 0 AND NOT v.attisdropped
  JOIN pg_catalog.pg_attribute b ON b.attrelid = r.base AND b.attname = v.attname AND b.attnum > 0 AND NOT b.attisdropped
), types(oid) AS (
  SELECT DISTINCT c.type FROM columns c
  UNION
  SELECT part.oid FROM types t JOIN pg_catalog.pg_type y ON y.oid = t.oid CROSS JOIN LATERAL (VALUES (y.typelem), (y.typbasetype)) part(oid) WHERE part.oid <> 0
), local_columns AS MATERIALIZED (          -- each key's own columns, where all of them are shown
  SELECT k.oid, r.oid AS relation, array_agg(c.attnum ORDER BY u.place) AS columns
  FROM relations r
  JOIN pg_catalog.pg_constraint k ON k.conrelid = r.base AND k.contype IN ('p', 'u', 'f')
  CROSS JOIN LATERAL unnest(k.conkey) WITH ORDINALITY u(num, place)
  JOIN columns c ON c.oid = r.oid AND c.base_attnum = u.num
  GROUP BY k.oid, r.oid, k.conkey HAVING count(*) = cardinality(k.conkey)
), foreign_columns AS MATERIALIZED (        -- and what it refers to, likewise
  SELECT k.oid, r.oid AS relation, array_agg(c.attnum ORDER BY u.place) AS columns
  FROM local_columns l
  JOIN pg_catalog.pg_constraint k ON k.oid = l.oid AND k.contype = 'f'
  JOIN relations r ON r.base = k.confrelid
  CROSS JOIN LATERAL unnest(k.confkey) WITH ORDINALITY u(num, place)
  JOIN columns c ON c.oid = r.oid AND c.base_attnum = u.num
  GROUP BY k.oid, r.oid, k.confkey HAVING count(*) = cardinality(k.confkey)
), into_schema AS (
  INSERT INTO pgteller_private.shown_schema(profile, oid, real_schema) SELECT $1::text::name, oid, real_schema FROM schemas
), into_relation AS (
  INSERT INTO pgteller_private.shown_relation(profile, oid, schema, base, kind) SELECT $1::text::name, oid, schema, base, kind FROM relations
), into_column AS (
  INSERT INTO pgteller_private.shown_column(profile, oid, attnum, base, base_attnum) SELECT $1::text::name, oid, attnum, base, base_attnum FROM columns
), into_type AS (                           -- a row type is named after its table: never shown
  INSERT INTO pgteller_private.shown_type(profile, oid)
  SELECT $1::text::name, t.oid FROM types t JOIN pg_catalog.pg_type y ON y.oid = t.oid LEFT JOIN pg_catalog.pg_type e ON e.oid = y.typelem
  WHERE NOT (y.oid < 16384 AND y.typnamespace = 'pg_catalog'::regnamespace)
    AND NOT EXISTS (SELECT FROM pg_catalog.pg_class c WHERE c.oid IN (y.typrelid, e.typrelid) AND c.relkind <> 'c')
)
INSERT INTO pgteller_private.shown_constraint(profile, oid, kind, relation, columns, ref_relation, ref_columns, index)
SELECT $1::text::name, k.oid, k.contype, l.relation, l.columns, f.relation, f.columns, CASE WHEN k.contype <> 'f' THEN k.conindid END
FROM local_columns l
JOIN pg_catalog.pg_constraint k ON k.oid = l.oid
LEFT JOIN foreign_columns f ON f.oid = l.oid
LEFT JOIN pg_catalog.pg_constraint p ON p.oid = k.conparentid AND p.conrelid = k.conrelid   -- PostgreSQL's own copy of a key, one per partition referred to
WHERE (k.contype <> 'f' OR f.oid IS NOT NULL) AND p.oid IS NULL
  AND NOT EXISTS (                          -- a unique key is named after its INCLUDE columns too
    SELECT FROM pg_catalog.pg_index i CROSS JOIN LATERAL unnest(i.indkey::int2[]) WITH ORDINALITY u(num, place)
    WHERE k.contype = 'u' AND i.indexrelid = k.conindid AND i.indnatts > i.indnkeyatts AND u.place > i.indnkeyatts
      AND NOT EXISTS (SELECT FROM columns c WHERE c.oid = l.relation AND c.base_attnum = u.num))
