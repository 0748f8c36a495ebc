//! The server's own door: who gets in, by what, and whether it is the server.
//!
//! Takes where the database is and the gateway's login, gives findings. Never leaves a session open, and never tries a role that exists
//! with a password that is wrong.

use super::{Finding, Fix};
use crate::database::DatabaseError;
use crate::database::target::Target;
use crate::database::wire::{Wire, WireError};
use crate::secret::Secret;

const HBA: &str = "in pg_hba.conf, let only `scram-sha-256` in for roles whose names begin with pgteller_";

/// Tries the door itself: a wrong password must be refused by SCRAM, and the backend must be the one that the server names.
pub async fn try_the_door(target: &Target, login: &str, password: &Secret, probe: &str) -> Result<Vec<Finding>, DatabaseError> {
    let authentication = |message: String| Finding::serious("authentication", message, Fix::ByHand(HBA.to_owned()));
    let mut findings = Vec::new();
    match Wire::connect(target, probe, &Secret::from("wrong on purpose"), None).await {
        Err(WireError::Server(error)) if error.sqlstate == "28P01" => {}
        Err(WireError::NotScram(what)) => {
            findings.push(authentication(format!("the server lets a role of ours in with {what} instead of SCRAM")));
        }
        Err(WireError::Server(error)) if error.sqlstate.starts_with("28") => findings.push(authentication(
            "the server does not answer a wrong password of a role of ours with `invalid password`".to_owned(),
        )),
        Err(error) => return Err(DatabaseError::Connect(error)),
        Ok(_) => findings.push(authentication("the server accepts a wrong password".to_owned())),
    }
    match Wire::connect(target, login, password, None).await {
        Ok(mut wire) => {
            let pid = wire.backend_pid_as_told_by_sql().await.map_err(DatabaseError::Connect)?;
            if pid != wire.process_id() {
                findings.push(Finding::serious(
                    "pooler",
                    "a connection pooler stands between: cancels and roles would go astray",
                    Fix::ByHand("point `url` at PostgreSQL itself, not at the pooler's port".to_owned()),
                ));
            }
        }
        Err(WireError::NotScram(what)) => findings.push(Finding::serious(
            "authentication-login",
            format!("the server lets the gateway's login in with {what} instead of SCRAM"),
            Fix::ByHand(HBA.to_owned()),
        )),
        Err(error) => return Err(DatabaseError::Connect(error)),
    }
    Ok(findings)
}
