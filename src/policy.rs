//! The three policy questions, answered by Rego compiled to WASM.
//!
//! Takes typed inputs, gives typed answers. `access`: what may this task ever see? `call`: may this statement run now? `tools`: which tools are
//! worth listing to this principal?
//! Undefined, an error, a trap, a timeout, an unknown word in the answer: all deny. Never caches a decision, never reads the clock.

pub mod bundle;
pub mod document;
pub mod input;
pub mod permit;
mod wasm;

use std::path::Path;

use serde_json::value::RawValue;

pub use document::PolicyDocument;
pub use input::{AccessInput, CallInput, ExportInput, ToolsInput};
pub use permit::{Permitted, Verdict};

use crate::model::decision::Decision;
use crate::model::grants::AccessAnswer;
use crate::model::names::BundleDigest;
use crate::settings::PolicySettings;

/// Entrypoint of the first question.
pub const ACCESS: &str = "pgteller/access";
/// Entrypoint of the second question.
pub const CALL: &str = "pgteller/call";
/// Entrypoint of the third question.
pub const TOOLS: &str = "pgteller/tools";

/// Why a policy cannot be loaded, or a question has no answer.
#[derive(Debug, thiserror::Error)]
pub enum PolicyError {
    /// The bundle cannot be used.
    #[error("the policy bundle cannot be used: {0}")]
    Bundle(String),
    /// The policy document cannot be used.
    #[error("the policy document `{path}` cannot be used: {why}")]
    Document {
        /// The file.
        path: String,
        /// Why.
        why: String,
    },
    /// The question has no answer.
    #[error("`{entrypoint}` gave no answer")]
    Undefined {
        /// Which question.
        entrypoint: &'static str,
    },
    /// Evaluation failed: a trap, a timeout, no memory.
    #[error("evaluating `{entrypoint}`")]
    Evaluation {
        /// Which question.
        entrypoint: &'static str,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The answer is not of the contract.
    #[error("the answer of `{entrypoint}` is not of the contract")]
    Answer {
        /// Which question.
        entrypoint: &'static str,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
}

/// A loaded policy: bundle and document, tried before anybody relies on it.
#[derive(Debug)]
pub struct Policy {
    pool: wasm::Pool,
    digest: BundleDigest,
    document: PolicyDocument,
}

impl Policy {
    /// Loads the bundle and the document, and asks every question once: nobody must be let in by an empty input.
    pub async fn load(settings: &PolicySettings, cache: Option<&Path>) -> Result<Self, PolicyError> {
        let document = PolicyDocument::parse(&settings.document, &settings.document_path.display().to_string())?;
        let module = match &settings.bundle {
            Some(path) => bundle::read(path)?,
            None => bundle::EMBEDDED.to_vec(),
        };
        let data = serde_json::json!({"policy": document.json()});
        let digest = bundle::digest(&module, &data);
        let pool = wasm::Pool::load(&module, &data, cache)?;
        let policy = Self { pool, digest, document };
        policy.try_out().await?;
        Ok(policy)
    }

    /// The digest of bundle and document.
    pub fn digest(&self) -> &BundleDigest {
        &self.digest
    }

    /// The document.
    pub fn document(&self) -> &PolicyDocument {
        &self.document
    }

    /// Asks what a task may ever see.
    pub async fn access(&self, input: &AccessInput<'_>) -> Result<AccessAnswer, PolicyError> {
        let input = raw(ACCESS, input)?;
        let answer = self.pool.evaluate(ACCESS, &input).await?;
        serde_json::from_value(answer).map_err(|source| PolicyError::Answer { entrypoint: ACCESS, source })
    }

    /// Asks whether a call may run now. The verdict keeps the input exactly as evaluated.
    pub async fn call(&self, input: &CallInput<'_>) -> Result<Verdict, PolicyError> {
        let input = raw(CALL, input)?;
        let answer = self.pool.evaluate(CALL, &input).await?;
        let decision: Decision =
            serde_json::from_value(answer).map_err(|source| PolicyError::Answer { entrypoint: CALL, source })?;
        Ok(Verdict::new(input, decision, self.digest.clone()))
    }

    /// Asks which tools are worth listing. Permits nothing: each call is judged.
    pub async fn tools(&self, input: &ToolsInput<'_>) -> Result<Vec<String>, PolicyError> {
        let input = raw(TOOLS, input)?;
        let answer = self.pool.evaluate(TOOLS, &input).await?;
        serde_json::from_value(answer).map_err(|source| PolicyError::Answer { entrypoint: TOOLS, source })
    }

    /// Loads the embedded bundle over any data, without looking at it; for the table of cases that holds this engine against `opa eval`.
    pub fn load_unchecked(data: &serde_json::Value, cache: Option<&Path>) -> Result<Self, PolicyError> {
        let data = serde_json::json!({"policy": data});
        let document = PolicyDocument::parse("version: 1", "empty")?;
        let pool = wasm::Pool::load(bundle::EMBEDDED, &data, cache)?;
        Ok(Self { pool, digest: bundle::digest(bundle::EMBEDDED, &data), document })
    }

    /// Evaluates a question over any input; for the same table.
    pub async fn evaluate(&self, entrypoint: &'static str, input: &RawValue) -> Result<serde_json::Value, PolicyError> {
        self.pool.evaluate(entrypoint, input).await
    }

    async fn try_out(&self) -> Result<(), PolicyError> {
        let nobody = raw(ACCESS, &serde_json::json!({}))?;
        for entrypoint in [ACCESS, CALL, TOOLS] {
            let answer = match self.pool.evaluate(entrypoint, &nobody).await {
                Ok(answer) => answer,
                // No answer is a deny.
                Err(PolicyError::Undefined { .. }) => continue,
                Err(error) => return Err(error),
            };
            let lets_in = answer.get("allow") == Some(&true.into()) || answer.get("decision") == Some(&"allow".into());
            let lets_in = lets_in || answer.as_array().is_some_and(|tools| !tools.is_empty());
            if lets_in {
                return Err(PolicyError::Bundle(format!("`{entrypoint}` allows an empty input")));
            }
        }
        Ok(())
    }
}

fn raw<T: serde::Serialize>(entrypoint: &'static str, input: &T) -> Result<Box<RawValue>, PolicyError> {
    serde_json::value::to_raw_value(input).map_err(|source| PolicyError::Answer { entrypoint, source })
}
