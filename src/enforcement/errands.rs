//! What is served without entering a task: lists, files, the end of a task, tokens for one.
//!
//! Takes a caller that was admitted and counted, gives an answer. Reaches no governed database but to end what runs there.

use super::{Enforcement, narrowed};
use crate::audit::Draft;
use crate::describe::ended;
use crate::identity::Authenticated;
use crate::model::call::{Answer, ExchangeAsk, TaskToken};
use crate::model::ending::Life;
use crate::model::names::{ExportId, TaskId};
use crate::model::refusal::{Code, Failure, Fault, Refusal};
use crate::policy::ToolsInput;

impl Enforcement {
    /// The tools that are worth listing to a caller. Nobody is let in by this: each call is judged.
    pub async fn listed(&self, who: &Authenticated) -> Vec<String> {
        let input = ToolsInput { principal: &who.principal, task_named: who.task.is_some(), now_ns: self.clock.now() };
        let mut tools = self.policy.tools(&input).await.unwrap_or_else(|error| {
            tracing::error!("{}", Fault::new("asking which tools to list", error).chain());
            Vec::new()
        });
        tools.retain(|tool| self.scopes.missing(tool, &who.principal).is_none());
        tools
    }

    /// A file of the caller's own. A token that names its task opens the files of that task only, and what was revoked opens nothing.
    pub(super) async fn read_export(&self, id: ExportId, who: &Authenticated) -> Result<Answer, Failure> {
        self.tasks.refuse_stopped(&who.principal)?;
        let of = self.exports.task_of(id, &who.principal)?;
        if let Some(claim) = &who.task {
            if of.external_id.as_ref() != Some(&claim.external_id) {
                return Err(crate::export::unknown().into());
            }
            if !claim.narrow.allows("export") {
                return Err(narrowed("export").into());
            }
        }
        self.tasks.refuse_revoked(&of).await?;
        self.exports.read(id, &who.principal).map(Answer::Content)
    }

    /// A token for a task that policy allows. Nothing is opened: the task begins with the token's first call.
    pub(super) async fn exchange(&self, who: &Authenticated, ask: &ExchangeAsk, draft: &mut Draft) -> Result<Answer, Failure> {
        let Some(tokens) = &self.task_tokens else {
            return Err(Refusal::new(Code::PolicyDenied, "no tokens are exchanged here").into());
        };
        let database = self.database(ask.task.database.as_ref())?;
        draft.update(|entry| entry.database = Some(database.name().clone()));
        draft.update(|entry| entry.bundle = Some(self.policy.digest().clone()));
        let planned = self.tasks.plan_token(who, database, ask).await?;
        draft.entered(&planned.facts, None);
        let issued = tokens.issue(&who.principal, &planned.claim, planned.expires_at).await;
        let token = issued.map_err(|error| Fault::new("issuing a task token", error))?;
        Ok(Answer::TaskToken(Box::new(TaskToken {
            token,
            task: planned.claim,
            expires_in: self.clock.now().until(planned.expires_at),
            scopes: who.principal.scopes.clone(),
        })))
    }

    pub(super) async fn revoke(&self, who: &Authenticated, draft: &mut Draft) -> Result<Answer, Failure> {
        let ending = self.tasks.revoke(who).await?;
        draft.update(|entry| entry.ending = Some(Box::new(ending)));
        Ok(Answer::description(serde_json::json!({})))
    }

    pub(super) async fn close_task(
        &self,
        who: &Authenticated,
        named: Option<TaskId>,
        draft: &mut Draft,
    ) -> Result<Answer, Failure> {
        let (facts, used) = self.tasks.close(who, named).await?;
        draft.entered(&facts, Some(Life::Closed));
        Ok(Answer::description(ended(&facts, used)))
    }
}
