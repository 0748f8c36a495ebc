//! Properties of the analysis: it never panics, and whatever is put at any place of a statement is found.

use std::io::Read;
use std::ops::ControlFlow;

use pgteller::model::names::RelationName;
use pgteller::model::refusal::Code;
use pgteller::model::snapshot::Volatility;
use pgteller::sql;
use proptest::prelude::*;
use serde_json::Value;
use sqlparser::ast::{Expr, Statement, TableFactor, VisitMut, VisitorMut};

use crate::differential;
use crate::support::oracle::Row;
use crate::support::renamed::parse;
use crate::support::repository;
use crate::support::scene::Scene;

/// `public.a` and `public.b` with some columns; every function of these names is an allowed built-in.
fn scene(relations: &[(&str, &[&str])], functions: &[&str]) -> Scene {
    let relations = relations.iter().map(|(name, columns)| (RelationName::new("public", *name), columns.to_vec()));
    Scene::new(relations, functions.iter().map(|&name| ("pg_catalog", name, Volatility::Immutable)))
}

/// Statements that are read, with a scene in which every name of theirs exists.
fn corpus() -> Vec<String> {
    let file = std::fs::File::open(repository("tests/corpus/questions/questions.jsonl.gz")).unwrap();
    let mut text = String::new();
    flate2::read::GzDecoder::new(file).read_to_string(&mut text).unwrap();
    let gold = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()["sql"].as_str().unwrap().to_owned());
    let own = [
        "select a.x, (select max(y) from b where b.x = a.x) from a join b using (x) where a.y in (select y from b) group by 1, 2 having count(*) > 1 order by sum(a.x) limit 3 offset 1",
        "with recursive c as (select x from a union all select x + 1 from c where x < 5) select * from c, lateral (select y from b where b.x = c.x) l",
        "select row_number() over (partition by x order by y rows between 1 preceding and current row), sum(x) filter (where y > 1), percentile_cont(0.5) within group (order by x) from a window w as (order by x)",
        "select case when x = 1 then y else array_agg(x order by y) [1] end, cast(x as text), extract(year from y), substring(x from 1 for 2), trim(both 'x' from y), position('a' in x) from a",
        "select distinct on (x) x, y from a where exists (select 1 from b) and x between 1 and 2 and y like 'a%' escape '!' and (x, y) in (values (1, 2)) and x is distinct from y order by x, y fetch first 3 rows only",
        "select * from generate_series(1, 3) g(n) join unnest(array[1, 2]) with ordinality u(v, o) on g.n = u.v cross join json_table('[1]', '$[*]' columns (c int path '$')) t",
        "select x from a union select y from b intersect (select x from a except select y from b) order by 1",
        "select x, count(*) from a group by rollup (x, y), grouping sets ((x), (y)), cube (x)",
    ];
    gold.chain(own.iter().map(|&sql| sql.to_owned())).collect()
}

/// Puts a marker at the k-th expression or table.
struct Marker {
    left: usize,
    put: bool,
    tables: bool,
}

