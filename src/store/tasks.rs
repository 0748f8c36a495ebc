//! Tasks and endings in the store.

use sqlx::Row;
use sqlx::any::AnyRow;

use super::{Store, StoreError};
use crate::clock::Instant;
use crate::model::ending::{Bearing, Ending, Life, Owner, TaskRecord, Used, Whom};
use crate::model::names::{DatabaseName, TaskId};
use crate::model::task::TaskFacts;

const TASK: &str = "SELECT id, life, issuer, subject, agent, principal, db, purpose, ambient, asserted, external_id, narrow, opened_at, \
     expires_at, ended_at, statements, rows_out, bytes_out, instance FROM task WHERE id = $1";
const OPEN_TASKS: &str = "SELECT id, life, issuer, subject, agent, principal, db, purpose, ambient, asserted, external_id, narrow, opened_at, \
     expires_at, ended_at, statements, rows_out, bytes_out, instance FROM task WHERE life IN ('opened', 'active') ORDER BY opened_at";
const ALL_TASKS: &str = "SELECT id, life, issuer, subject, agent, principal, db, purpose, ambient, asserted, external_id, narrow, opened_at, \
     expires_at, ended_at, statements, rows_out, bytes_out, instance FROM task ORDER BY opened_at";

const STOPPED: &str = "SELECT seq, id, life, task, issuer, subject, agent, external_id, db, at, until, reason, by_whom FROM ending \
     WHERE task IS NULL AND external_id IS NULL AND until > $1 ORDER BY seq";
const AFTER: &str = "SELECT seq, id, life, task, issuer, subject, agent, external_id, db, at, until, reason, by_whom FROM ending \
     WHERE seq > $1 AND until > $2 ORDER BY seq";
const OF: &str = "SELECT seq, id, life, task, issuer, subject, agent, external_id, db, at, until, reason, by_whom FROM ending \
     WHERE until > $1 AND (task = $2 OR (task IS NULL AND external_id = $3) OR (task IS NULL AND external_id IS NULL)) ORDER BY seq";

/// How many endings before a mark are read again.
const OVERLAP: i64 = 64;

impl Store {
    /// Remembers a task that opened.
    pub async fn opened(&self, task: &TaskRecord) -> Result<(), StoreError> {
        let narrow = serde_json::to_string(&task.narrow).map_err(|_| StoreError::Record("a task's limits"))?;
        sqlx::query(
            "INSERT INTO task (id, life, issuer, subject, agent, principal, db, purpose, ambient, asserted, external_id, narrow, opened_at, \
             expires_at, statements, rows_out, bytes_out, instance) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, 0, 0, 0, $15) ON CONFLICT (id) DO NOTHING",
        )
        .bind(task.facts.id.to_string())
        .bind(task.life.as_str())
        .bind(&task.owner.issuer)
        .bind(&task.owner.subject)
        .bind(&task.owner.agent)
        .bind(&task.principal)
        .bind(task.database.as_str())
        .bind(&task.facts.purpose)
        .bind(i64::from(task.facts.ambient))
        .bind(i64::from(task.facts.asserted))
        .bind(task.external_id.clone())
        .bind(narrow)
        .bind(task.facts.opened_at_ns.0)
        .bind(task.expires_at_ns.0)
        .bind(&task.instance)
        .execute(&self.pool)
        .await
        .map_err(StoreError::query("remembering a task"))?;
        Ok(())
    }

    /// Notes where a task is, and what it used. One that has ended stays ended.
    pub async fn note(&self, task: TaskId, life: Life, used: Used, ended: Option<Instant>) -> Result<(), StoreError> {
        let count = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
        sqlx::query(
            "UPDATE task SET life = $2, statements = $3, rows_out = $4, bytes_out = $5, ended_at = $6 \
             WHERE id = $1 AND life IN ('opened', 'active')",
        )
        .bind(task.to_string())
        .bind(life.as_str())
        .bind(count(used.statements))
        .bind(count(used.rows))
        .bind(count(used.bytes))
        .bind(ended.map(|ended| ended.0))
        .execute(&self.pool)
        .await
        .map_err(StoreError::query("noting a task's life"))?;
        Ok(())
    }

