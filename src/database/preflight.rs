//! Preflight's refusing few: what PUBLIC or the server allows, a task may do, whatever its role lacks.
//!
//! Takes the gateway's connection, gives [`Finding`]s with the SQL that mends each. Never mends anything itself.
//! PostgreSQL has no DENY: these are found before a profile is built, and stop the database unless acknowledged by id.

use std::collections::BTreeSet;

use tokio_postgres::Client;

use super::target::Target;
use super::wire::{Wire, WireError};
use super::{DatabaseError, quote};
use crate::model::grants::{ColumnGrant, GrantSet};
use crate::model::snapshot::Snapshot;
use crate::secret::Secret;

/// Something that would let a task do or learn what its grants do not say.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Finding {
    /// Stable; what configuration acknowledges.
    pub id: String,
    /// What is wrong, one line.
    pub message: String,
    /// The SQL that mends it, or what to do.
    pub fix: String,
}

const PUBLIC_RELATIONS: &str = "
SELECT DISTINCT n.nspname::text, c.relname::text
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace,
     LATERAL (SELECT x.grantee FROM aclexplode(c.relacl) x UNION ALL
              SELECT x.grantee FROM pg_attribute a, aclexplode(a.attacl) x WHERE a.attrelid = c.oid) g
WHERE g.grantee = 0 AND c.relkind IN ('r', 'v', 'm', 'p', 'f', 'S') AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'pgteller_catalog', 'pgteller_information_schema')
  AND n.nspname !~ '^pg_toast' AND has_schema_privilege('public', n.oid, 'USAGE')
  AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e')
ORDER BY 1, 2";

const DEFINER_FUNCTIONS: &str = "
SELECT n.nspname::text, p.proname::text, p.oid::regprocedure::text, p.prokind
FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
WHERE p.prosecdef AND n.nspname <> 'pg_catalog'
  AND has_schema_privilege('public', n.oid, 'USAGE') AND has_function_privilege('public', p.oid, 'EXECUTE')
ORDER BY 3";

const DANGEROUS_EXTENSIONS: &str = "
SELECT e.extname::text, n.nspname::text FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace
WHERE e.extname IN ('dblink', 'postgres_fdw', 'file_fdw', 'xml2', 'adminpack', 'lo', 'pg_execute')
  AND has_schema_privilege('public', n.oid, 'USAGE')
  AND EXISTS (SELECT FROM pg_depend d JOIN pg_proc p ON p.oid = d.objid WHERE d.classid = 'pg_proc'::regclass AND d.refobjid = e.oid
                AND d.deptype = 'e' AND has_function_privilege('public', p.oid, 'EXECUTE'))
ORDER BY 1";

const FOREIGN_SERVERS: &str = "
SELECT DISTINCT s.srvname::text FROM pg_foreign_server s, aclexplode(s.srvacl) x WHERE x.grantee = 0
UNION SELECT m.srvname::text FROM pg_user_mappings m WHERE m.umuser = 0 ORDER BY 1";

const UNTRUSTED_LANGUAGES: &str = "
SELECT l.lanname::text, p.oid::regprocedure::text FROM pg_proc p JOIN pg_language l ON l.oid = p.prolang JOIN pg_namespace n ON n.oid = p.pronamespace
WHERE NOT l.lanpltrusted AND l.lanname NOT IN ('internal', 'c') AND has_schema_privilege('public', n.oid, 'USAGE')
  AND has_function_privilege('public', p.oid, 'EXECUTE') ORDER BY 2";

const PUBLIC_CREATE: &str = "
SELECT n.nspname::text FROM pg_namespace n WHERE has_schema_privilege('public', n.oid, 'CREATE') AND n.nspname !~ '^pg_temp' ORDER BY 1";

const DATABASE: &str = "
SELECT pg_encoding_to_char(encoding), has_database_privilege('public', oid, 'CREATE'), quote_ident(datname), current_setting('standard_conforming_strings'),
       current_setting('lo_compat_privileges'), pg_backend_pid()
FROM pg_database WHERE datname = current_database()";

