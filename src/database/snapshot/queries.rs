//! The catalog queries behind a snapshot.
//!
//! Each takes at most the view owner's name and gives plain rows, ordered, so that equal schemas give equal snapshots.

/// Relations that the view owner can select from, at least in part.
pub const RELATIONS: &str = "
SELECT c.oid, n.nspname::text, c.relname::text, c.relkind, c.relispartition, obj_description(c.oid, 'pg_class'),
       (SELECT x.owner FROM pgteller_api.rls_table x WHERE x.relation = c.oid AND x.owner = c.relowner AND c.relrowsecurity AND c.relkind IN ('r', 'p'))
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'v', 'm', 'p', 'f') AND c.relpersistence <> 't'
  AND n.nspname <> 'information_schema' AND n.nspname !~ '^pg_' AND n.nspname !~ '^pgteller_'
  AND has_schema_privilege($1, n.oid, 'USAGE') AND has_any_column_privilege($1, c.oid, 'SELECT')
ORDER BY n.nspname, c.relname";

/// Their columns. Domains are followed to the type under them, arrays to what they hold and domains there again. The `leaf` is what masks
/// work on; an array of a domain over arrays is its own, since no array type is under it.
pub const COLUMNS: &str = "
WITH RECURSIVE base(oid, base, typmod) AS (
  SELECT t.oid, t.typbasetype, t.typtypmod FROM pg_type t WHERE t.typtype = 'd'
  UNION ALL
  SELECT b.oid, t.typbasetype, CASE WHEN b.typmod < 0 THEN t.typtypmod ELSE b.typmod END FROM base b JOIN pg_type t ON t.oid = b.base WHERE t.typtype = 'd'
), domain AS (
  SELECT b.oid, b.base, b.typmod, EXISTS (SELECT FROM pg_type e WHERE e.oid = t.typelem AND e.typarray = t.oid) AS is_array
  FROM base b JOIN pg_type t ON t.oid = b.base WHERE t.typtype <> 'd'
)
SELECT a.attrelid, a.attname::text, a.attnum, a.atttypid, a.atttypmod, a.attnotnull, format_type(a.atttypid, a.atttypmod),
       leaf.oid,
       CASE WHEN ed.base IS NULL THEN format_type(bt.oid, base.typmod) WHEN ed.is_array THEN format_type(bt.oid, -1)
            ELSE format_type(ed.base, ed.typmod) || '[]' END,
       (SELECT en.nspname::text FROM pg_depend x JOIN pg_namespace en ON en.oid = leaf.typnamespace
         WHERE x.classid = 'pg_type'::regclass AND x.deptype = 'e' AND x.objid = leaf.oid LIMIT 1),
       col_description(a.attrelid, a.attnum),
       ARRAY(SELECT l.enumlabel::text FROM pg_enum l WHERE l.enumtypid = leaf.oid ORDER BY l.enumsortorder),
       CASE WHEN et.oid IS NULL THEN NULL WHEN ed.base IS NULL OR ed.is_array THEN format_type(et.oid, base.typmod)
            ELSE format_type(ed.base, ed.typmod) END,
       EXISTS (SELECT FROM pg_depend x JOIN pg_extension ext ON ext.oid = x.refobjid
         WHERE x.classid = 'pg_type'::regclass AND x.objid = leaf.oid AND x.refclassid = 'pg_extension'::regclass AND x.deptype = 'e'
           AND ext.extname = 'citext' AND leaf.typname = 'citext')
FROM pg_attribute a
JOIN pg_class c ON c.oid = a.attrelid
JOIN pg_namespace n ON n.oid = c.relnamespace
LEFT JOIN domain d ON d.oid = a.atttypid
CROSS JOIN LATERAL (SELECT CASE WHEN d.base IS NULL THEN a.atttypmod ELSE d.typmod END AS typmod) base
JOIN pg_type bt ON bt.oid = coalesce(d.base, a.atttypid)
LEFT JOIN pg_type et ON et.oid = bt.typelem AND et.typarray = bt.oid
LEFT JOIN domain ed ON ed.oid = et.oid
JOIN pg_type leaf ON leaf.oid = coalesce(ed.base, et.oid, bt.oid)
WHERE a.attnum > 0 AND NOT a.attisdropped AND c.relkind IN ('r', 'v', 'm', 'p', 'f')
  AND n.nspname <> 'information_schema' AND n.nspname !~ '^pg_' AND n.nspname !~ '^pgteller_'
  AND has_column_privilege($1, a.attrelid, a.attnum, 'SELECT')
