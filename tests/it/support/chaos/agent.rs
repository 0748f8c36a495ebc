//! A client with a process of its own, which it may kill.

use std::process::Stdio;

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStdout, Command};

use super::world::Site;

/// A process and its pipes.
pub(super) struct Agent {
    pub(super) child: Child,
    answers: Option<BufReader<ChildStdout>>,
    next: u64,
}

/// A `tools/call` with these `params`.
pub(super) fn message(id: u64, params: &str) -> Value {
    json!({"jsonrpc": "2.0", "id": id, "method": "tools/call", "params": serde_json::from_str::<Value>(params).unwrap()})
}

impl Agent {
    pub(super) fn on_stdio(site: &Site, purpose: &str) -> Self {
        let mut command = command(site, purpose, &["--stdio"]);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(site.noise()).spawn().unwrap();
        let answers = child.stdout.take().map(BufReader::new);
        Self { child, answers, next: 1 }
    }

    /// One behind HTTP, with its URL and the token of this run.
    pub(super) async fn behind_http(site: &Site, purpose: &str) -> (Self, String, String) {
        let mut command = command(site, purpose, &["--http", "127.0.0.1:0"]);
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let mut said = BufReader::new(child.stderr.take().unwrap()).lines();
        let mut last_word = async || {
            let line = said.next_line().await.unwrap().expect("where it listens");
            line.rsplit(' ').next().unwrap().to_owned()
        };
        let (url, token) = (last_word().await, last_word().await);
        let mut noise = site.noise_file();
        tokio::spawn(async move {
            while let Ok(Some(line)) = said.next_line().await {
                std::io::Write::write_all(&mut noise, format!("{line}\n").as_bytes()).unwrap();
            }
        });
        (Self { child, answers: None, next: 1 }, url, token)
    }

    /// Whether it answered.
    pub(super) async fn shake_hands(&mut self) -> bool {
        let hello = json!({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "chaos", "version": "0"}}});
        self.write(&hello).await;
        let answered = self.line().await.is_some();
        self.write(&json!({"jsonrpc": "2.0", "method": "notifications/initialized"})).await;
        answered
    }

    pub(super) async fn tell(&mut self, call: &str) {
        let message = message(self.next, call);
        self.next += 1;
        self.write(&message).await;
    }

    pub(super) async fn ask(&mut self, call: &str) -> Value {
        self.tell(call).await;
        self.line().await.unwrap_or_default()
    }

    /// Every whole line that it still said, until its stdout ends.
    pub(super) async fn rest(&mut self) -> Vec<Value> {
        let mut all = Vec::new();
        while let Some(answer) = self.line().await {
            all.push(answer);
        }
        all
    }

    pub(super) async fn kill(&mut self) {
        self.child.kill().await.unwrap();
    }

    pub(super) fn terminate(&self) {
        let id = self.child.id().unwrap().to_string();
        std::process::Command::new("kill").arg(id).status().unwrap();
    }

    pub(super) fn close_stdin(&mut self) {
        drop(self.child.stdin.take());
    }

    async fn write(&mut self, message: &Value) {
        // It may be gone already: that is what this is about.
        let _ = self.child.stdin.as_mut().unwrap().write_all(format!("{message}\n").as_bytes()).await;
    }

    async fn line(&mut self) -> Option<Value> {
        let mut line = String::new();
        self.answers.as_mut()?.read_line(&mut line).await.unwrap();
        line.ends_with('\n').then(|| serde_json::from_str(&line).unwrap_or_else(|_| panic!("not JSON: {line}")))
    }
}

fn command(site: &Site, purpose: &str, window: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pgteller"));
    command.arg("serve").args(window).arg("--config").arg(site.config(purpose)).env("PGTELLER_LOG", "error").kill_on_drop(true);
    command
}