/// Looks for everything that does not depend on a grant set.
pub async fn inspect(client: &Client) -> Result<Vec<Finding>, DatabaseError> {
    let looking = || DatabaseError::admin("looking for what would open a way around");
    let mut findings = Vec::new();
    for row in client.query(PUBLIC_RELATIONS, &[]).await.map_err(looking())? {
        let (schema, name): (String, String) = (row.get(0), row.get(1));
        findings.push(Finding {
            id: format!("public-grant:{schema}.{name}"),
            message: format!("PUBLIC has privileges on `{schema}.{name}`, so every task has them"),
            fix: format!("REVOKE ALL ON {} FROM PUBLIC;", quote::qualified(&schema, &name)),
        });
    }
    for row in client.query(DEFINER_FUNCTIONS, &[]).await.map_err(looking())? {
        let (schema, name, signature): (String, String, String) = (row.get(0), row.get(1), row.get(2));
        let kind = if row.get::<_, i8>(3) as u8 == b'p' { "PROCEDURE" } else { "FUNCTION" };
        findings.push(Finding {
            id: format!("definer-function:{schema}.{name}"),
            message: format!("every task may call `{signature}`, which runs with its owner's rights"),
            fix: format!("REVOKE EXECUTE ON {kind} {signature} FROM PUBLIC;"),
        });
    }
    for row in client.query(DANGEROUS_EXTENSIONS, &[]).await.map_err(looking())? {
        let (extension, schema): (String, String) = (row.get(0), row.get(1));
        findings.push(Finding {
            id: format!("extension:{extension}"),
            message: format!("every task may call functions of the extension `{extension}`, which reach out of the database"),
            fix: format!(
                "REVOKE EXECUTE ON ALL FUNCTIONS IN SCHEMA {} FROM PUBLIC;  -- or install it in a schema without USAGE for PUBLIC",
                quote::identifier(&schema)
            ),
        });
    }
    for row in client.query(FOREIGN_SERVERS, &[]).await.map_err(looking())? {
        let server: String = row.get(0);
        findings.push(Finding {
            id: format!("foreign-server:{server}"),
            message: format!("PUBLIC may use the foreign server `{server}`"),
            fix: format!(
                "REVOKE ALL ON FOREIGN SERVER {0} FROM PUBLIC; DROP USER MAPPING IF EXISTS FOR PUBLIC SERVER {0};",
                quote::identifier(&server)
            ),
        });
    }
    for row in client.query(UNTRUSTED_LANGUAGES, &[]).await.map_err(looking())? {
        let (language, signature): (String, String) = (row.get(0), row.get(1));
        findings.push(Finding {
            id: format!("untrusted-language:{signature}"),
            message: format!("every task may call `{signature}`, written in the untrusted language `{language}`"),
            fix: format!("REVOKE EXECUTE ON FUNCTION {signature} FROM PUBLIC;"),
        });
    }
    for row in client.query(PUBLIC_CREATE, &[]).await.map_err(looking())? {
        let schema: String = row.get(0);
        findings.push(Finding {
            id: format!("public-create:{schema}"),
            message: format!("every task may create objects in the schema `{schema}`"),
            fix: format!("REVOKE CREATE ON SCHEMA {} FROM PUBLIC;", quote::identifier(&schema)),
        });
    }
    findings.extend(inspect_database(client).await?);
    Ok(findings)
}