    /// One task.
    pub async fn task(&self, id: TaskId) -> Result<Option<TaskRecord>, StoreError> {
        let row = sqlx::query(TASK)
            .bind(id.to_string())
            .fetch_optional(&self.pool)
            .await
            .map_err(StoreError::query("looking for a task"))?;
        row.as_ref().map(record).transpose()
    }

    /// Tasks that are open, or all that are remembered, the oldest first.
    pub async fn tasks(&self, all: bool) -> Result<Vec<TaskRecord>, StoreError> {
        let rows = sqlx::query(if all { ALL_TASKS } else { OPEN_TASKS })
            .fetch_all(&self.pool)
            .await
            .map_err(StoreError::query("listing tasks"))?;
        rows.iter().map(record).collect()
    }

    /// Remembers an ending.
    pub async fn end(&self, ending: &Ending) -> Result<(), StoreError> {
        sqlx::query(
            "INSERT INTO ending (id, life, task, issuer, subject, agent, external_id, db, at, until, reason, by_whom) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)",
        )
        .bind(&ending.id)
        .bind(ending.life.as_str())
        .bind(ending.whom.task.map(|task| task.to_string()))
        .bind(ending.whom.issuer.clone())
        .bind(ending.whom.subject.clone())
        .bind(ending.whom.agent.clone())
        .bind(ending.whom.external_id.clone())
        .bind(ending.whom.database.as_ref().map(|database| database.0.clone()))
        .bind(ending.at_ns.0)
        .bind(ending.until_ns.0)
        .bind(ending.reason.clone())
        .bind(ending.by.clone())
        .execute(&self.pool)
        .await
        .map_err(StoreError::query("remembering an ending"))?;
        Ok(())
    }

    /// The endings of principals that hold now, the oldest first.
    pub async fn stopped(&self, now: Instant) -> Result<Vec<Ending>, StoreError> {
        let rows =
            sqlx::query(STOPPED).bind(now.0).fetch_all(&self.pool).await.map_err(StoreError::query("reading who was stopped"))?;
        rows.iter().map(ending).collect()
    }

    /// The endings that hold now and were written after a mark, with the next mark. Two that are written at once may become visible in the
    /// other order, so a few before the mark are among them.
    pub async fn endings_after(&self, mark: i64, now: Instant) -> Result<(Vec<Ending>, i64), StoreError> {
        let rows = sqlx::query(AFTER)
            .bind(mark.saturating_sub(OVERLAP))
            .bind(now.0)
            .fetch_all(&self.pool)
            .await
            .map_err(StoreError::query("reading what was ended elsewhere"))?;
        let last = rows.last().map(|row| row.try_get::<i64, _>("seq")).transpose();
        let last = last.map_err(StoreError::query("reading what was ended elsewhere"))?.unwrap_or(mark);
        Ok((rows.iter().map(ending).collect::<Result<_, _>>()?, last.max(mark)))
    }

    /// The ending that holds now for these, if there is one: a revocation before any other, whichever came first.
    pub async fn ending_of(&self, of: &Bearing<'_>, now: Instant) -> Result<Option<Ending>, StoreError> {
        let rows = sqlx::query(OF)
            .bind(now.0)
            .bind(of.task.map(|task| task.to_string()))
            .bind(of.external_id.map(str::to_owned))
            .fetch_all(&self.pool)
            .await
            .map_err(StoreError::query("asking whether a task was ended"))?;
        let mut endings: Vec<Ending> = rows.iter().map(ending).collect::<Result<_, _>>()?;
        endings.retain(|ending| ending.whom.covers(of));
        endings.sort_by_key(|ending| ending.life != Life::Revoked);
        Ok(endings.into_iter().next())
    }

    /// Lifts an ending; gives whether there was one.
    pub async fn lift(&self, id: &str) -> Result<bool, StoreError> {
        let lifted = sqlx::query("DELETE FROM ending WHERE id = $1")
            .bind(id)
            .execute(&self.pool)
            .await
            .map_err(StoreError::query("lifting an ending"))?;
        Ok(lifted.rows_affected() > 0)
    }

