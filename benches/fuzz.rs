//! Mutated input against everything that reads text or bytes from outside: `make fuzz`. Never a benchmark that measures anything.
//!
//! Takes seconds for each target, a seed and names of targets (default: 5, 1, all); prints how many inputs each target took. Nothing may
//! panic, and what each target promises beside that is said where it stands. Seeds are the corpora below `tests/corpus` and the examples;
//! what broke once belongs there, or into a test beside the code.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a tool for tests: it stops when it is surprised, and prints"
)]

#[path = "fuzz/mutate.rs"]
mod mutate;
#[path = "../tests/it/support/oracle.rs"]
#[expect(dead_code, reason = "only the rows and their scenes are needed here")]
mod oracle;
#[path = "../tests/it/support/renamed.rs"]
mod renamed;
#[path = "../tests/it/support/scene.rs"]
mod scene;
#[path = "fuzz/wire.rs"]
mod wire;

use std::io::Read;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use mutate::Mutator;
use oracle::Row;
use pgteller::clock::Clock;
use pgteller::config::Config;
use pgteller::database::rows::CellKind;
use pgteller::identity::Identity;
use pgteller::model::text::is_hidden;
use pgteller::policy::PolicyDocument;
use pgteller::secret::Secret;
use pgteller::sql::proof;

