//! One statement held against what PostgreSQL's own grammar sees in it (`scripts/oracle`): whatever the analysis reads as a tree must
//! name every relation, function and column that the grammar names, and must not be readable without any of them.

use std::collections::BTreeSet;

use pgteller::model::names::RelationName;
use pgteller::model::snapshot::Volatility;
use pgteller::sql::Analysed;
use serde::Deserialize;

use super::renamed::is_renamed;
use super::scene::{EXTENSION_SCHEMA, Scene};

/// What the grammar sees in one statement. See `tests/corpus/oracle/README.md`.
#[derive(Debug, Deserialize)]
pub struct Row {
    pub sql: String,
    /// Schema, name, and the columns that are surely read beside `bare`; an empty name is all.
    pub relations: Vec<(Option<String>, String, Vec<String>)>,
    pub functions: Vec<(Option<String>, String)>,
    pub attributes: Vec<String>,
    pub bare: Vec<String>,
    /// Casts to `regclass` and its kin: the type, and the text if it is a literal.
    pub look_ups: Vec<(String, Option<String>)>,
    pub never: Vec<String>,
}

/// What came of one statement.
pub enum Outcome {
    /// Read, and everything was found: the text that would be sent.
    Tree(String),
    /// Not read as a tree: the code, and what it said.
    Not(String, String),
}

/// A column that no statement names, so that it shows who takes them all.
const UNNAMED: &str = "zz_unnamed";

impl Row {
    fn relation(&self, index: usize) -> RelationName {
        let (schema, name, _) = &self.relations[index];
        RelationName::new(schema.as_deref().unwrap_or("public"), name)
    }

    /// Relations of the catalog are not for a task to be granted: they are governed or refused.
    fn is_catalog(&self, index: usize) -> bool {
        let name = self.relation(index);
        matches!(name.schema.as_str(), "pg_catalog" | "information_schema")
            || (name.schema == "public" && name.name.starts_with("pg_"))
    }

    /// With or without a schema, it is one relation.
    fn columns(&self, index: usize) -> Vec<&str> {
        let name = self.relation(index);
        let same = (0..self.relations.len()).filter(|other| self.relation(*other) == name);
        let own = same.flat_map(|other| &self.relations[other].2).chain(&self.bare).map(String::as_str);
        own.filter(|column| !column.is_empty()).chain([UNNAMED]).collect::<BTreeSet<_>>().into_iter().collect()
    }

    fn granted(&self) -> impl Iterator<Item = usize> {
        (0..self.relations.len()).filter(|index| !self.is_catalog(*index))
    }

    /// What the grammar puts into `pg_catalog` is there; what it leaves to the search path comes from an extension, so that no list of
    /// ours knows it.
    fn called(&self) -> impl Iterator<Item = (&str, &str)> {
        self.functions.iter().map(|(schema, name)| (schema.as_deref().unwrap_or(EXTENSION_SCHEMA), name.as_str()))
    }

    /// Exactly what the grammar sees exists and is granted.
    pub fn scene(&self) -> Scene {
        let relations = self.granted().map(|index| (self.relation(index), self.columns(index)));
        Scene::new(relations, self.called().map(|(schema, name)| (schema, name, Volatility::Immutable)))
    }

    fn without_relation(&self, missing: &RelationName) -> Scene {
        let relations = self.granted().map(|index| (self.relation(index), self.columns(index)));
        let functions = self.called().map(|(schema, name)| (schema, name, Volatility::Immutable));
        Scene::new(relations.filter(|(name, _)| name != missing), functions)
    }

    /// With one function gone, or not allowed.
    fn without_function(&self, missing: usize, instead: Option<Volatility>) -> Scene {
        let relations = self.granted().map(|index| (self.relation(index), self.columns(index)));
        let functions = self.called().enumerate().filter_map(|(index, (schema, name))| {
            let volatility = if index == missing { instead } else { Some(Volatility::Immutable) };
            volatility.map(|volatility| (schema, name, volatility))
        });
        Scene::new(relations, functions)
    }

    /// No relation has a column of this name, and a function that is not allowed has it.
    fn with_attribute_as_function(&self, attribute: &str) -> Scene {
        let relations = self.granted().map(|index| (self.relation(index), vec![UNNAMED]));
        let functions = self.called().map(|(schema, name)| (schema, name, Volatility::Immutable));
        Scene::new(relations, functions.chain([(EXTENSION_SCHEMA, attribute, Volatility::Volatile)]))
    }