ORDER BY a.attrelid, a.attnum";

/// Primary, unique and foreign keys with column names in order.
pub const KEYS: &str = "
SELECT k.conrelid, k.contype,
       ARRAY(SELECT a.attname::text FROM unnest(k.conkey) WITH ORDINALITY x(num, ord) JOIN pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = x.num ORDER BY x.ord),
       fn.nspname::text, f.relname::text,
       ARRAY(SELECT a.attname::text FROM unnest(k.confkey) WITH ORDINALITY x(num, ord) JOIN pg_attribute a ON a.attrelid = k.confrelid AND a.attnum = x.num ORDER BY x.ord)
FROM pg_constraint k LEFT JOIN pg_class f ON f.oid = k.confrelid LEFT JOIN pg_namespace fn ON fn.oid = f.relnamespace
WHERE k.contype IN ('p', 'u', 'f') AND k.conrelid >= 16384
ORDER BY k.conrelid, k.conname";

/// Child and parent: partitions, inheritance, and what views read.
pub const DERIVED: &str = "
SELECT i.inhrelid, i.inhparent, n.nspname::text, c.relname::text
FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhparent JOIN pg_namespace n ON n.oid = c.relnamespace
UNION
SELECT r.ev_class, d.refobjid, n.nspname::text, c.relname::text
FROM pg_rewrite r JOIN pg_depend d ON d.classid = 'pg_rewrite'::regclass AND d.objid = r.oid AND d.refclassid = 'pg_class'::regclass
JOIN pg_class c ON c.oid = d.refobjid JOIN pg_namespace n ON n.oid = c.relnamespace
JOIN pg_class v ON v.oid = r.ev_class JOIN pg_namespace vn ON vn.oid = v.relnamespace
WHERE d.refobjid <> r.ev_class AND vn.nspname !~ '^pgteller_' AND vn.nspname !~ '^pg_' AND vn.nspname <> 'information_schema'
ORDER BY 1, 2";

/// Definitions of application views, by OID.
pub const DEFINITIONS: &str = "
SELECT r.ev_class, md5(string_agg(r.ev_action::text, '' ORDER BY r.rulename))
FROM pg_rewrite r JOIN pg_class c ON c.oid = r.ev_class JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('v', 'm') AND n.nspname !~ '^pgteller_' AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
GROUP BY 1 ORDER BY 1";

/// Views of the governed catalog.
pub const GOVERNED_RELATIONS: &str = "
SELECT c.oid, n.nspname::text, c.relname::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind = 'v' AND n.nspname::text = ANY ($1) AND c.relname !~ '^_' ORDER BY 1";

/// Functions of the governed catalog that stand before a built-in one.
pub const GOVERNED_FUNCTIONS: &str = "
SELECT DISTINCT p.proname::text FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
WHERE n.nspname::text = $1 AND EXISTS (SELECT FROM pg_proc b WHERE b.pronamespace = 'pg_catalog'::regnamespace AND b.proname = p.proname) ORDER BY 1";

/// What the governed catalog's views read. (From their rules: `pg_depend` does not record what PostgreSQL itself brings.)
pub const GOVERNED_BELOW: &str = r"
SELECT DISTINCT m.found[1]::oid FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace JOIN pg_rewrite r ON r.ev_class = c.oid,
  LATERAL regexp_matches(r.ev_action::text, ':relid (\d+)', 'g') m(found)
WHERE c.relkind = 'v' AND n.nspname::text = ANY ($1) ORDER BY 1";

