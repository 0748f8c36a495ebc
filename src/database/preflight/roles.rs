//! Our roles, and what is theirs: as the set-up made them, and nothing more.
//!
//! Gives checks over attributes, memberships, ownership and privileges that came later. All are serious: what the view owner or the definer
//! can do beyond the set-up, a fault elsewhere could do too, and RLS does not hold for owners (`redteam.md` 1, 16).
//! Profiles come and go meanwhile: an object that left since the query began has no identity, and is nobody's.

use super::{Check, Fix, Grade, Told};
use crate::database::quote;

const BY_HAND: &str = "give it to another role: ALTER … OWNER TO";

/// The checks of this file.
pub(super) const CHECKS: &[Check] = &[
    Check {
        grade: Grade::Serious,
        sql: "
SELECT ARRAY[our.word, has.attribute, r.rolname::text]
FROM us, LATERAL (VALUES (us.owner, 'view-owner'), (us.definer, 'definer'), (us.login, 'login'), (us.policies, 'policies')) our(oid, word)
JOIN pg_roles r ON r.oid = our.oid,
     LATERAL (VALUES (r.rolsuper, 'superuser'), (r.rolbypassrls, 'bypassrls'), (r.rolcreaterole AND our.word <> 'definer', 'createrole'),
              (r.rolcreatedb, 'createdb'), (r.rolreplication, 'replication'), (r.rolcanlogin AND our.word <> 'login', 'login')) has(yes, attribute)
WHERE has.yes",
        tell: |of| {
            let (word, attribute, role) = (of.at(0), of.at(1), of.at(2));
            Told(
                format!("{word}:{attribute}"),
                format!("the role `{role}` has {}, which the set-up did not give it", attribute.to_uppercase()),
                Fix::Sql(format!("ALTER ROLE {} NO{};", quote::identifier(role), attribute.to_uppercase())),
            )
        },
    },
    // 16 and newer: one role may be granted by several, and REVOKE takes back one's own only. There the definer has ADMIN on the view owner,
    // to make the owners of profiles with policies; it may not act as it.
    Check {
        grade: Grade::Serious,
        sql: "
SELECT DISTINCT ARRAY[our.word, r.rolname::text, m.rolname::text,
  CASE WHEN current_setting('server_version_num')::int >= 160000 THEN pg_get_userbyid(a.grantor)::text ELSE '' END,
  CASE WHEN a.member = us.definer AND a.roleid = us.owner THEN 'admin' ELSE '' END]
FROM us, LATERAL (VALUES (us.owner, 'view-owner'), (us.definer, 'definer'), (us.login, 'login')) our(oid, word)
JOIN pg_auth_members a ON a.member = our.oid JOIN pg_roles r ON r.oid = a.roleid JOIN pg_roles m ON m.oid = a.member
WHERE r.rolname !~ us.made AND NOT (our.word = 'login' AND r.oid = us.owner) AND NOT (our.word = 'definer' AND r.rolname = 'pg_signal_backend')
  AND NOT (our.word = 'definer' AND r.oid = us.owner AND NOT coalesce((to_jsonb(a) ->> 'set_option')::bool OR (to_jsonb(a) ->> 'inherit_option')::bool, true))",
        tell: |of| {
            Told(
                format!("{}:member-of:{}", of.at(0), of.at(1)),
                format!("the role `{}` is a member of `{}`, which the set-up did not make it", of.at(2), of.at(1)),
                revoke_role(of.at(1), of.at(2), of.at(3), of.at(4)),
            )
        },
    },
    // Who made a role has ADMIN on it (16 and newer): that alone lets nobody act as it.
    Check {
        grade: Grade::Serious,
        sql: "
SELECT DISTINCT ARRAY[our.word, m.rolname::text, r.rolname::text,
  CASE WHEN current_setting('server_version_num')::int >= 160000 THEN pg_get_userbyid(a.grantor)::text ELSE '' END,
  CASE WHEN a.member = us.definer AND a.roleid = us.owner THEN 'admin' ELSE '' END]
FROM us, LATERAL (VALUES (us.owner, 'view-owner'), (us.definer, 'definer'), (us.login, 'login'), (us.policies, 'policies')) our(oid, word)
JOIN pg_auth_members a ON a.roleid = our.oid JOIN pg_roles m ON m.oid = a.member JOIN pg_roles r ON r.oid = a.roleid
WHERE NOT (our.word = 'view-owner' AND (m.oid = us.login OR m.rolname ~ ('^' || us.prefix || 'o_[0-9a-f]{32}$')))
  AND coalesce((to_jsonb(a) ->> 'set_option')::bool OR (to_jsonb(a) ->> 'inherit_option')::bool, true)",
        tell: |of| {
            Told(
                format!("{}:member:{}", of.at(0), of.at(1)),
                format!("the role `{}` may act as `{}`", of.at(1), of.at(2)),
                revoke_role(of.at(2), of.at(1), of.at(3), of.at(4)),
            )
        },
    },
    Check {
        grade: Grade::Serious,
        sql: "
SELECT ARRAY[i.type || ' ' || i.identity, pg_get_userbyid(us.owner)::text,
  CASE WHEN i.type IN ('table', 'view', 'materialized view', 'sequence', 'foreign table', 'function', 'procedure', 'schema', 'type')
       THEN format('ALTER %s %s OWNER TO %I;', upper(i.type), i.identity, pg_get_userbyid(d.datdba)) ELSE '' END]
FROM us JOIN pg_database d ON d.oid = us.db
JOIN pg_shdepend o ON o.dbid = us.db AND o.refclassid = 'pg_authid'::regclass AND o.refobjid = us.owner AND o.deptype = 'o',
     LATERAL pg_identify_object(o.classid, o.objid, o.objsubid) i
WHERE i.identity IS NOT NULL AND coalesce(i.schema, i.name, '') !~ ('^' || us.prefix) AND coalesce(i.schema, i.name, '') NOT IN ('pgteller_catalog', 'pgteller_information_schema')",
        tell: |of| {
            Told(
                format!("view-owner:owns:{}", of.at(0)),
                format!("the role `{}` owns the {}: row level security does not hold for it there, and the gateway could alter it", of.at(1), of.at(0)),
                of.sql_or(2, BY_HAND),
            )
        },
    },
    Check {
        grade: Grade::Serious,
        sql: "
SELECT ARRAY[i.type || ' ' || i.identity, pg_get_userbyid(object.owner)::text,
  format('ALTER %s %s OWNER TO %I;', upper(i.type), i.identity, pg_get_userbyid(us.definer))]
FROM us, LATERAL (
  SELECT 'pg_class'::regclass AS class, c.oid, c.relowner AS owner FROM pg_class c
    WHERE c.relnamespace::regnamespace::text IN ('pgteller_api', 'pgteller_private') AND c.relkind IN ('r', 'v', 'm', 'p', 'f', 'S')
  UNION ALL SELECT 'pg_proc'::regclass, p.oid, p.proowner FROM pg_proc p WHERE p.pronamespace::regnamespace::text IN ('pgteller_api', 'pgteller_private')
  UNION ALL SELECT 'pg_namespace'::regclass, n.oid, n.nspowner FROM pg_namespace n WHERE n.nspname IN ('pgteller_api', 'pgteller_private')) object,
     LATERAL pg_identify_object(object.class, object.oid, 0) i
WHERE i.identity IS NOT NULL AND object.owner <> us.definer AND NOT (object.owner = us.policies AND starts_with(i.identity, 'pgteller_api.limit_rows('))",
        tell: |of| {
            Told(
                format!("set-up-owner:{}", of.at(0)),
                format!("the {} of the set-up belongs to `{}`, who could make the definer's functions do anything", of.at(0), of.at(1)),
                of.sql_or(2, BY_HAND),
            )
        },
    },
    // The view owner reads there, the login writes rows there; nobody else has anything there, and nobody may hang code on it.
    Check {
        grade: Grade::Serious,
        sql: "
SELECT ARRAY[i.identity, CASE grantee WHEN 0 THEN 'PUBLIC' ELSE pg_get_userbyid(grantee)::text END, string_agg(DISTINCT privilege, ', '),
  format('REVOKE %s ON %s %s FROM %s;', string_agg(DISTINCT privilege, ', '), kind, i.identity, CASE grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(grantee)) END)]
FROM us, LATERAL (
  SELECT 'pg_class'::regclass AS class, c.oid, 'TABLE' AS kind, x.grantee, x.privilege_type AS privilege FROM pg_class c,
      LATERAL (SELECT * FROM aclexplode(c.relacl) UNION ALL SELECT x.* FROM pg_attribute a, aclexplode(a.attacl) x WHERE a.attrelid = c.oid) x
    WHERE c.relnamespace::regnamespace::text IN ('pgteller_api', 'pgteller_private')
  UNION ALL
  SELECT 'pg_proc'::regclass, p.oid, 'ROUTINE', x.grantee, x.privilege_type FROM pg_proc p, aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) x
    WHERE p.pronamespace::regnamespace::text IN ('pgteller_api', 'pgteller_private')
  UNION ALL
  SELECT 'pg_namespace'::regclass, n.oid, 'SCHEMA', x.grantee, x.privilege_type FROM pg_namespace n, aclexplode(n.nspacl) x
    WHERE n.nspname IN ('pgteller_api', 'pgteller_private')) given,
     LATERAL pg_identify_object(given.class, given.oid, 0) i
