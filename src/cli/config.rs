//! `pgteller config`.

use clap::Subcommand;

use super::{ConfigPath, say};
use crate::config::Config;
use crate::policy::{Policy, PolicyDocument, input};
use crate::settings::Settings;

/// Look at the configuration.
#[derive(Debug, clap::Args)]
pub struct ConfigCommand {
    #[command(subcommand)]
    command: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Check the configuration and the policy document without starting anything.
    Check(ConfigPath),
    /// Print the JSON Schema of the configuration file.
    Schema,
    /// Print the reference of all keys, as in docs/configuration.md.
    Reference,
    /// Print the JSON Schema of a policy question's input.
    PolicySchema {
        /// `access`, `call` or `tools`.
        question: String,
    },
}

impl ConfigCommand {
    /// Runs it.
    pub async fn run(self) -> anyhow::Result<()> {
        match self.command {
            What::Check(path) => {
                let settings = Settings::read(&path.config)?;
                let document = settings.policy.document_path.display().to_string();
                PolicyDocument::parse(&settings.policy.document, &document)?;
                Policy::load(&settings.policy, None).await?;
                say(format_args!(
                    "{}: ok; databases: {}, issuers: {}{}",
                    path.config.display(),
                    settings.databases.len(),
                    settings.issuers.len(),
                    if settings.dev.is_some() { ", [dev] on" } else { "" }
                ))
            }
            What::Schema => say(serde_json::to_string_pretty(&schemars::schema_for!(Config))?),
            What::Reference => say(reference().trim_end()),
            What::PolicySchema { question } => match question.as_str() {
                "access" => say(serde_json::to_string_pretty(&input::access_schema())?),
                "call" => say(serde_json::to_string_pretty(&input::call_schema())?),
                "tools" => say(serde_json::to_string_pretty(&input::tools_schema())?),
                other => anyhow::bail!("there is no policy question `{other}`: `access`, `call` or `tools`"),
            },
        }
    }
}

/// The reference page, from the documentation of the fields.
fn reference() -> String {
    let schema = schemars::schema_for!(Config).to_value();
    let mut page =
        "# Configuration\n\nEvery key of `pgteller.toml`. Generated from the source by `pgteller config reference`.\n".to_owned();
    section(&schema, &schema, "", &mut page);
    page
}

fn section(schema: &serde_json::Value, root: &serde_json::Value, path: &str, page: &mut String) {
    let Some(properties) = schema.get("properties").and_then(|properties| properties.as_object()) else { return };
    for (name, property) in properties {
        let target = target(property, root);
        let text = property.get("description").or_else(|| target.get("description")).and_then(|text| text.as_str()).unwrap_or("");
        let below = target.get("additionalProperties").filter(|below| below.get("$ref").is_some());
        if let Some(below) = below {
            page.push_str(&format!("\n## `[{path}{name}.NAME]`\n\n{text}\n\n"));
            section(resolve(below, root), root, &format!("{path}{name}.NAME."), page);
        } else if target.get("properties").is_some() {
            page.push_str(&format!("\n## `[{path}{name}]`\n\n{text}\n\n"));
            section(target, root, &format!("{path}{name}."), page);
        } else {
            page.push_str(&format!("- `{name}`: {}\n", text.replace('\n', " ")));
        }
    }
}

fn resolve<'a>(schema: &'a serde_json::Value, root: &'a serde_json::Value) -> &'a serde_json::Value {
    let pointer = schema.get("$ref").and_then(|target| target.as_str()).and_then(|target| target.strip_prefix('#'));
    pointer.and_then(|pointer| root.pointer(pointer)).unwrap_or(schema)
}

fn target<'a>(property: &'a serde_json::Value, root: &'a serde_json::Value) -> &'a serde_json::Value {
    let branches = property.get("anyOf").and_then(|branches| branches.as_array());
    let real = branches.into_iter().flatten().find(|branch| branch.get("$ref").is_some());
    resolve(real.unwrap_or(property), root)
}
