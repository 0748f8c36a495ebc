//! The house rules: layers, walls, sizes, heads. Reads the source as text, line by line.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::support::{read, repository};

/// Module to layer, as in `src/lib.rs`.
const LAYERS: &[(&str, u8)] = &[
    ("main", 7),
    ("cli", 7),
    ("server", 7),
    ("transport", 6),
    ("enforcement", 5),
    ("task", 4),
    ("sessions", 4),
    ("export", 4),
    ("database", 3),
    ("profile", 3),
    ("identity", 2),
    ("sql", 2),
    ("policy", 2),
    ("describe", 2),
    ("audit", 2),
    ("model", 1),
    ("store", 1),
    ("config", 1),
    ("settings", 1),
    ("clock", 1),
    ("secret", 1),
    ("telemetry", 1),
    ("lib", 7),
];

/// Imports within a layer that are meant.
const SIDEWAYS: &[(&str, &str)] =
    &[("profile", "database"), ("task", "sessions"), ("export", "sessions"), ("server", "cli"), ("cli", "server"), ("main", "cli")];

/// Which crates may be named where: crate, and the path prefixes that may.
const WALLS: &[(&str, &[&str])] = &[
    ("rmcp", &["src/transport"]),
    ("axum", &["src/transport", "src/server.rs"]),
    ("sqlparser", &["src/sql"]),
    ("wasmtime", &["src/policy/wasm.rs"]),
    ("opa_wasm", &["src/policy/wasm.rs"]),
    ("jsonwebtoken", &["src/identity"]),
    ("tokio_postgres", &["src/database", "src/profile", "src/settings/target.rs", "src/cli"]),
    ("postgres_protocol", &["src/database"]),
    ("getrandom", &["src/clock.rs"]),
    ("sqlx", &["src/store"]),
    ("governor", &["src/task"]),
    ("prometheus_client", &["src/telemetry"]),
    ("clap", &["src/cli", "src/main.rs", "src/telemetry.rs"]),
];

const MAX_FILE: usize = 400;
const MAX_FUNCTION: usize = 70;
const MAX_SPINE_FUNCTION: usize = 60;

struct Source {
    path: String,
    module: String,
    lines: Vec<String>,
}

fn sources() -> Vec<Source> {
    let mut paths = Vec::new();
    collect(&repository("src"), &mut paths);
    paths
        .into_iter()
        .map(|path| {
            let relative = path.strip_prefix(repository("")).unwrap().to_string_lossy().into_owned();
            let module = relative.trim_start_matches("src/").split(['/', '.']).next().unwrap().to_owned();
            let text = std::fs::read_to_string(&path).unwrap();
            // Tests stand at the end of a file and are not bound by its size.
            let code = text.split("\n#[cfg(test)]").next().unwrap();
            Source { path: relative, module, lines: code.lines().map(str::to_owned).collect() }
        })
        .collect()
}

fn collect(directory: &Path, into: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, into);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            into.push(path);
        }
    }
    into.sort();
}

fn is_comment(line: &str) -> bool {
    line.trim_start().starts_with("//")
}

/// Modules of ours that a line names as `crate::…`.
fn named(line: &str) -> Vec<String> {
    line.split("crate::")
        .skip(1)
        .map(|rest| rest.chars().take_while(|char| char.is_ascii_lowercase() || *char == '_').collect())
        .collect()
}