/// Indexes with every column that their keys, INCLUDE lists, expressions and predicates touch.
pub const INDEXES: &str = "
SELECT x.indrelid, i.relname::text,
       ARRAY(SELECT DISTINCT a.attname::text FROM pg_attribute a WHERE a.attrelid = x.indrelid AND a.attnum > 0 AND (a.attnum = ANY (x.indkey::int2[])
         OR EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = x.indexrelid
                      AND d.refclassid = 'pg_class'::regclass AND d.refobjid = x.indrelid AND d.refobjsubid = a.attnum)) ORDER BY 1)
FROM pg_index x JOIN pg_class i ON i.oid = x.indexrelid
WHERE x.indrelid >= 16384 AND (x.indnatts > 1 OR x.indexprs IS NOT NULL OR x.indpred IS NOT NULL)
ORDER BY x.indrelid, i.relname";

/// Every function's name, volatility and extension.
pub const FUNCTIONS: &str = "
SELECT n.nspname::text, p.proname::text, p.provolatile, e.extname::text
FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
LEFT JOIN pg_depend d ON d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e'
LEFT JOIN pg_extension e ON e.oid = d.refobjid
WHERE n.nspname !~ '^pgteller_' AND n.nspname <> 'information_schema' AND p.prokind <> 'p'
ORDER BY 1, 2, 3, 4";

/// What an unqualified name reaches in `pg_catalog`.
pub const CATALOG_RELATIONS: &str = "
SELECT c.relname::text FROM pg_class c WHERE c.relnamespace = 'pg_catalog'::regnamespace AND c.relkind IN ('r', 'v')";

/// Names of types that PostgreSQL does not bring.
pub const TYPE_NAMES: &str = "
SELECT t.oid, format_type(t.oid, NULL) FROM pg_type t WHERE t.oid >= 16384 AND t.typtype IN ('b', 'd', 'e', 'r', 'm')";

/// The login's default search path without `$user`.
pub const SEARCH_PATH: &str = r#"
SELECT coalesce(array_agg(trim(both ' "' from part)) FILTER (WHERE trim(both ' "' from part) NOT IN ('$user', '')), '{}')
FROM pg_settings, unnest(string_to_array(reset_val, ',')) part WHERE name = 'search_path'"#;

/// Changes whenever something that a snapshot reads was touched: row versions of the catalogs, ours excepted.
pub const FINGERPRINT: &str = "
WITH mine AS (SELECT n.oid FROM pg_namespace n WHERE n.nspname !~ '^pgteller_' AND n.nspname !~ '^pg_temp' AND n.nspname !~ '^pg_toast')
SELECT concat_ws('/',
  (SELECT concat(count(*), ':', sum(c.xmin::text::bigint)) FROM pg_class c WHERE c.relnamespace IN (SELECT oid FROM mine) AND c.oid >= 16384 AND c.relkind IN ('r', 'v', 'm', 'p', 'f')),
  (SELECT concat(count(*), ':', sum(a.xmin::text::bigint)) FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid WHERE c.relnamespace IN (SELECT oid FROM mine) AND c.oid >= 16384 AND a.attnum > 0),
  (SELECT concat(count(*), ':', sum(d.xmin::text::bigint)) FROM pg_description d WHERE d.objoid >= 16384),
  (SELECT concat(count(*), ':', sum(p.xmin::text::bigint)) FROM pg_proc p WHERE p.oid >= 16384),
  (SELECT concat(count(*), ':', sum(k.xmin::text::bigint)) FROM pg_constraint k),
  (SELECT concat(count(*), ':', sum(i.xmin::text::bigint)) FROM pg_inherits i),
  (SELECT concat(count(*), ':', sum(e.xmin::text::bigint)) FROM pg_enum e),
  (SELECT concat(count(*), ':', sum(r.xmin::text::bigint)) FROM pg_rewrite r JOIN pg_class c ON c.oid = r.ev_class WHERE c.relnamespace IN (SELECT oid FROM mine)),
  (SELECT concat(count(*), ':', sum(x.xmin::text::bigint)) FROM pg_index x WHERE x.indrelid >= 16384),
  (SELECT concat(count(*), ':', sum(t.xmin::text::bigint)) FROM pgteller_api.rls_table t),
  (SELECT concat(count(*), ':', sum(n.xmin::text::bigint)) FROM pg_namespace n WHERE n.oid IN (SELECT oid FROM mine)))";