    /// Holds the analysis against the grammar. An error is a finding: something the analysis does not see.
    pub fn check(&self) -> Result<Outcome, String> {
        let scene = self.scene();
        let read = match scene.tree(&self.sql) {
            Ok(read) => read,
            Err(Some(refusal)) => {
                return Ok(Outcome::Not(refusal.code.as_str().to_owned(), refusal.message));
            }
            Err(None) => return Ok(Outcome::Not("no tree".to_owned(), String::new())),
        };
        if let Some(why) = self.never.first() {
            return Err(format!("read although it holds: {why}"));
        }
        // What is looked up may be redirected inside its literal.
        if self.look_ups.is_empty() && !is_renamed(&self.sql, &read.text, scene.schemas()) {
            return Err(format!("sent otherwise than renamed: {}", read.text));
        }
        self.check_look_ups()?;
        self.check_relations(&read)?;
        self.check_columns(&read)?;
        self.check_functions(&read)?;
        for index in self.granted() {
            let missing = self.relation(index);
            if self.without_relation(&missing).tree(&self.sql).is_ok() {
                return Err(format!("read without relation {missing}"));
            }
        }
        for (index, (schema, name)) in self.called().enumerate() {
            let not_allowed = || self.without_function(index, Some(Volatility::Volatile)).tree(&self.sql).is_err();
            // Some volatile ones that are built in are harmless.
            let gone = || schema == "pg_catalog" && self.without_function(index, None).tree(&self.sql).is_err();
            if !not_allowed() && !gone() {
                return Err(format!("read without function {schema}.{name}"));
            }
        }
        for attribute in &self.attributes {
            if self.with_attribute_as_function(attribute).tree(&self.sql).is_ok() {
                return Err(format!("read although {attribute} after a dot may be a function"));
            }
        }
        Ok(Outcome::Tree(read.text))
    }

    /// Of relations, only what FROM could name too may be looked up.
    fn check_look_ups(&self) -> Result<(), String> {
        let relations = self.look_ups.iter().filter(|(kind, _)| kind == "regclass").filter_map(|(_, literal)| literal.as_deref());
        for literal in relations {
            let (schema, name) = literal.split_once('.').unwrap_or(("public", literal));
            let named = RelationName::new(schema, name);
            if !self.granted().any(|index| self.relation(index) == named) {
                return Err(format!("looks up {literal:?}"));
            }
        }
        Ok(())
    }

    fn check_relations(&self, read: &Analysed) -> Result<(), String> {
        let seen: BTreeSet<RelationName> =
            read.statement.relations.iter().map(|relation| RelationName::new(&relation.schema, &relation.name)).collect();
        let all: BTreeSet<RelationName> = (0..self.relations.len()).map(|index| self.relation(index)).collect();
        let granted: BTreeSet<RelationName> = self.granted().map(|index| self.relation(index)).collect();
        if let Some(hidden) = granted.difference(&seen).next() {
            return Err(format!("relation {hidden} is not seen"));
        }
        match seen.difference(&all).next() {
            Some(invented) => Err(format!("relation {invented} is seen and is not there")),
            None => Ok(()),
        }
    }

    fn check_columns(&self, read: &Analysed) -> Result<(), String> {
        for index in self.granted() {
            let name = self.relation(index);
            let columns = read
                .statement
                .relations
                .iter()
                .filter(|relation| relation.schema == name.schema && relation.name == name.name)
                .flat_map(|relation| &relation.columns)
                .collect::<BTreeSet<_>>();
            for column in self.relations[index].2.iter().chain(&self.bare) {
                let wanted = if column.is_empty() { UNNAMED } else { column };
                if !columns.iter().any(|seen| *seen == wanted) {
                    return Err(format!("column {column} of {name} is not seen"));
                }
            }
        }
        Ok(())
    }

    fn check_functions(&self, read: &Analysed) -> Result<(), String> {
        for (schema, name) in self.called() {
            if !read.statement.functions.contains(&format!("{schema}.{name}")) {
                return Err(format!("function {schema}.{name} is not seen"));
            }
        }
        Ok(())
    }
}
