//! What PUBLIC may do, every task may do.
//!
//! Gives checks over what is granted to PUBLIC, as it is now or will be on new objects. Objects of extensions count where they reach out or
//! run with their owner's rights; what PostgreSQL itself grants counts only where somebody granted more.

use super::{Check, Fix, Grade, Told};
use crate::database::quote;

/// The checks of this file.
pub(super) const CHECKS: &[Check] = &[
    // The governed catalog is ours, and made for everybody to read; less the five views that it reads itself.
    Check {
        grade: Grade::Serious,
        sql: "
SELECT ARRAY[n.nspname::text, c.relname::text, string_agg(DISTINCT g.privilege_type, ', ')]
FROM us, pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace,
     LATERAL (SELECT x.grantee, x.privilege_type FROM aclexplode(c.relacl) x UNION ALL
              SELECT x.grantee, x.privilege_type FROM pg_attribute a, aclexplode(a.attacl) x WHERE a.attrelid = c.oid) g
WHERE g.grantee = 0 AND c.relkind IN ('r', 'v', 'm', 'p', 'f', 'S') AND n.nspname NOT IN ('pg_catalog', 'information_schema')
  AND NOT (n.nspname IN ('pgteller_catalog', 'pgteller_information_schema') AND c.relkind = 'v' AND c.relowner = us.owner AND c.relname !~ '^_' AND g.privilege_type = 'SELECT')
  AND n.nspname !~ '^pg_toast' AND has_schema_privilege('public', n.oid, 'USAGE')
  AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e')
GROUP BY n.nspname, c.relname",
        tell: |of| {
            Told(
                format!("public-grant:{}.{}", of.at(0), of.at(1)),
                format!("PUBLIC has privileges on `{}.{}`, so every task has them", of.at(0), of.at(1)),
                Fix::Sql(format!("REVOKE {} ON {} FROM PUBLIC;", of.at(2), quote::qualified(of.at(0), of.at(1)))),
            )
        },
    },
    // What PostgreSQL or an extension keeps from PUBLIC (pg_authid, pg_statistic, pg_buffercache …) and somebody opened again.
    Check {
        grade: Grade::Serious,
        sql: "
SELECT ARRAY[n.nspname::text, c.relname::text, string_agg(DISTINCT more.privilege_type, ', ')]
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace,
     LATERAL (SELECT x.privilege_type FROM aclexplode(c.relacl) x WHERE x.grantee = 0
              EXCEPT SELECT x.privilege_type FROM pg_init_privs i, aclexplode(i.initprivs) x
                WHERE i.classoid = 'pg_class'::regclass AND i.objoid = c.oid AND i.objsubid = 0 AND x.grantee = 0
              UNION ALL
              SELECT x.privilege_type FROM pg_attribute a, aclexplode(a.attacl) x WHERE a.attrelid = c.oid AND x.grantee = 0
                AND NOT EXISTS (SELECT FROM pg_init_privs i WHERE i.classoid = 'pg_class'::regclass AND i.objoid = c.oid AND i.objsubid = a.attnum)) more
WHERE has_schema_privilege('public', n.oid, 'USAGE') AND (n.nspname = 'pg_catalog'
  OR EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e'))
GROUP BY n.nspname, c.relname",
        tell: |of| {
            Told(
                format!("public-grant:{}.{}", of.at(0), of.at(1)),
                format!("PUBLIC was granted {} on `{}.{}`, which it does not have by itself", of.at(2), of.at(0), of.at(1)),
                Fix::Sql(format!("REVOKE {} ON {} FROM PUBLIC;", of.at(2), quote::qualified(of.at(0), of.at(1)))),
            )
        },
    },
    Check {
        grade: Grade::Serious,
        sql: "
SELECT ARRAY[p.oid::regprocedure::text]
FROM pg_proc p JOIN pg_init_privs i ON i.classoid = 'pg_proc'::regclass AND i.objoid = p.oid
WHERE has_schema_privilege('public', p.pronamespace, 'USAGE') AND has_function_privilege('public', p.oid, 'EXECUTE')
  AND NOT EXISTS (SELECT FROM aclexplode(i.initprivs) x WHERE x.grantee = 0)",
        tell: |of| {
            Told(
                format!("restricted-function:{}", of.at(0)),
                format!("PUBLIC was granted EXECUTE on `{}`, which it does not have by itself", of.at(0)),
                Fix::Sql(format!("REVOKE EXECUTE ON ROUTINE {} FROM PUBLIC;", of.at(0))),
            )
        },
    },
    // Several overloads are told apart by their signature: who acknowledged one did not acknowledge the next.
    Check {
        grade: Grade::Serious,
        sql: "
SELECT ARRAY[CASE WHEN count(*) OVER (PARTITION BY n.oid, p.proname) = 1 THEN n.nspname || '.' || p.proname
             ELSE n.nspname || '.' || p.proname || '(' || oidvectortypes(p.proargtypes) || ')' END, p.oid::regprocedure::text]
FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
WHERE p.prosecdef AND n.nspname <> 'pg_catalog'
  AND has_schema_privilege('public', n.oid, 'USAGE') AND has_function_privilege('public', p.oid, 'EXECUTE')",
        tell: |of| {
            Told(
                format!("definer-function:{}", of.at(0)),
                format!("every task may call `{}`, which runs with its owner's rights", of.at(1)),
                Fix::Sql(format!("REVOKE EXECUTE ON ROUTINE {} FROM PUBLIC;", of.at(1))),
            )
        },
    },
    // Handlers cannot be called: a language or wrapper that only has these reaches out for nobody.
    Check {
        grade: Grade::Serious,
        sql: "
SELECT ARRAY[e.extname::text, string_agg(p.oid::regprocedure::text, ', ' ORDER BY p.oid)]
FROM pg_extension e
JOIN pg_depend d ON d.refclassid = 'pg_extension'::regclass AND d.refobjid = e.oid AND d.classid = 'pg_proc'::regclass AND d.deptype = 'e'
JOIN pg_proc p ON p.oid = d.objid
WHERE e.extname IN ('adminpack', 'aws_lambda', 'aws_s3', 'azure_storage', 'dblink', 'file_fdw', 'google_ml_integration', 'http', 'lo', 'multicorn',
    'mysql_fdw', 'oracle_fdw', 'orafce', 'pg_background', 'pg_cron', 'pg_curl', 'pg_execute', 'pg_net', 'plperlu', 'plpython3u', 'plsh', 'pltclu',
    'postgres_fdw', 'redis_fdw', 'tds_fdw', 'xml2')
  AND p.prorettype::regtype::text NOT IN ('language_handler', 'fdw_handler', 'trigger', 'internal') AND NOT 'internal'::regtype = ANY (p.proargtypes)
  AND has_schema_privilege('public', p.pronamespace, 'USAGE') AND has_function_privilege('public', p.oid, 'EXECUTE')
GROUP BY e.extname",
        tell: |of| {
            Told(
                format!("extension:{}", of.at(0)),
                format!("every task may call functions of the extension `{}`, which reach out of the database", of.at(0)),
                Fix::Sql(format!("REVOKE EXECUTE ON ROUTINE {} FROM PUBLIC;", of.at(1))),
            )
        },
    },
    Check {
        grade: Grade::Serious,
        sql: "
SELECT ARRAY[s.srvname::text, coalesce(string_agg(DISTINCT m.srvname::text, ''), '')]
FROM pg_foreign_server s LEFT JOIN pg_user_mappings m ON m.srvid = s.oid AND m.umuser = 0
WHERE m.srvid IS NOT NULL OR EXISTS (SELECT FROM aclexplode(s.srvacl) x WHERE x.grantee = 0) GROUP BY s.srvname",
        tell: |of| {
            let server = quote::identifier(of.at(0));
            let mapping = if of.at(1).is_empty() { String::new() } else { format!(" DROP USER MAPPING FOR PUBLIC SERVER {server};") };
            Told(
                format!("foreign-server:{}", of.at(0)),
                format!("PUBLIC may use the foreign server `{}`", of.at(0)),
                Fix::Sql(format!("REVOKE ALL ON FOREIGN SERVER {server} FROM PUBLIC;{mapping}")),
            )
        },
    },
    Check {
        grade: Grade::Serious,
        sql: "
SELECT ARRAY[w.fdwname::text] FROM pg_foreign_data_wrapper w WHERE EXISTS (SELECT FROM aclexplode(w.fdwacl) x WHERE x.grantee = 0)",
        tell: |of| {
            Told(
                format!("foreign-data-wrapper:{}", of.at(0)),
                format!("PUBLIC may make foreign servers of the wrapper `{}`", of.at(0)),
                Fix::Sql(format!("REVOKE ALL ON FOREIGN DATA WRAPPER {} FROM PUBLIC;", quote::identifier(of.at(0)))),
            )
        },
    },
    Check {
        grade: Grade::Serious,
        sql: "
SELECT ARRAY[l.lanname::text, p.oid::regprocedure::text] FROM pg_proc p JOIN pg_language l ON l.oid = p.prolang JOIN pg_namespace n ON n.oid = p.pronamespace
WHERE NOT l.lanpltrusted AND l.lanname NOT IN ('internal', 'c') AND has_schema_privilege('public', n.oid, 'USAGE')
  AND has_function_privilege('public', p.oid, 'EXECUTE')",
        tell: |of| {
            Told(
                format!("untrusted-language:{}", of.at(1)),
                format!("every task may call `{}`, written in the untrusted language `{}`", of.at(1), of.at(0)),
                Fix::Sql(format!("REVOKE EXECUTE ON ROUTINE {} FROM PUBLIC;", of.at(1))),
            )
        },
    },
    Check {
        grade: Grade::Serious,
        sql: "
SELECT ARRAY[n.nspname::text] FROM pg_namespace n WHERE has_schema_privilege('public', n.oid, 'CREATE') AND n.nspname !~ '^pg_temp'",
        tell: |of| {
            Told(
                format!("public-create:{}", of.at(0)),
                format!("every task may create objects in the schema `{}`", of.at(0)),
                Fix::Sql(format!("REVOKE CREATE ON SCHEMA {} FROM PUBLIC;", quote::identifier(of.at(0)))),
            )
        },
    },
    Check {
        grade: Grade::Serious,
        sql: "SELECT ARRAY[us.dbname] FROM us WHERE has_database_privilege('public', us.db, 'CREATE')",
        tell: |of| {
            Told(
                "public-create-schema".to_owned(),
                "every task may create schemas in this database".to_owned(),
                Fix::Sql(format!("REVOKE CREATE ON DATABASE {} FROM PUBLIC;", of.at(0))),
            )
        },
    },
    Check {
        grade: Grade::Serious,
        sql: "
SELECT ARRAY[count(*)::text] FROM pg_largeobject_metadata l WHERE EXISTS (SELECT FROM aclexplode(l.lomacl) x WHERE x.grantee = 0) HAVING count(*) > 0",
        tell: |of| {
            Told(
                "public-large-objects".to_owned(),
                format!("PUBLIC has privileges on {} large objects, so every task has them", of.at(0)),
                Fix::Sql(
                    "DO $$ DECLARE l record; BEGIN FOR l IN SELECT oid FROM pg_catalog.pg_largeobject_metadata WHERE \
                     EXISTS (SELECT FROM pg_catalog.aclexplode(lomacl) x WHERE x.grantee = 0) LOOP \
                     EXECUTE pg_catalog.format('REVOKE ALL ON LARGE OBJECT %s FROM PUBLIC', l.oid); END LOOP; END $$;"
                        .to_owned(),
                ),
            )
        },
    },
    Check {
        grade: Grade::Warning,
        sql: "
SELECT ARRAY[p.parname, string_agg(x.privilege_type, ', ')] FROM pg_parameter_acl p, aclexplode(p.paracl) x WHERE x.grantee = 0 GROUP BY p.parname",
        tell: |of| {
            Told(
                format!("public-parameter:{}", of.at(0)),
                format!("PUBLIC may set the parameter `{}`, which PostgreSQL keeps from it", of.at(0)),
                Fix::Sql(format!("REVOKE {} ON PARAMETER {} FROM PUBLIC;", of.at(1), quote::identifier(of.at(0)))),
            )
        },
    },
    // PostgreSQL itself gives EXECUTE and USAGE on new functions and types to PUBLIC; an entry for all schemas repeats that.
    Check {
        grade: Grade::Warning,
        sql: "
SELECT ARRAY[pg_get_userbyid(d.defaclrole)::text, coalesce(n.nspname::text, ''), kind.word, privileges.list]
FROM pg_default_acl d LEFT JOIN pg_namespace n ON n.oid = d.defaclnamespace
JOIN (VALUES ('r', 'TABLES'), ('S', 'SEQUENCES'), ('f', 'ROUTINES'), ('n', 'SCHEMAS'), ('L', 'LARGE OBJECTS')) kind(letter, word) ON kind.letter = d.defaclobjtype::text,
     LATERAL (SELECT string_agg(x.privilege_type, ', ' ORDER BY x.privilege_type) FROM aclexplode(d.defaclacl) x WHERE x.grantee = 0) privileges(list)
WHERE privileges.list IS NOT NULL AND NOT (d.defaclnamespace = 0 AND d.defaclobjtype = 'f')",
        tell: |of| {
            let (role, schema, kind, privileges) = (of.at(0), of.at(1), of.at(2), of.at(3));
            let within = if schema.is_empty() { String::new() } else { format!(" IN SCHEMA {}", quote::identifier(schema)) };
            let place = if schema.is_empty() { "any schema".to_owned() } else { format!("the schema `{schema}`") };
            Told(
                format!("default-privileges:{role}:{schema}:{}", kind.to_lowercase().replace(' ', "-")),
                format!("PUBLIC will have {privileges} on {} that `{role}` creates in {place}", kind.to_lowercase()),
                Fix::Sql(format!(
                    "ALTER DEFAULT PRIVILEGES FOR ROLE {}{within} REVOKE {privileges} ON {kind} FROM PUBLIC;",
                    quote::identifier(role)
                )),
            )
        },
    },
    // No way around: the server refuses them unless the policy names them, and they run with the task's own rights. But they may write,
    // once there is something that PUBLIC may write.
    Check {
        grade: Grade::Notice,
        sql: "
SELECT ARRAY[n.nspname::text, count(*)::text, string_agg(p.oid::regprocedure::text, ', ' ORDER BY p.oid)]
FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
WHERE p.provolatile = 'v' AND NOT p.prosecdef AND p.prorettype::regtype::text NOT IN ('trigger', 'event_trigger')
  AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'pgteller_catalog') AND n.nspname !~ '^pg_temp'
  AND has_schema_privilege('public', n.oid, 'USAGE') AND has_function_privilege('public', p.oid, 'EXECUTE')
  AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e')
GROUP BY n.nspname",
        tell: |of| {
            Told(
                format!("public-functions:{}", of.at(0)),
                format!(
                    "PUBLIC may call volatile functions ({}) in the schema `{}`; tasks only those that the policy names, and with their own rights",
                    of.at(1),
                    of.at(0)
                ),
                Fix::Sql(format!("REVOKE EXECUTE ON ROUTINE {} FROM PUBLIC;", of.at(2))),
            )
        },
    },
    // PostgreSQL's own default, and no way around: sessions are read only and the server takes nothing but queries.
    Check {
        grade: Grade::Notice,
        sql: "SELECT ARRAY[us.dbname] FROM us WHERE has_database_privilege('public', us.db, 'TEMPORARY')",
        tell: |of| {
            Told(
                "public-temp".to_owned(),
                "PUBLIC may create temporary tables, as PostgreSQL's default has it; tasks could on a connection of their own, which no agent has"
                    .to_owned(),
                Fix::Sql(format!("REVOKE TEMPORARY ON DATABASE {} FROM PUBLIC;", of.at(0))),
            )
        },
    },
];
