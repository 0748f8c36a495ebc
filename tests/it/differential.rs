//! The analysis against PostgreSQL's own grammar, over every corpus that we have.

use std::collections::BTreeMap;
use std::io::Read;

use serde_json::Value;

use crate::support::oracle::{Outcome, Row};
use crate::support::repository;

/// Every statement of `tests/corpus/oracle`, with the corpus that it comes from.
pub fn rows() -> Vec<(String, Row)> {
    let file = std::fs::File::open(repository("tests/corpus/oracle/oracle.jsonl.gz")).unwrap();
    let mut text = String::new();
    flate2::read::GzDecoder::new(file).read_to_string(&mut text).unwrap();
    text.lines()
        .map(|line| {
            let value: Value = serde_json::from_str(line).unwrap();
            (value["origin"].as_str().unwrap().to_owned(), serde_json::from_value(value).unwrap())
        })
        .collect()
}

#[test]
fn whatever_is_read_as_a_tree_hides_nothing_from_postgresqls_grammar() {
    let (mut findings, mut trees, mut others) = (Vec::new(), BTreeMap::new(), BTreeMap::new());
    let mut redirected = 0;
    let rows = rows();
    for (origin, row) in &rows {
        match row.check() {
            Ok(Outcome::Tree(sent)) => {
                *trees.entry(origin).or_insert(0) += 1;
                redirected += usize::from(sent != row.sql);
            }
            Ok(Outcome::Not(code, why)) => *others.entry((code, why)).or_insert(0) += 1,
            Err(why) => findings.push(format!("{why}: {origin}: {}", row.sql)),
        }
    }
    println!("{} statements, read: {trees:?}, {redirected} with schemas redirected", rows.len());
    let mut others: Vec<_> = others.into_iter().collect();
    others.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    for ((code, why), count) in others.iter().take(40) {
        println!("{count:5} {code}: {why}");
    }
    assert!(findings.is_empty(), "{} findings:\n{}", findings.len(), findings.join("\n"));
    assert!(trees.values().sum::<usize>() > rows.len() / 2, "too little is read: {trees:?}");
}
