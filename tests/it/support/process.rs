//! The real binary on stdio.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};

use super::server::Configured;

/// The real binary on stdio.
pub struct Process {
    /// The process.
    pub child: Child,
    /// What it says.
    pub reader: BufReader<std::process::ChildStdout>,
    /// Its configuration, log and exports.
    pub directory: std::sync::Arc<tempfile::TempDir>,
}

impl Process {
    /// Starts one in a directory of its own.
    pub fn start(configured: &Configured<'_>) -> Self {
        Self::spawn(configured, Command::new(env!("CARGO_BIN_EXE_pgteller")))
    }

    /// One that cannot make any file larger than this many KiB: to it, the disk is full.
    pub fn with_a_full_disk(configured: &Configured<'_>, kib: usize) -> Self {
        let mut shell = Command::new("bash");
        shell.args(["-c", &format!("trap '' XFSZ; ulimit -f {kib}; exec \"$0\" \"$@\""), env!("CARGO_BIN_EXE_pgteller")]);
        Self::spawn(configured, shell)
    }

    /// Starts this command in a directory of its own.
    pub fn spawn(configured: &Configured<'_>, command: Command) -> Self {
        let directory = std::sync::Arc::new(tempfile::tempdir().unwrap());
        let config = configured.write(directory.path());
        Self::spawn_in(directory, &config, command)
    }

    /// Starts one over a configuration that is there.
    pub fn spawn_in(directory: std::sync::Arc<tempfile::TempDir>, config: &std::path::Path, mut command: Command) -> Self {
        let command_has_log = command.get_envs().any(|(name, _)| name == "PGTELLER_LOG");
        let mut child = command
            .args(["serve", "--stdio", "--config"])
            .arg(config)
            .envs((!command_has_log).then_some(("PGTELLER_LOG", "error")))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let reader = BufReader::new(child.stdout.take().unwrap());
        let mut process = Self { child, reader, directory };
        let hello = json!({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "test", "version": "0"}}});
        assert_eq!(process.ask(&hello)["result"]["protocolVersion"], "2025-06-18");
        process.tell(&json!({"jsonrpc": "2.0", "method": "notifications/initialized"}));
        process
    }

    /// Sends a message.
    pub fn tell(&mut self, message: &Value) {
        writeln!(self.child.stdin.as_mut().unwrap(), "{message}").unwrap();
    }

    /// Sends a line, whatever it is.
    pub fn tell_text(&mut self, line: &str) {
        writeln!(self.child.stdin.as_mut().unwrap(), "{line}").unwrap();
    }

    /// The next line that it says.
    pub fn line(&mut self) -> Value {
        let mut line = String::new();
        self.reader.read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap_or_else(|_| panic!("no JSON: {line}"))
    }

    /// Sends a message and waits for the answer.
    pub fn ask(&mut self, message: &Value) -> Value {
        self.tell(message);
        self.line()
    }

    /// Runs `query`.
    pub fn query(&mut self, sql: &str) -> Value {
        let message =
            json!({"jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": {"name": "query", "arguments": {"sql": sql}}});
        self.ask(&message)["result"]["structuredContent"].clone()
    }

    /// Closes stdin and waits for a clean end.
    pub fn finish(mut self) {
        drop(self.child.stdin.take());
        assert!(self.child.wait().unwrap().success());
    }
}

/// The real binary on HTTP, at a free port of loopback.
pub struct Listening {
    /// The process.
    pub child: Child,
    /// Where it listens.
    pub url: String,
    directory: tempfile::TempDir,
}

/// A client of it.
#[derive(Clone)]
pub struct Door {
    http: reqwest::Client,
    url: String,
}

impl Listening {
    /// Starts one in a directory of its own.
    pub fn start(configured: &Configured<'_>) -> Self {
        // What the client below speaks TLS with, where no server of this process has chosen it.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let directory = tempfile::tempdir().unwrap();
        let config = configured.write(directory.path());
        let mut child = Command::new(env!("CARGO_BIN_EXE_pgteller"))
            .args(["serve", "--http", "127.0.0.1:0", "--config"])
            .arg(config)
            .env("PGTELLER_LOG", "error")
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut said = BufReader::new(child.stderr.take().unwrap());
        let mut line = String::new();
        said.read_line(&mut line).unwrap();
        let url = line.trim().rsplit(' ').next().unwrap().to_owned();
        assert!(url.starts_with("http://"), "{line}");
        // What it says later is passed on.
        std::thread::spawn(move || std::io::copy(&mut said, &mut std::io::stderr()));
        Self { child, url, directory }
    }

    /// Its directory.
    pub fn directory(&self) -> &std::path::Path {
        self.directory.path()
    }

    /// A client.
    pub fn door(&self) -> Door {
        Door::at(&self.url)
    }

    /// Runs another command over its configuration; gives what it printed.
    pub fn cli(&self, arguments: &[&str]) -> String {
        let output = Command::new(env!("CARGO_BIN_EXE_pgteller"))
            .args(arguments)
            .env("PGTELLER_CONFIG", self.directory.path().join("pgteller.toml"))
            .output()
            .unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// Asks it to end, and waits for a clean end.
    pub fn stop(mut self) {
        assert!(Command::new("kill").arg(self.child.id().to_string()).status().unwrap().success());
        assert!(self.child.wait().unwrap().success());
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        // Only where a test failed before it was stopped.
        let _ = self.child.kill();
    }
}

impl Door {
    /// A client of a server at this URL.
    pub fn at(url: &str) -> Self {
        Self { http: reqwest::Client::new(), url: url.to_owned() }
    }

    /// Calls a tool; gives the result's structured content, or the JSON-RPC error.
    pub async fn call(&self, token: &str, tool: &str, arguments: Value) -> Value {
        let message = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": tool, "arguments": arguments}});
        let request = self
            .http
            .post(&self.url)
            .bearer_auth(token)
            .header("accept", "application/json, text/event-stream")
            .header("mcp-protocol-version", "2025-11-25")
            .json(&message);
        let body: Value = request.send().await.unwrap().json().await.unwrap();
        body.pointer("/result/structuredContent").cloned().unwrap_or(body)
    }
}
