//! The one-time script of the DBA, and its removal.
//!
//! Takes an installation id and a password verifier, gives SQL. Never holds a password in clear text, and never runs by itself:
//! the DBA runs it, or tells `pgteller setup` to. (`reference/setup.md` has what was tried; `redteam.md` 1, 13–18 why it looks like this.)

use crate::database::{SETUP_VERSION, quote};
use crate::model::names::{InstallationId, RelationName};

const SETUP: &str = include_str!("setup.sql");
const CATALOG: &str = include_str!("catalog/setup.sql");
const POLICIES: &str = include_str!("policies.sql");
const POLICIES_ON: &str = include_str!("policies_on.sql");
const REMOVE: &str = include_str!("remove.sql");

/// The roles of an installation.
#[derive(Debug, Clone)]
pub struct InstallationRoles {
    /// Owns the functions.
    pub definer: String,
    /// Owns the views.
    pub owner: String,
    /// Logs in.
    pub login: String,
    /// Makes policies on the tables that the DBA named.
    pub policies: String,
}

impl InstallationRoles {
    /// The roles of an installation.
    pub fn of(id: &InstallationId) -> Self {
        Self {
            definer: format!("pgteller_{id}_definer"),
            owner: format!("pgteller_{id}_owner"),
            login: format!("pgteller_{id}_login"),
            policies: format!("pgteller_{id}_policies"),
        }
    }
}

/// The set-up script, one transaction. The view owner may read these schemas: the upper bound of everything that any policy can ever show.
pub fn script(id: &InstallationId, verifier: &str, schemas: &[String]) -> String {
    script_with_policies(id, verifier, schemas, &[])
}

/// The same, with row filters on these tables as policies.
pub fn script_with_policies(id: &InstallationId, verifier: &str, schemas: &[String], tables: &[RelationName]) -> String {
    let named = if tables.is_empty() { String::new() } else { name_tables(id, tables) };
    fill(&SETUP.replace("{catalog}", CATALOG).replace("{policies_part}", POLICIES), id)
        .replace("{verifier}", &quote::literal(verifier))
        .replace("{grants}", &(grants(id, schemas) + &named))
}

fn grants(id: &InstallationId, schemas: &[String]) -> String {
    let owner = quote::identifier(&InstallationRoles::of(id).owner);
    schemas
        .iter()
        .map(|schema| {
            let schema = quote::identifier(schema);
            format!("GRANT USAGE ON SCHEMA {schema} TO {owner};\nGRANT SELECT ON ALL TABLES IN SCHEMA {schema} TO {owner};\n")
        })
        .collect()
}

/// The script that lets row filters on these tables be policies, one transaction. It is run again after a table's owner changed.
pub fn policies_on(id: &InstallationId, tables: &[RelationName]) -> String {
    format!("-- pgteller: run by the DBA (superuser).\nBEGIN;\n{}COMMIT;\n", name_tables(id, tables))
}

fn name_tables(id: &InstallationId, tables: &[RelationName]) -> String {
    let tables: Vec<String> = tables.iter().map(|table| quote::literal(&quote::qualified(&table.schema, &table.name))).collect();
    fill(POLICIES_ON, id).replace("{tables}", &tables.join(", "))
}

/// The removal script.
pub fn removal(id: &InstallationId) -> String {
    fill(REMOVE, id)
}

fn fill(template: &str, id: &InstallationId) -> String {
    let roles = InstallationRoles::of(id);
    template
        .replace("{installation}", id.as_str())
        .replace("{version}", &SETUP_VERSION.to_string())
        .replace("{definer}", &roles.definer)
        .replace("{owner}", &roles.owner)
        .replace("{login}", &roles.login)
        .replace("{policies}", &roles.policies)
}
