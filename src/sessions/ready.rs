//! A statement on its way to policy: read by us, or parsed by PostgreSQL.
//!
//! Takes what `sql` made of the agent's text, gives a [`Ready`]. A tree needs no I/O. A text without a tree is parsed under the task's role in
//! a read-only transaction; the locks it took name its relations, and what is permitted later is that same parsed statement.
//! Dropping one that was parsed ends its session: nothing of it runs.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use super::run::{Running, comment, server_timeout};
use super::{Leased, Rights, TaskSessions, unavailable};
use crate::database::wire::{self, Job, Lock, WireError, Witness};
use crate::model::grants::ColumnGrant;
use crate::model::names::RelationName;
use crate::model::refusal::{Code, Failure, Fault, Refusal};
use crate::model::statement::Statement;
use crate::profile::compile::ProfileViews;
use crate::sql::walk::arrays_below_filters;
use crate::sql::{Analysed, Edits, Reading, Unread, columns};

/// How long PostgreSQL may take to parse, locks that it waits for included.
const PARSE_TIME: Duration = Duration::from_secs(5);

/// A statement that is ready to be judged and run: what policy sees and what runs are one value.
#[derive(Debug)]
pub struct Ready {
    pub(super) statement: Statement,
    pub(super) sql: String,
    pub(super) params: Vec<Option<String>>,
    pub(super) rights: Arc<Rights>,
    pub(super) edits: Edits,
    pub(super) form: Form,
    pub(super) run: Run,
}

/// What is done with a permitted statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Run {
    /// Its rows are fetched.
    Rows,
    /// PostgreSQL shows how it would fetch them.
    Plan,
}

impl Run {
    /// What stands between our comment and the agent's text.
    pub(super) fn prefix(self) -> &'static str {
        match self {
            Self::Rows => "",
            Self::Plan => wire::PLAN_PREFIX,
        }
    }

    /// What PostgreSQL must say that it did.
    pub(super) fn tag(self) -> &'static str {
        match self {
            Self::Rows => wire::QUERY_TAG,
            Self::Plan => wire::PLAN_TAG,
        }
    }
}

/// In which form a statement waits.
#[derive(Debug)]
pub(super) enum Form {
    /// As text, sent when it is permitted.
    Text(String),
    /// As PostgreSQL parsed it, on this session.
    Parsed(Box<Parsed>),
}

/// A session that holds a parsed statement, and ends with it unless somebody takes it.
#[derive(Debug)]
pub(super) struct Parsed {
    leased: Option<Leased>,
}

impl Parsed {
    pub(super) fn take(&mut self) -> Option<Leased> {
        self.leased.take()
    }
}

impl Drop for Parsed {
    fn drop(&mut self) {
        let Some(mut leased) = self.leased.take() else { return };
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move {
                leased.wire.close(PARSE_TIME).await;
                drop(leased);
            });
        }
    }
}

impl Ready {
    /// What policy judges.
    pub fn statement(&self) -> &Statement {
        &self.statement
    }

    /// The masked columns that it may read, `schema.relation.column`.
    pub fn masked_columns(&self) -> Vec<String> {
        self.statement
            .relations
            .iter()
            .flat_map(|relation| {
                let name = relation.relation();
                let grants = &self.rights.grants;
                let masked = move |column: &&String| matches!(grants.column(&name, column), Some(ColumnGrant::Masked(_)));
                let name = relation.relation();
                relation.columns.iter().filter(masked).map(move |column| format!("{name}.{column}"))
            })
            .collect()
    }

    /// What the task may see, as of when this was read.
    pub fn rights(&self) -> &Rights {
        &self.rights
    }

    /// The definitions of the application's views that it reads through, as they were when its rights were made.
    pub(super) fn definitions(&self) -> BTreeMap<u32, String> {
        let relations = self.statement.relations.iter().filter_map(|used| self.rights.snapshot.relations.get(&used.relation()));
        relations.flat_map(|relation| relation.definitions.clone()).collect()
    }
}

impl TaskSessions {
    /// Readies a statement. From a tree: no I/O. Otherwise PostgreSQL parses it under the task's role.
    pub async fn prepare(
        &self,
        sql: String,
        reading: Reading,
        params: Vec<Option<String>>,
        rights: Arc<Rights>,
        running: &Running<'_>,
    ) -> Result<Ready, Failure> {
        match reading {
            Reading::Tree(Analysed { statement, text, edits }) => {
                Ok(Ready { statement, sql, params, rights, edits, form: Form::Text(text), run: Run::Rows })
            }
            Reading::Unread(unread) => self.parse(sql, unread, params, rights, running).await,
        }
    }