impl VisitorMut for Marker {
    type Break = ();

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        if !self.tables && self.turn() {
            if let Some(Statement::Query(query)) = parse("select zz_marker(1)")
                && let sqlparser::ast::SetExpr::Select(select) = *query.body
                && let Some(sqlparser::ast::SelectItem::UnnamedExpr(marker)) = select.projection.into_iter().next()
            {
                *expr = marker;
            }
            return ControlFlow::Break(());
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<()> {
        if self.tables && self.turn() {
            if let Some(Statement::Query(query)) = parse("select 1 from zz_marker")
                && let sqlparser::ast::SetExpr::Select(mut select) = *query.body
            {
                *factor = select.from.remove(0).relation;
            }
            return ControlFlow::Break(());
        }
        ControlFlow::Continue(())
    }
}

impl Marker {
    fn turn(&mut self) -> bool {
        if self.left == 0 {
            self.put = true;
            return true;
        }
        self.left -= 1;
        false
    }
}

#[test]
fn a_marker_at_any_place_of_a_statement_is_found() {
    let rows = differential::rows();
    let workers = std::thread::available_parallelism().map_or(1, usize::from);
    let (places, missed) = std::thread::scope(|scope| {
        let part = |worker| rows.iter().skip(worker).step_by(workers).map(|(origin, row)| with_marker_everywhere(origin, row));
        let sum = |(places, missed): (usize, Vec<String>), (more, found)| (places + more, [missed, found].concat());
        let parts: Vec<_> = (0..workers).map(|worker| scope.spawn(move || part(worker).fold((0, Vec::new()), sum))).collect();
        parts.into_iter().map(|part| part.join().unwrap()).fold((0, Vec::new()), sum)
    });
    println!("{places} places");
    assert!(places > 40_000 && missed.is_empty(), "{places}, missed {}:\n{}", missed.len(), missed.join("\n"));
}

/// Puts the marker at each place of a statement; gives how many there are, and the texts in which it was not found.
fn with_marker_everywhere(origin: &str, row: &Row) -> (usize, Vec<String>) {
    // Everything but the marker exists and is granted, so nothing else can be the reason of a refusal.
    let scene = row.scene();
    let Some(tree) = parse(&row.sql).filter(|tree| scene.tree(&tree.to_string()).is_ok()) else { return (0, Vec::new()) };
    let (mut places, mut missed) = (0, Vec::new());
    for tables in [false, true] {
        for place in 0.. {
            let mut marked = tree.clone();
            let mut marker = Marker { left: place, put: false, tables };
            let _ = VisitMut::visit(&mut marked, &mut marker);
            if !marker.put {
                break;
            }
            places += 1;
            let text = marked.to_string();
            if !text.contains("zz_marker") || scene.tree(&text).is_ok() {
                missed.push(format!("{origin}: {text}"));
            }
        }
    }
    (places, missed)
}

#[test]
fn a_marker_among_granted_names_is_still_found() {
    let functions = [
        "max",
        "count",
        "sum",
        "row_number",
        "percentile_cont",
        "array_agg",
        "generate_series",
        "unnest",
        "extract",
        "substring",
        "btrim",
        "position",
        "like_escape",
    ];
    let scene = scene(&[("a", &["x", "y"]), ("b", &["x", "y"])], &functions);
    let (mut read, mut missed) = (0, Vec::new());
    for sql in corpus().iter().rev().take(8) {
        read += usize::from(scene.tree(sql).is_ok());
        let tree = parse(sql).unwrap();
        for tables in [false, true] {
            for place in 0.. {
                let mut marked = tree.clone();
                let mut marker = Marker { left: place, put: false, tables };
                let _ = VisitMut::visit(&mut marked, &mut marker);
                if !marker.put {
                    break;
                }
                let text = marked.to_string();
                match scene.read(&text) {
                    Err(refusal) => assert!(
                        matches!(refusal.code, Code::FunctionNotAllowed | Code::RelationNotGranted | Code::StatementNotUnderstood),
                        "{text}: {refusal}"
                    ),
                    Ok(sql::Reading::Tree(_)) if text.contains("zz_marker") => missed.push(text),
                    Ok(sql::Reading::Tree(_) | sql::Reading::Unread(_)) => {}
                }
            }
        }
    }
    assert!(read >= 5, "only {read} of the statements are read at all");
    assert!(missed.is_empty(), "{missed:#?}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn reading_never_panics(text in "\\PC{0,80}") {
        let scene = scene(&[("a", &["x"])], &[]);
        let _ = scene.read(&text);
    }

    #[test]
    fn reading_mutated_statements_never_panics_and_redirects_only_schemas(
        pick in 0_usize..286, at in 0_usize..400, with in "[ -~]{0,6}|(--|/\\*|\\*/|'|\"|\\$\\$|;|U&|E'|::|\\(|\\)| public\\.a )"
    ) {
        let corpus = corpus();
        let mut text = corpus[pick % corpus.len()].clone();
        let mut at = at % (text.len() + 1);
        while !text.is_char_boundary(at) {
            at -= 1;
        }
        text.insert_str(at, &with);
        let scene = scene(&[("a", &["x"])], &[]);
        if let Ok(sql::Reading::Tree(read)) = scene.read(&text) {
            prop_assert_eq!(read.text.replace("pgteller_profile_1", "public"), text);
        }
    }

    #[test]
    fn places_in_the_sent_text_map_back(before in "[a-z]{0,9}", after in "[a-z]{1,9}") {
        let scene = scene(&[("a", &["x"])], &[]);
        let sql = format!("select x as c{before} from public.a where x = '{after}' and x = 'here'");
        let sql::Reading::Tree(read) = scene.read(&sql).map_err(|error| TestCaseError::fail(error.to_string()))? else {
            return Err(TestCaseError::fail("not read"));
        };
        let sent = u32::try_from(read.text.find("'here'").unwrap()).unwrap() + 1;
        prop_assert_eq!(read.edits.original_position(sent), u32::try_from(sql.find("'here'").unwrap()).unwrap() + 1);
    }
}