async fn inspect_database(client: &Client) -> Result<Vec<Finding>, DatabaseError> {
    let row = client.query_one(DATABASE, &[]).await.map_err(DatabaseError::admin("reading the database's own settings"))?;
    let (encoding, creates, database): (String, bool, String) = (row.get(0), row.get(1), row.get(2));
    let mut findings = Vec::new();
    if encoding != "UTF8" {
        findings.push(Finding {
            id: "encoding".to_owned(),
            message: format!("the database's encoding is {encoding}; texts are only understood in UTF8"),
            fix: "create the database anew with ENCODING 'UTF8' and restore into it".to_owned(),
        });
    }
    if creates {
        findings.push(Finding {
            id: "public-create-schema".to_owned(),
            message: "every task may create schemas in this database".to_owned(),
            fix: format!("REVOKE CREATE ON DATABASE {database} FROM PUBLIC;"),
        });
    }
    if row.get::<_, String>(3) != "on" {
        findings.push(Finding {
            id: "standard-conforming-strings".to_owned(),
            message: "standard_conforming_strings is off: strings would not mean what we read".to_owned(),
            fix: format!("ALTER DATABASE {database} SET standard_conforming_strings = on;"),
        });
    }
    if row.get::<_, String>(4) == "on" {
        findings.push(Finding {
            id: "large-objects".to_owned(),
            message: "lo_compat_privileges is on: every task may read every large object".to_owned(),
            fix: format!("ALTER DATABASE {database} SET lo_compat_privileges = off;"),
        });
    }
    Ok(findings)
}

/// Tries the door itself: a wrong password must be refused by SCRAM, and the backend must be the one that the server names.
pub async fn try_the_door(target: &Target, login: &str, password: &Secret, probe: &str) -> Result<Vec<Finding>, DatabaseError> {
    let mut findings = Vec::new();
    let hba = "in pg_hba.conf, let only `scram-sha-256` in for roles whose names begin with pgteller_";
    match Wire::connect(target, probe, &Secret::from("wrong on purpose"), None).await {
        Err(WireError::Server(error)) if error.sqlstate == "28P01" => {}
        Err(WireError::NotScram(what)) => findings.push(Finding {
            id: "authentication".to_owned(),
            message: format!("the server lets a role of ours in with {what} instead of SCRAM"),
            fix: hba.to_owned(),
        }),
        Err(WireError::Server(error)) if error.sqlstate.starts_with("28") => findings.push(Finding {
            id: "authentication".to_owned(),
            message: "the server does not answer a wrong password of a role of ours with `invalid password`".to_owned(),
            fix: hba.to_owned(),
        }),
        Err(error) => return Err(DatabaseError::Connect(error)),
        Ok(_) => findings.push(Finding {
            id: "authentication".to_owned(),
            message: "the server accepts a wrong password".to_owned(),
            fix: hba.to_owned(),
        }),
    }
    match Wire::connect(target, login, password, None).await {
        Ok(mut wire) => {
            let pid = wire.backend_pid_as_told_by_sql().await.map_err(DatabaseError::Connect)?;
            if pid != wire.process_id() {
                findings.push(Finding {
                    id: "pooler".to_owned(),
                    message: "a connection pooler stands between: cancels and roles would go astray".to_owned(),
                    fix: "point `url` at PostgreSQL itself, not at the pooler's port".to_owned(),
                });
            }
        }
        Err(WireError::NotScram(what)) => findings.push(Finding {
            id: "authentication-login".to_owned(),
            message: format!("the server lets the gateway's login in with {what} instead of SCRAM"),
            fix: hba.to_owned(),
        }),
        Err(error) => return Err(DatabaseError::Connect(error)),
    }
    Ok(findings)
}

/// Indexes that mix visible with hidden or masked columns of a grant set: with them, row order tells hidden values (`redteam.md` 2).
pub fn mixed_indexes(grants: &GrantSet, snapshot: &Snapshot) -> Vec<Finding> {
    let mut findings = BTreeSet::new();
    for (name, grant) in &grants.relations {
        let Some(relation) = snapshot.relations.get(name) else { continue };
        for index in &relation.indexes {
            let clear = index.columns.iter().filter(|column| grant.columns.get(*column) == Some(&ColumnGrant::Clear)).count();
            if clear > 0 && clear < index.columns.len() {
                findings.insert(Finding {
                    id: format!("mixed-index:{}.{}", name.schema, index.name),
                    message: format!("the index `{}` on `{name}` mixes visible with hidden or masked columns: row order would tell about the hidden ones", index.name),
                    fix: format!("-- acknowledge it, or index the columns apart: DROP INDEX {};", quote::qualified(&name.schema, &index.name)),
                });
            }
        }
    }
    findings.into_iter().collect()
}