    async fn parse(
        &self,
        sql: String,
        unread: Unread,
        params: Vec<Option<String>>,
        rights: Arc<Rights>,
        running: &Running<'_>,
    ) -> Result<Ready, Failure> {
        let Unread { mut statement, text, edits, may_nest_arrays, why } = unread;
        let mut leased = self.lease(&rights, PARSE_TIME).await?;
        let comment = comment(running);
        let text = format!("{comment}{text}");
        let job = Job {
            search_path: &rights.compiled.search_path,
            timeout_ms: server_timeout(PARSE_TIME),
            sql: &text,
            params: &params,
            max_rows: 0,
            tag: Run::Rows.tag(),
            witness: Witness::default(),
        };
        let parsed = tokio::select! {
            biased;
            parsed = leased.wire.parse(&job) => parsed,
            () = running.cancelled.cancelled() => {
                self.end(leased);
                return Err(Refusal::new(Code::Cancelled, "the caller cancelled the request").into());
            }
            () = tokio::time::sleep(PARSE_TIME) => {
                self.end(leased);
                return Err(Refusal::new(Code::TimeLimit, "PostgreSQL took too long to parse the statement")
                    .hint("somebody may be changing a table that it names: try again in a moment").into());
            }
        };
        match parsed {
            Ok(locks) => {
                tracing::debug!(database = %self.governed.name, why, "PostgreSQL parsed a statement that we do not read");
                let parsed = Parsed { leased: Some(leased) };
                let views = parsed.leased.as_ref().map(|leased| Arc::clone(&leased.views)).unwrap_or_default();
                name_relations(&mut statement, &locks, &views, &rights)?;
                if may_nest_arrays && statement.relations.iter().any(|used| rights.limits_rows(&used.relation())) {
                    return Err(arrays_below_filters().into());
                }
                Ok(Ready { statement, sql, params, rights, edits, form: Form::Parsed(Box::new(parsed)), run: Run::Rows })
            }
            Err(WireError::Server(error)) => {
                self.give_back(leased).await;
                self.doubt(&error).await;
                Err(self.server_failure(&error, &sql, &edits, &comment, &rights))
            }
            Err(error @ (WireError::Connect(_) | WireError::Io(_))) => {
                self.end(leased);
                tracing::warn!(database = %self.governed.name, "{}", Fault::new("having a statement parsed", error).chain());
                Err(unavailable(&self.governed.name).into())
            }
            Err(error) => {
                self.end(leased);
                Err(Fault::new("having a statement parsed", error).into())
            }
        }
    }
}

/// The relations of a statement, from the locks that parsing it took. Whatever is not known is not granted.
fn name_relations(statement: &mut Statement, locks: &[Lock], views: &ProfileViews, rights: &Rights) -> Result<(), Refusal> {
    if locks.iter().any(|lock| !lock.reads) {
        return Err(Refusal::new(Code::NotAQuery, "the statement would lock or write what it reads").hint("send a plain query"));
    }
    let named = relations_of(locks, views, rights)?;
    statement.relations = named
        .granted
        .iter()
        .filter_map(|name| Some(columns::whole(name, rights.grants.relations.get(name)?, &rights.snapshot)))
        .collect();
    statement.catalog = named.catalog.into_iter().collect();
    Ok(())
}

/// What locks name.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Named {
    /// Relations of the task.
    pub(super) granted: BTreeSet<RelationName>,
    /// Relations of the governed catalog.
    pub(super) catalog: BTreeSet<RelationName>,
}

/// Resolves locks: views of the profile, the governed catalog's, and what lies below them.
pub(super) fn relations_of(locks: &[Lock], views: &ProfileViews, rights: &Rights) -> Result<Named, Refusal> {
    let governed = &rights.snapshot.governed;
    let mut named = Named::default();
    let mut unknown = Vec::new();
    for lock in locks {
        if let Some(relation) = views.relations.get(&lock.relation) {
            named.granted.insert(relation.clone());
        } else if let Some(relation) = governed.views.get(&lock.relation) {
            named.catalog.insert(relation.clone());
        } else if !views.below.contains(&lock.relation) {
            unknown.push(lock.relation);
        }
    }
    // What the governed catalog reads is locked with it; named by itself it is not shown.
    if unknown.iter().all(|oid| !named.catalog.is_empty() && governed.below.contains(oid)) {
        return Ok(named);
    }
    Err(Refusal::new(Code::RelationNotGranted, "a relation of the statement does not exist or is not granted")
        .hint("use the tool `describe` to see what there is"))
}
