//! The story that `pgteller demo` tells, and what it checks while telling it.

use std::io::IsTerminal;
use std::process::Stdio;
use std::time::Instant;

use anyhow::{Context, ensure};
use serde_json::{Value, json};
use tokio::process::Command;

use super::shop::Shop;
use crate::audit::show;
use crate::cli::say;
use crate::clock::Clock;
use crate::model::text::visible;
use crate::transport::client::Client;

/// Widest cell that is printed.
const CELL_WIDTH: usize = 44;

/// Tells it.
pub async fn tell(clock: &Clock) -> anyhow::Result<()> {
    let pen = Pen { colour: std::io::stdout().is_terminal() };
    let began = Instant::now();
    pen.title("pgteller: the governed door between AI agents and PostgreSQL")?;
    pen.step("A throwaway PostgreSQL with a small shop in it")?;
    let shop = Shop::open(clock).await?;
    let outside = shop.look().await?;
    let version: String = outside.query_one("SHOW server_version", &[]).await?.get(0);
    pen.note(&format!("PostgreSQL {version}: 200 customers, 1200 orders, 30 staff; the policy is examples/shop/policy.yaml"))?;

    pen.step("An agent connects: MCP over stdio, agent `support-bot`, task `ticket/4711`")?;
    let (client, mut server) = connect(&shop).await?;
    pen.note(&format!("tools: {}", client.tools().await?.join(", ")))?;
    pen.note(&format!("task roles in PostgreSQL so far: {}", task_roles(&outside).await?.len()))?;

    let request_id = ask(&pen, &client, &outside).await?;
    try_more(&pen, &client).await?;
    export(&pen, &client).await?;
    pen.step("audit: the entry behind the first query's request id")?;
    pen.entry(&shop, &request_id)?;

    pen.step("The agent leaves; its role goes with it")?;
    client.close().await?;
    let status = server.wait().await?;
    ensure!(status.success(), "the server ended with {status}");
    let left = task_roles(&outside).await?.len();
    ensure!(left == 0, "{left} task roles are left");
    pen.note("task roles in PostgreSQL now: 0")?;
    drop(outside);
    drop(shop);
    pen.title(&format!(
        "Done in {:.1} s; PostgreSQL and its directory are gone. Next: pgteller demo --serve",
        began.elapsed().as_secs_f32()
    ))
}

/// What there is, and the first rows; gives the request id of the rows.
async fn ask(pen: &Pen, client: &Client, outside: &tokio_postgres::Client) -> anyhow::Result<String> {
    pen.step("describe: what may this task see?")?;
    pen.described(&client.call("describe", json!({"relation": "sales.customers"})).await?)?;
    pen.step("query: the rows, masked by PostgreSQL itself")?;
    let sql = "select company, contact_name, email, card_number, credit_limit from customers order by id limit 4";
    pen.sql(sql)?;
    let answer = client.call("query", json!({"sql": sql})).await?;
    pen.table(&answer)?;
    let emails = answer.get("rows").and_then(Value::as_array).into_iter().flatten().filter_map(|row| row.get(2)?.as_str());
    ensure!(emails.clone().count() == 4 && emails.clone().all(|email| email.starts_with("***@")), "the demo's mask did not work");
    let roles = task_roles(outside).await?;
    pen.note(&format!("ran as {}", roles.first().context("a task role")?))?;
    Ok(answer.get("request_id").and_then(Value::as_str).context("a request id")?.to_owned())
}

/// What a curious agent tries next.
async fn try_more(pen: &Pen, client: &Client) -> anyhow::Result<()> {
    pen.step("query: behind a mask there is nothing to compare with")?;
    let sql = "select count(*) from customers where email like 'henrik%'";
    pen.sql(sql)?;
    pen.table(&client.call("query", json!({"sql": sql})).await?)?;
    pen.step("query: what was not granted does not exist")?;
    for sql in ["select iban, salary from hr.staff", "delete from customers", "select pg_read_file('/etc/passwd')"] {
        pen.sql(sql)?;
        pen.refusal(&client.call("query", json!({"sql": sql})).await?)?;
    }
    pen.step("query: the whole row as JSON, masked all the same")?;
    let sql = "select row_to_json(c) from customers c order by id limit 1";
    pen.sql(sql)?;
    let row = client.call("query", json!({"sql": sql})).await?;
    pen.note(&visible(&row.pointer("/rows/0/0").map(Value::to_string).unwrap_or_default()))
}

async fn export(pen: &Pen, client: &Client) -> anyhow::Result<()> {
    pen.step("export: rows to a file, under the same policy")?;
    let sql = "select id, company, email from customers order by id";
    pen.sql(sql)?;
    let export = client.call("export", json!({"sql": sql, "format": "csv", "max_rows": 50})).await?;
    let uri = export.get("uri").and_then(Value::as_str).context("a link")?;
    pen.note(&format!(
        "{uri}\n{} rows, {} bytes, sha256 {}",
        text(&export, "rows"),
        text(&export, "bytes"),
        text(&export, "sha256")
    ))?;
    let content = client.read(uri).await?;
    pen.note(&content.lines().take(3).collect::<Vec<_>>().join("\n"))
}

