//! Tasks as they are remembered, and what ended them.
//!
//! Takes nothing. Gives the records that outlive a process: a task's life, and endings that hold for whoever they name. Never holds a secret.

use serde::{Deserialize, Serialize};

use crate::clock::Instant;
use crate::model::names::{DatabaseName, TaskId};
use crate::model::principal::Principal;
use crate::model::task::{Narrow, TaskFacts};

/// Where a task is in its life. It goes from top to bottom, and ends once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Life {
    /// Policy allowed it; nothing was made in PostgreSQL.
    Opened,
    /// It ran a statement.
    Active,
    /// Its agent, or its orchestrator, is done; or its server stopped.
    Closed,
    /// Its time is over.
    Expired,
    /// An operator, or a revoked token, ended it.
    Revoked,
    /// Policy changed its mind.
    Denied,
}

impl Life {
    /// Every state, in order.
    pub const ALL: &'static [Self] = &[Self::Opened, Self::Active, Self::Closed, Self::Expired, Self::Revoked, Self::Denied];

    /// The word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Opened => "opened",
            Self::Active => "active",
            Self::Closed => "closed",
            Self::Expired => "expired",
            Self::Revoked => "revoked",
            Self::Denied => "denied",
        }
    }

    /// From the word.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|life| life.as_str() == word)
    }

    /// Whether the task can still be used.
    pub fn is_open(self) -> bool {
        matches!(self, Self::Opened | Self::Active)
    }
}

/// What a task has used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Used {
    /// Statements that were put to policy.
    pub statements: u64,
    /// Rows of answers and files.
    pub rows: u64,
    /// Bytes of answers and files.
    pub bytes: u64,
}

/// Whose a task is: what a revocation may name.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Owner {
    /// Issuer.
    pub issuer: String,
    /// Subject.
    pub subject: String,
    /// Agent.
    pub agent: String,
}

impl From<&Principal> for Owner {
    fn from(principal: &Principal) -> Self {
        let (issuer, subject, agent) = principal.tuple();
        Self { issuer: issuer.to_owned(), subject: subject.to_owned(), agent: agent.to_owned() }
    }
}

/// A task, as the state store remembers it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TaskRecord {
    /// What policies know of it.
    pub facts: TaskFacts,
    /// Where it is in its life.
    pub life: Life,
    /// Whose.
    pub owner: Owner,
    /// SHA-256 of the whole principal: rights never pass to another token of the same owner.
    #[serde(skip)]
    pub principal: String,
    /// In which database.
    pub database: DatabaseName,
    /// Its orchestrator's name for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub external_id: Option<String>,
    /// What it is narrowed to.
    #[serde(skip_serializing_if = "is_wide")]
    pub narrow: Narrow,
    /// When it ends.
    pub expires_at_ns: Instant,
    /// When it ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ended_at_ns: Option<Instant>,
    /// What it used.
    pub used: Used,
    /// The process that opened it.
    pub instance: String,
}

impl TaskRecord {
    /// Whether its agent opened it by name, and may go on with it in any process.
    pub fn is_agents_own(&self) -> bool {
        self.facts.asserted && self.external_id.is_none()
    }
}

fn is_wide(narrow: &Narrow) -> bool {
    *narrow == Narrow::default()
}

/// Whom an ending holds for: all that fits every part that is given.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Whom {
    /// One task.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task: Option<TaskId>,
    /// Tokens of an issuer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub issuer: Option<String>,
    /// A subject.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// An agent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent: Option<String>,
    /// A task as its orchestrator names it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub external_id: Option<String>,
    /// In one database.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub database: Option<DatabaseName>,
}

/// What a task or a caller is to an ending.
#[derive(Debug, Clone, Copy)]
pub struct Bearing<'a> {
    /// Whose.
    pub owner: &'a Owner,
    /// Which task, if one is open.
    pub task: Option<TaskId>,
    /// What its orchestrator calls it.
    pub external_id: Option<&'a str>,
    /// In which database, if one is meant.
    pub database: Option<&'a DatabaseName>,
}

impl Whom {
    /// Nobody in particular: such an ending would hold for everybody.
    pub fn is_everybody(&self) -> bool {
        *self == Self::default()
    }

    /// Whether it names a principal, and no task: it holds for whatever they do.
    pub fn is_principal(&self) -> bool {
        self.task.is_none() && self.external_id.is_none() && self.database.is_none()
    }

    /// Whether it holds for these.
    pub fn covers(&self, of: &Bearing<'_>) -> bool {
        fn fits<T: PartialEq>(wanted: Option<&T>, found: Option<&T>) -> bool {
            wanted.is_none() || wanted == found
        }
        let external_id = of.external_id.map(str::to_owned);
        fits(self.task.as_ref(), of.task.as_ref())
            && fits(self.issuer.as_ref(), Some(&of.owner.issuer))
            && fits(self.subject.as_ref(), Some(&of.owner.subject))
            && fits(self.agent.as_ref(), Some(&of.owner.agent))
            && fits(self.external_id.as_ref(), external_id.as_ref())
            && fits(self.database.as_ref(), of.database)
            && !self.is_everybody()
    }
}

/// Something that ended, and stays so for a while: a task, or all that somebody does.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Ending {
    /// Its id; later ones sort higher.
    pub id: String,
    /// How.
    pub life: Life,
    /// For whom.
    pub whom: Whom,
    /// Since when.
    pub at_ns: Instant,
    /// Until when it is remembered.
    pub until_ns: Instant,
    /// Why, for operators.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Who ended it, if it was neither the clock nor the task's own agent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
}