WHERE i.identity IS NOT NULL AND grantee <> us.definer
  AND NOT (grantee IN (us.owner, us.policies) AND privilege IN ('SELECT', 'USAGE', 'EXECUTE'))
  AND NOT (grantee = us.login AND privilege IN ('SELECT', 'INSERT', 'UPDATE', 'DELETE', 'USAGE', 'EXECUTE'))
GROUP BY i.identity, grantee, kind",
        tell: |of| {
            Told(
                format!("set-up-grant:{}:{}", of.at(0), of.at(1)),
                format!("`{}` has {} on `{}` of the set-up, which the set-up did not grant", of.at(1), of.at(2), of.at(0)),
                of.sql_or(3, BY_HAND),
            )
        },
    },
    Check {
        grade: Grade::Serious,
        sql: "
SELECT ARRAY[c.oid::regclass::text, t.tgname::text, format('DROP TRIGGER %I ON %s;', t.tgname, c.oid::regclass)]
FROM us, pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid JOIN pg_proc p ON p.oid = t.tgfoid
WHERE c.relnamespace::regnamespace::text IN ('pgteller_api', 'pgteller_private') AND NOT t.tgisinternal AND p.proowner <> us.definer",
        tell: |of| {
            Told(
                format!("set-up-trigger:{}:{}", of.at(0), of.at(1)),
                format!("the trigger `{}` on `{}` of the set-up would run with the definer's rights", of.at(1), of.at(0)),
                of.sql_or(2, BY_HAND),
            )
        },
    },
];

/// Takes a membership back; of one that the set-up made as `admin`, only what it does not have from there.
fn revoke_role(role: &str, member: &str, grantor: &str, made_as: &str) -> Fix {
    let (role, member) = (quote::identifier(role), quote::identifier(member));
    let by = if grantor.is_empty() { String::new() } else { format!(" GRANTED BY {}", quote::identifier(grantor)) };
    Fix::Sql(match made_as {
        "admin" if !grantor.is_empty() => format!("GRANT {role} TO {member} WITH ADMIN TRUE, INHERIT FALSE, SET FALSE{by};"),
        _ => format!("REVOKE {role} FROM {member}{by};"),
    })
}