async fn connect(shop: &Shop) -> anyhow::Result<(Client, tokio::process::Child)> {
    let words = shop.stdio()?;
    let (program, arguments) = words.split_first().context("our own program")?;
    let mut command = Command::new(program);
    command.args(arguments).env("PGTELLER_LOG", "error").stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
    let mut server = command.spawn().context("starting the server")?;
    let (stdin, stdout) = (server.stdin.take().context("its stdin")?, server.stdout.take().context("its stdout")?);
    Ok((Client::connect(stdout, stdin).await?, server))
}

async fn task_roles(outside: &tokio_postgres::Client) -> anyhow::Result<Vec<String>> {
    let sql = "SELECT role_name::text FROM pgteller_api.made WHERE kind = 't' ORDER BY 1";
    Ok(outside.query(sql, &[]).await?.iter().map(|row| row.get(0)).collect())
}

fn text(value: &Value, key: &str) -> String {
    match value.get(key) {
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
        None => String::new(),
    }
}

/// Writes for people, in colour on a terminal.
struct Pen {
    colour: bool,
}

impl Pen {
    fn paint(&self, code: &str, text: &str) -> String {
        if self.colour { format!("\u{1b}[{code}m{text}\u{1b}[0m") } else { text.to_owned() }
    }

    fn title(&self, text: &str) -> anyhow::Result<()> {
        say(format_args!("\n{}", self.paint("1", text)))
    }

    fn step(&self, text: &str) -> anyhow::Result<()> {
        say(format_args!("\n{} {}", self.paint("36", "▸"), self.paint("1", text)))
    }

    fn note(&self, text: &str) -> anyhow::Result<()> {
        text.lines().try_for_each(|line| say(format_args!("  {}", self.paint("2", line))))
    }

    fn sql(&self, sql: &str) -> anyhow::Result<()> {
        say(format_args!("  {}", self.paint("33", sql)))
    }

    fn refusal(&self, answer: &Value) -> anyhow::Result<()> {
        let error = answer.get("error").context("a refusal")?;
        say(format_args!("  {} {}", self.paint("31", &text(error, "code")), text(error, "message")))?;
        match error.get("hint").and_then(Value::as_str) {
            Some(hint) => self.note(&format!("hint: {hint}")),
            None => Ok(()),
        }
    }

    fn described(&self, described: &Value) -> anyhow::Result<()> {
        self.note(&format!("{}: {}", text(described, "name"), text(described, "comment")))?;
        for column in described.get("columns").and_then(Value::as_array).into_iter().flatten() {
            let masked = column.get("masked").and_then(Value::as_str).map(|mask| format!("  ← {mask}")).unwrap_or_default();
            self.note(&format!("  {:<14}{:<28}{}", text(column, "name"), text(column, "type"), self.paint("35", &masked)))?;
        }
        self.note(&format!("rows limited to: {}", text(described, "rows_limited_to")))
    }

    fn table(&self, answer: &Value) -> anyhow::Result<()> {
        let list = |key: &str| answer.get(key).and_then(Value::as_array).cloned().unwrap_or_default();
        let header: Vec<String> = list("columns").iter().map(|column| text(column, "name")).collect();
        let rows: Vec<Vec<String>> =
            list("rows").iter().map(|row| row.as_array().into_iter().flatten().map(cell).collect()).collect();
        let widths: Vec<usize> = header
            .iter()
            .enumerate()
            .map(|(index, name)| {
                let cells = rows.iter().filter_map(|row| row.get(index)).map(|cell| cell.chars().count());
                cells.chain([name.chars().count()]).max().unwrap_or(0)
            })
            .collect();
        let line = |cells: &[String]| -> String {
            let padded = cells.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
            padded.collect::<Vec<_>>().join("  ").trim_end().to_owned()
        };
        say(format_args!("  {}", self.paint("4", &line(&header))))?;
        rows.iter().try_for_each(|row| say(format_args!("  {}", line(row))))
    }

    fn entry(&self, shop: &Shop, request_id: &str) -> anyhow::Result<()> {
        let directory = shop.config.with_file_name("data").join("audit");
        let entry = show::find(&directory, request_id.parse()?)?.context("the entry of the first query")?;
        let who = entry.principal.as_ref().context("who asked")?;
        let task = entry.task.as_ref().context("for what")?;
        let ruling =
            entry.decision.as_ref().map(|decision| serde_json::to_string(&decision.decision)).transpose()?.unwrap_or_default();
        self.note(&format!(
            "request  {}\nwhen     {}\nwho      {} for {}{}\ntask     {}\nsql      {}\ndecision {} by bundle {}\nrole     {}\nmasked   {}\nrows     {}",
            entry.request_id,
            entry.time,
            who.agent,
            who.subject,
            if who.dev { " ([dev]: nobody verified it)" } else { "" },
            task.purpose,
            entry.sql.as_deref().unwrap_or_default(),
            ruling.trim_matches('"'),
            entry.bundle.as_ref().map_or("", |bundle| bundle.as_str().get(..12).unwrap_or("")),
            entry.role.as_ref().map_or("", |role| role.as_str()),
            entry.masked_columns.join(", "),
            entry.rows.unwrap_or(0),
        ))
    }
}

fn cell(value: &Value) -> String {
    let text = match value {
        Value::Null => "NULL".to_owned(),
        Value::String(text) => visible(text),
        other => other.to_string(),
    };
    if text.chars().count() > CELL_WIDTH { text.chars().take(CELL_WIDTH.saturating_sub(1)).chain(['…']).collect() } else { text }
}