#[test]
fn no_import_points_up() {
    let layers: BTreeMap<&str, u8> = LAYERS.iter().copied().collect();
    let mut wrong = Vec::new();
    for source in sources() {
        let own = *layers.get(source.module.as_str()).unwrap_or_else(|| panic!("{} has no layer", source.path));
        for (number, line) in source.lines.iter().enumerate().filter(|(_, line)| !is_comment(line)) {
            for target in named(line).iter().filter(|target| **target != source.module) {
                let Some(other) = layers.get(target.as_str()) else { continue };
                let sideways = SIDEWAYS.contains(&(source.module.as_str(), target));
                // Layer 1 is one room: its modules are the words of one another.
                let ground = own == 1 && *other == 1;
                if *other > own || (*other == own && !sideways && !ground) || (own == 3 && *other == 2) {
                    wrong.push(format!("{}:{}: layer {own} names `{target}` of layer {other}", source.path, number + 1));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn walls_stand() {
    let mut wrong = Vec::new();
    for source in sources() {
        for (number, line) in source.lines.iter().enumerate().filter(|(_, line)| !is_comment(line)) {
            for (name, allowed) in WALLS {
                let names = line.contains(&format!("{name}::")) || line.trim_start().starts_with(&format!("use {name}"));
                if names && !allowed.iter().any(|prefix| source.path.starts_with(prefix)) {
                    wrong.push(format!("{}:{}: names `{name}`", source.path, number + 1));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn sql_of_ours_is_put_together_below_the_work() {
    let verbs = ["SELECT ", "INSERT INTO", "DELETE FROM", "CREATE ", "DROP ", "GRANT ", "REVOKE ", "ALTER "];
    let allowed = ["src/database", "src/profile", "src/store", "src/cli/setup.rs", "src/cli/demo"];
    let mut wrong = Vec::new();
    for source in sources().iter().filter(|source| !allowed.iter().any(|prefix| source.path.starts_with(prefix))) {
        for (number, line) in source.lines.iter().enumerate().filter(|(_, line)| !is_comment(line)) {
            let starts = verbs.iter().any(|verb| line.contains(&format!("\"{verb}")));
            let prose = line.contains("Refusal") || line.contains("hint(");
            if starts && !prose {
                wrong.push(format!("{}:{}: {}", source.path, number + 1, line.trim()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn files_begin_with_what_they_are_for_and_stay_short() {
    let mut wrong = Vec::new();
    for source in sources() {
        if !source.lines.first().is_some_and(|line| line.starts_with("//!")) {
            wrong.push(format!("{} does not begin with `//!`", source.path));
        }
        // A table of words is long because it is a list.
        if source.lines.len() > MAX_FILE {
            wrong.push(format!("{} has {} lines", source.path, source.lines.len()));
        }
        let most = if source.path == "src/enforcement.rs" { MAX_SPINE_FUNCTION } else { MAX_FUNCTION };
        for (name, length) in functions(&source.lines) {
            if length > most {
                wrong.push(format!("{}: `{name}` has {length} lines", source.path));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Functions with their lengths, by indentation: rustfmt sees to that.
fn functions(lines: &[String]) -> Vec<(String, usize)> {
    let mut found = Vec::new();
    for (start, line) in lines.iter().enumerate() {
        let indent = line.len() - line.trim_start().len();
        let head = line.trim_start().trim_start_matches("pub ").trim_start_matches("pub(super) ").trim_start_matches("async ");
        let Some(rest) = head.strip_prefix("fn ") else { continue };
        let closing = format!("{}}}", " ".repeat(indent));
        if let Some(end) = lines.iter().skip(start).position(|line| *line == closing) {
            let name = rest.chars().take_while(|char| char.is_alphanumeric() || *char == '_').collect();
            found.push((name, end + 1));
        }
    }
    found
}

#[test]
fn our_own_enums_are_matched_in_full() {
    // Foreign enums (the SQL parser's, rmcp's) grow under us and may have a default that refuses.
    let foreign = [
        "src/sql/",
        "src/identity/",
        "src/transport/client.rs",
        "src/cli/",
        "src/database/",
        "src/policy/wasm.rs",
        "src/model/grants.rs",
        "src/profile/masks.rs",
    ];
    let mut wrong = Vec::new();
    for source in sources().iter().filter(|source| !foreign.iter().any(|prefix| source.path.starts_with(prefix))) {
        for (number, line) in source.lines.iter().enumerate() {
            // Matches on text are no matches on an enum of ours.
            if line.trim_start().starts_with("_ =>") && !around_is_text(&source.lines, number) {
                wrong.push(format!("{}:{}", source.path, number + 1));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn around_is_text(lines: &[String], at: usize) -> bool {
    let before = &lines[at.saturating_sub(24)..at];
    before.iter().rev().take_while(|line| !line.contains("match ")).any(|line| line.trim_start().starts_with('"'))
        || before
            .iter()
            .rev()
            .find(|line| line.contains("match "))
            .is_some_and(|line| line.contains('(') || line.contains("as_str"))
}

#[test]
fn the_architecture_document_names_every_module() {
    let document = read("src/lib.rs");
    for (module, _) in LAYERS.iter().filter(|(module, _)| *module != "lib") {
        assert!(document.contains(&format!("`{module}`")), "src/lib.rs does not name `{module}`");
    }
}

#[test]
fn no_unfinished_marks() {
    for source in sources() {
        for line in &source.lines {
            for mark in ["TODO", "FIXME", "todo!(", "unimplemented!("] {
                assert!(
                    !line.contains(mark) || line.contains("compile_fail") || line.contains("limits: todo!()"),
                    "{}: {line}",
                    source.path
                );
            }
        }
    }
}