    /// Forgets what nobody needs any more, and closes the tasks of processes that were not seen since `dead`: nobody else can go on with
    /// them, except with those that an agent opened and can name.
    pub async fn tidy(&self, now: Instant, dead: Instant, forget: Instant) -> Result<(), StoreError> {
        let steps = [
            ("DELETE FROM ending WHERE until <= $1", now),
            (
                "UPDATE task SET life = 'expired', ended_at = expires_at WHERE life IN ('opened', 'active') AND expires_at <= $1",
                now,
            ),
            ("DELETE FROM task WHERE life NOT IN ('opened', 'active') AND expires_at < $1", forget),
            ("DELETE FROM instance WHERE seen_at < $1", dead),
            (
                "UPDATE task SET life = 'closed', ended_at = $1 WHERE life IN ('opened', 'active') AND (asserted = 0 OR external_id IS NOT NULL) \
                 AND instance NOT IN (SELECT id FROM instance)",
                now,
            ),
        ];
        for (step, at) in steps {
            sqlx::query(step).bind(at.0).execute(&self.pool).await.map_err(StoreError::query("tidying the state store"))?;
        }
        Ok(())
    }
}

fn record(row: &AnyRow) -> Result<TaskRecord, StoreError> {
    read_record(row).map_err(StoreError::query("reading a task"))
}

fn read_record(row: &AnyRow) -> Result<TaskRecord, sqlx::Error> {
    let count = |column: &str| row.try_get::<i64, _>(column).map(|count| u64::try_from(count).unwrap_or(0));
    Ok(TaskRecord {
        facts: TaskFacts {
            id: row.try_get::<String, _>("id")?.parse().map_err(|_| damaged("id"))?,
            purpose: row.try_get("purpose")?,
            ambient: row.try_get::<i64, _>("ambient")? != 0,
            asserted: row.try_get::<i64, _>("asserted")? != 0,
            opened_at_ns: Instant(row.try_get("opened_at")?),
        },
        life: life(row)?,
        owner: Owner { issuer: row.try_get("issuer")?, subject: row.try_get("subject")?, agent: row.try_get("agent")? },
        principal: row.try_get("principal")?,
        database: DatabaseName(row.try_get("db")?),
        external_id: row.try_get("external_id")?,
        narrow: serde_json::from_str(row.try_get::<String, _>("narrow")?.as_str()).map_err(|_| damaged("narrow"))?,
        expires_at_ns: Instant(row.try_get("expires_at")?),
        ended_at_ns: row.try_get::<Option<i64>, _>("ended_at")?.map(Instant),
        used: Used { statements: count("statements")?, rows: count("rows_out")?, bytes: count("bytes_out")? },
        instance: row.try_get("instance")?,
    })
}

fn ending(row: &AnyRow) -> Result<Ending, StoreError> {
    read_ending(row).map_err(StoreError::query("reading an ending"))
}

fn read_ending(row: &AnyRow) -> Result<Ending, sqlx::Error> {
    let task = row.try_get::<Option<String>, _>("task")?;
    Ok(Ending {
        id: row.try_get("id")?,
        life: life(row)?,
        whom: Whom {
            task: task.map(|task| task.parse().map_err(|_| damaged("task"))).transpose()?,
            issuer: row.try_get("issuer")?,
            subject: row.try_get("subject")?,
            agent: row.try_get("agent")?,
            external_id: row.try_get("external_id")?,
            database: row.try_get::<Option<String>, _>("db")?.map(DatabaseName),
        },
        at_ns: Instant(row.try_get("at")?),
        until_ns: Instant(row.try_get("until")?),
        reason: row.try_get("reason")?,
        by: row.try_get("by_whom")?,
    })
}

fn life(row: &AnyRow) -> Result<Life, sqlx::Error> {
    Life::parse(row.try_get::<String, _>("life")?.as_str()).ok_or_else(|| damaged("life"))
}

/// A column that holds what we never write.
fn damaged(column: &str) -> sqlx::Error {
    sqlx::Error::ColumnDecode { index: column.to_owned(), source: "the value is not one of ours".into() }
}