fn repository(path: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn texts(paths: &[&str]) -> Vec<String> {
    paths.iter().map(|path| std::fs::read_to_string(repository(path)).unwrap()).collect()
}

fn statements() -> Vec<Row> {
    let file = std::fs::File::open(repository("tests/corpus/oracle/oracle.jsonl.gz")).unwrap();
    let mut text = String::new();
    flate2::read::GzDecoder::new(file).read_to_string(&mut text).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

const SQL: &[&str] = &[
    "'",
    "\"",
    "$$",
    "$a$",
    "--",
    "/*",
    "*/",
    "E'",
    "U&'",
    "U&\"",
    "N'",
    "X'",
    "B'",
    "\\",
    ";",
    "::",
    "..",
    "(",
    ")",
    "[",
    "]",
    ".",
    ",",
    "*",
    "/",
    "-",
    "+",
    "<=",
    "!",
    "&",
    "&>",
    "@",
    "select",
    "from",
    "union",
    "with",
    "as",
    "\u{a0}",
    "\u{2028}",
    "\0",
    "\r",
    "\n",
    "é",
    "$1",
    "1e",
    "0x",
    "1_0",
    "table",
    "only",
    "lateral",
    "operator(",
    "case",
    "end",
    "array[",
    "interval",
    "collate",
    "{",
    "}",
    "`",
    "#",
];

/// Cuts tile the text.
fn lex(mutator: &mut Mutator, rows: &[Row]) {
    let text = mutator.one_of(rows, |row| &row.sql, SQL);
    if let Ok(pieces) = proof::lex(&text) {
        assert_eq!(pieces.iter().map(|piece| piece.text.as_str()).collect::<String>(), text);
    }
}

/// What is sent is what was written, with schemas renamed, and places in it lead back, in order.
fn read(mutator: &mut Mutator, rows: &[Row]) {
    let row = mutator.pick(rows);
    let scene = row.scene();
    let text = mutator.text(&row.sql, SQL);
    let Ok(read) = scene.tree(&text) else { return };
    assert!(renamed::is_renamed(&text, &read.text, scene.schemas()), "sent {:?}", read.text);
    let mut before = 1;
    for place in 1..=u32::try_from(read.text.chars().count()).unwrap() {
        let original = read.edits.original_position(place);
        assert!(before <= original, "place {place}");
        before = original;
    }
    assert!(before as usize <= text.chars().count().max(1));
}

/// Each value becomes JSON on one line, without characters that nobody sees.
fn cells(mutator: &mut Mutator, seeds: &[String]) {
    let marks = [
        "{", "}", "[", "]", ",", "\"", "\\", "\\u202e", "NULL", "null", "1", ":", "=", "\u{202e}", "\u{200b}", "\u{7}", "\n",
        "1e999", "-",
    ];
    let text = mutator.one_of(seeds, |seed| seed, &marks);
    let kinds = [CellKind::Text, CellKind::Json, CellKind::Bool, CellKind::BigInt, CellKind::Float];
    let mut arrays: Vec<CellKind> =
        kinds.iter().cloned().chain([CellKind::Number]).map(|kind| CellKind::Array(Box::new(kind))).collect();
    arrays.push(CellKind::Array(Box::new(arrays[0].clone())));
    for kind in kinds.iter().chain(&arrays) {
        let (mut json, mut escaped) = (String::new(), 0);
        kind.append(&text, &mut json, &mut escaped);
        assert!(serde_json::from_str::<serde::de::IgnoredAny>(&json).is_ok(), "{kind:?}: {json}");
        // Numbers are copied as PostgreSQL wrote them, and it writes no white space there.
        let copied = matches!(kind, CellKind::BigInt | CellKind::Float) || arrays[2..].contains(kind);
        assert!(copied || !json.contains(|char| is_hidden(char) || matches!(char, '\n' | '\r' | '\t')), "{kind:?}: {json:?}");
    }
}

fn policy(mutator: &mut Mutator, seeds: &[String]) {
    let marks = [
        "- ", ": ", "\n", "  ", "{", "}", "[", "]", "null", "~", "&a", "*a", "<<: *a", "!!str", "|", ">", "1", "version", "masks",
        "grants", "'", "\"",
    ];
    let text = mutator.one_of(seeds, |seed| seed, &marks);
    if let Ok(document) = PolicyDocument::parse(&text, "policy.yaml") {
        assert_eq!(document.json()["version"], 1);
    }
}

fn config(mutator: &mut Mutator, seeds: &[String]) {
    let marks = [
        "[",
        "]",
        "[[",
        "]]",
        "=",
        "\n",
        "\"",
        "'''",
        "{",
        "}",
        ",",
        ".",
        "1",
        "true",
        "inf",
        "1979-05-27",
        "#",
        "database",
        "\\u0000",
    ];
    let text = mutator.one_of(seeds, |seed| seed, &marks);
    let _ = Config::parse(&text, Path::new("pgteller.toml"));
}

/// Header and payload are mutated as JSON and as base64. Nobody's token is accepted.
fn token(mutator: &mut Mutator, identity: &Identity, runtime: &tokio::runtime::Runtime) {
    let marks =
        ["\"alg\"", "\"none\"", "\"typ\"", "\"at+jwt\"", "\"kid\"", "\"iss\"", "null", "{", "}", "[", ":", ",", "1e999", "."];
    let header = mutator.text(r#"{"alg":"RS256","typ":"at+jwt","kid":"1"}"#, &marks);
    let payload = mutator.text(r#"{"iss":"https://issuer.example","sub":"a","aud":"b","exp":4102444800}"#, &marks);
    let token = format!("{}.{}.c2lnbmF0dXJl", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(payload));
    let token = mutator.text(&token, &[".", "..", "=", "e30", "é"]);
    assert!(runtime.block_on(identity.authenticate(&Secret::from(token))).is_err());
}

/// Runs one target until its time is over; says what it had in hands if it fails.
fn run(name: &str, seconds: f64, mutator: &mut Mutator, mut one: impl FnMut(&mut Mutator)) -> bool {
    let until = Instant::now() + Duration::from_secs_f64(seconds);
    let mut inputs = 0_u64;
    while Instant::now() < until {
        inputs += 1;
        if catch_unwind(AssertUnwindSafe(|| one(mutator))).is_err() {
            println!("{name}: failed on input {inputs}: {:?}", String::from_utf8_lossy(mutator.last()));
            return false;
        }
    }
    println!("{inputs:9} {name}");
    true
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let seconds = arguments.first().map_or(5.0, |seconds| seconds.parse().unwrap());
    let mut mutator = Mutator::new(arguments.get(1).map_or(1, |seed| seed.parse().unwrap()));
    let wanted = |name: &str| arguments.len() < 3 || arguments[2..].iter().any(|argument| argument == name);
    let rows = statements();
    let values: Vec<String> = serde_yaml_ng::from_str(&texts(&["tests/corpus/fuzz/cells.yaml"])[0]).unwrap();
    let policies = texts(&["examples/quickstart/policy.yaml", "examples/shop/policy.yaml", "tests/corpus/worlds/policy.yaml"]);
    let configs = texts(&["examples/quickstart/pgteller.toml"]);
    let mut sound = true;
    let mut target = |name: &str, one: &mut dyn FnMut(&mut Mutator)| {
        sound &= !wanted(name) || run(name, seconds, &mut mutator, one);
    };
    target("lex", &mut |mutator| lex(mutator, &rows));
    target("read", &mut |mutator| read(mutator, &rows));
    target("cells", &mut |mutator| cells(mutator, &values));
    target("policy", &mut |mutator| policy(mutator, &policies));
    target("config", &mut |mutator| config(mutator, &configs));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let identity = Identity::from_settings(&[], None, Clock::system());
    target("token", &mut |mutator| token(mutator, &identity, &runtime));
    let server = wire::Server::new(runtime);
    target("wire", &mut |mutator| server.one(mutator));
    std::process::exit(i32::from(!sound));
}
