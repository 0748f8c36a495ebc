//! Tasks that an orchestrator gets a token for, and the end of those.

use super::Tasks;
use super::opening::{bound_by_token, ready, remembering, unmet};
use crate::clock::Instant;
use crate::database::Database;
use crate::identity::Authenticated;
use crate::identity::own::LONGEST_SECONDS;
use crate::model::call::{ExchangeAsk, TOOLS};
use crate::model::ending::{Bearing, Ending, Life, Owner, Whom};
use crate::model::principal::TaskClaim;
use crate::model::refusal::{Code, Failure, Refusal};
use crate::model::task::{MAX_NEEDS, MAX_PURPOSE, Narrow, TaskFacts, is_purpose};

/// A task that policy allows and that nobody began yet.
#[derive(Debug)]
pub struct Planned {
    /// What policy was asked about.
    pub facts: TaskFacts,
    /// What its token will say.
    pub claim: TaskClaim,
    /// When it ends at the latest.
    pub expires_at: Instant,
}

impl Tasks {
    /// Asks policy whether a caller may have a token for a task. Opens nothing: policy is asked again when the token comes.
    pub async fn plan_token(&self, who: &Authenticated, database: &Database, ask: &ExchangeAsk) -> Result<Planned, Failure> {
        self.refuse_stopped(&who.principal)?;
        if who.task.is_some() {
            return Err(bound_by_token().into());
        }
        let ExchangeAsk { task, tools, max_rows } = ask;
        if !is_purpose(&task.purpose) {
            let message = format!("`purpose` must be one line of 1 to {MAX_PURPOSE} bytes without control characters");
            return Err(Refusal::new(Code::ArgumentInvalid, message).into());
        }
        if task.needs.as_ref().is_some_and(|needs| needs.len() > MAX_NEEDS) {
            return Err(Refusal::new(Code::ArgumentInvalid, format!("a task takes at most {MAX_NEEDS} relations")).into());
        }
        if let Some(strange) = tools.iter().flatten().find(|tool| !TOOLS.contains(&tool.as_str())) {
            return Err(Refusal::new(Code::ArgumentInvalid, format!("there is no tool `{strange}`")).into());
        }
        let governed = ready(database).await?;
        let owner = Owner::from(&who.principal);
        self.refuse_ended(&Bearing { owner: &owner, task: None, external_id: None, database: None }).await?;
        let narrow = Narrow { relations: task.needs.clone(), tools: tools.clone(), max_rows: *max_rows };
        let facts = self.facts(task.purpose.clone(), false, true);
        let snapshot = governed.snapshot().await;
        let (rights, ttl) = self.ask(&who.principal, &facts, &narrow, &governed, snapshot).await?;
        if let Some(missing) = unmet(task.needs.as_deref().unwrap_or_default(), &rights.grants) {
            let message = format!("`{missing}` does not exist or is not granted for this purpose");
            return Err(Refusal::new(Code::RelationNotGranted, message).into());
        }
        let now = facts.opened_at_ns;
        let wanted = task.ttl_seconds.unwrap_or(LONGEST_SECONDS).min(LONGEST_SECONDS).min(ttl);
        let expires_at = who.expires_at.into_iter().fold(now.plus_seconds(wanted), Instant::min);
        let claim = TaskClaim { external_id: facts.id.to_string(), purpose: task.purpose.clone(), narrow, asserted: true };
        Ok(Planned { facts, claim, expires_at })
    }

    /// Ends the task that the caller's token names, in every process and for as long as the token would hold.
    pub async fn revoke(&self, who: &Authenticated) -> Result<Ending, Failure> {
        let Some(claim) = &who.task else {
            return Err(Refusal::new(Code::ArgumentInvalid, "the token names no task").into());
        };
        let (now, owner) = (self.clock.now(), Owner::from(&who.principal));
        let whom = Whom {
            issuer: Some(owner.issuer),
            subject: Some(owner.subject),
            agent: Some(owner.agent),
            external_id: Some(claim.external_id.clone()),
            ..Whom::default()
        };
        let bearing =
            Bearing { owner: &Owner::from(&who.principal), task: None, external_id: Some(&claim.external_id), database: None };
        let before = self.store.ending_of(&bearing, now).await.map_err(remembering)?;
        if let Some(before) = before.filter(|before| before.life == Life::Revoked && before.whom == whom) {
            return Ok(before);
        }
        let until_ns = who.expires_at.unwrap_or_else(|| now.plus_seconds(LONGEST_SECONDS));
        let id = self.clock.uuid7().to_string();
        let by = Some("whoever holds its token".to_owned());
        let ending = Ending { id, life: Life::Revoked, whom, at_ns: now, until_ns, reason: None, by };
        self.stop_everywhere(&ending).await?;
        Ok(ending)
    }
}
