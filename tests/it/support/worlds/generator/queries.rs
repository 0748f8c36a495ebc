//! Queries around the expressions: FROM, joins, grouping, windows, set operations, wrapping; and the forms that only PostgreSQL's parser reads.

use super::expressions::{Mood, Reference, Source, Writer};
use super::random::Random;
use super::relations::{self, Relation, Sight, Type};

const OUTPUTS: &[Type] = &[
    Type::Int,
    Type::Int,
    Type::Int,
    Type::Text,
    Type::Text,
    Type::Text,
    Type::Numeric,
    Type::Date,
    Type::Stamp,
    Type::Bool,
    Type::Uuid,
    Type::Json,
    Type::Texts,
    Type::Float,
];

/// One query of the grammar.
pub fn query(random: &mut Random, mood: Mood) -> String {
    let prying = !mood.exact && random.once_in(8);
    let mut writer = Writer { random, mood: Mood { prying, ..mood }, scope: Vec::new(), names: 0 };
    let (kinds, body) = writer.top();
    let wrapped = writer.wrapped(&body, &kinds);
    writer.dressed(wrapped)
}

impl Writer<'_> {
    fn kinds(&mut self) -> Vec<Type> {
        let count = 1 + self.random.index(4);
        (0..count).map(|_| *self.random.of(OUTPUTS)).collect()
    }

    /// A query without order, and its column types.
    fn top(&mut self) -> (Vec<Type>, String) {
        let kinds = self.kinds();
        let body = match self.random.below(10) {
            0 | 1 => {
                let operator = self.random.word(&["UNION", "UNION ALL", "INTERSECT", "EXCEPT", "EXCEPT ALL"]).to_owned();
                format!("{} {operator} {}", self.select(&kinds), self.select(&kinds))
            }
            2 | 3 => self.grouped(&kinds),
            4 => self.windowed(&kinds),
            _ => self.select(&kinds),
        };
        (kinds, body)
    }

    /// The whole: order, limits, and something around it.
    fn wrapped(&mut self, body: &str, kinds: &[Type]) -> String {
        let places: Vec<String> = (1..=kinds.len()).map(|place| place.to_string()).collect();
        let columns: Vec<String> = (1..=kinds.len()).map(|place| format!("o{place}")).collect();
        let order = places.join(", ");
        let list = columns.join(", ");
        if self.mood.exact {
            return match self.random.below(6) {
                0 => format!("WITH w AS ({body}) SELECT {list} FROM w ORDER BY {order}"),
                1 => format!("SELECT {list} FROM ({body}) AS w ORDER BY {order}"),
                2 => format!("WITH w AS MATERIALIZED ({body}) SELECT count(*) AS n, count(DISTINCT o1) AS d FROM w ORDER BY 1, 2"),
                _ => format!("{body} ORDER BY {order}"),
            };
        }
        match self.random.below(14) {
            0 => format!("WITH w AS ({body}) SELECT {list} FROM w"),
            1 => format!("SELECT w.* FROM ({body}) w"),
            2 => format!("SELECT EXISTS ({body})"),
            3 => format!("SELECT count(*) FROM ({body}) AS w"),
            4 => format!("SELECT array_agg(w.o1 ORDER BY w.o1) FROM ({body}) AS w"),
            5 => format!("SELECT jsonb_agg(to_jsonb(w) ORDER BY to_jsonb(w)) FROM ({body}) AS w"),
            6 => format!("SELECT DISTINCT {list} FROM ({body}) AS w ORDER BY {order}"),
            7 => format!("{body} ORDER BY {order} LIMIT {} OFFSET {}", self.random.below(20), self.random.below(5)),
            8 => format!(
                "{body} ORDER BY {} FETCH FIRST {} ROWS ONLY",
                places.iter().map(|place| format!("{place} DESC NULLS LAST")).collect::<Vec<_>>().join(", "),
                1 + self.random.below(9)
            ),
            9 => format!("SELECT * FROM generate_series(1, 2) AS g(n), LATERAL ({body}) AS w"),
            10 => format!("SELECT (SELECT max(w.o1::text) FROM ({body}) AS w)"),
            11 => format!("{body} LIMIT {}", 1 + self.random.below(50)),
            _ => format!("{body} ORDER BY {order}"),
        }
    }

    /// Comments, blanks, letters of another case, a trailing semicolon.
    fn dressed(&mut self, sql: String) -> String {
        match self.random.below(16) {
            0 => format!("/* o'clock */ {sql}"),
            1 => format!("-- first; line\n{sql}"),
            2 => format!("{sql};"),
            3 => sql.replace(" FROM ", "\n\tFROM /*x/*y*/z*/ "),
            4 => sql.replace("SELECT", "sElEcT"),
            5 => format!("({})", sql.trim_end_matches(';')),
            _ => sql,
        }
    }

    fn relation(&mut self) -> &'static Relation {
        if self.mood.prying && self.random.once_in(4) {
            self.random.of(relations::denied())
        } else {
            self.random.of(relations::granted())
        }
    }

    fn name(&mut self, relation: &Relation) -> String {
        match self.random.below(5) {
            0 | 1 => relation.name.to_owned(),
            2 if !relation.name.contains('"') => format!("{}.\"{}\"", relation.schema, relation.name),
            _ => format!("{}.{}", relation.schema, relation.name),
        }
    }

    /// A FROM item over a relation; its columns come into scope.
    fn source(&mut self) -> (String, String) {
        let relation = self.relation();
        let alias = self.fresh("t");
        let columns = relation
            .columns
            .iter()
            .map(|column| Reference { text: format!("{alias}.{}", column.name), kind: column.kind, sight: column.sight })
            .collect();
        let text = format!("{} {}{alias}", self.name(relation), if self.random.once_in(2) { "AS " } else { "" });
        self.scope.push(Source { alias: alias.clone(), relation: true, columns });
        let key = format!("{alias}.{}", relation.columns[0].name);
        (text, key)
    }

    /// A FROM clause of one to three sources, joined by keys.
    fn from(&mut self) -> String {
        let (mut text, key) = self.source();
        let more = [0, 0, 0, 1, 1, 2][self.random.index(6)];
        for _ in 0..more {
            let known = self.integers(&key);
            let (other, its_key) = self.source();
            let theirs = self.last_integer().unwrap_or(its_key);
            let how = self.random.word(&["JOIN", "JOIN", "LEFT JOIN", "RIGHT JOIN", "FULL JOIN"]).to_owned();
            text = match self.random.below(5) {
                0 if how == "JOIN" => {
                    format!("{text} CROSS JOIN LATERAL (SELECT * FROM {other} WHERE {theirs} = {known}) AS {}", self.rename_last())
                }
                _ => format!("{text} {how} {other} ON {theirs} = {known}"),
            };
        }
        text
    }

    /// Gives the last source another alias, as a sub-select around it does.
    fn rename_last(&mut self) -> String {
        let alias = self.fresh("l");
        let last = self.scope.last_mut().unwrap();
        for column in &mut last.columns {
            column.text = format!("{alias}.{}", column.text.split_once('.').unwrap().1);
        }
        // A star does not bring hidden columns.
        if last.columns.iter().any(|column| column.sight != Sight::Hidden) {
            last.columns.retain(|column| column.sight != Sight::Hidden);
        }
        last.alias.clone_from(&alias);
        alias
    }

    fn integers(&mut self, otherwise: &str) -> String {
        let found: Vec<String> = self
            .scope
            .iter()
            .flat_map(|source| &source.columns)
            .filter(|column| is_key(column))
            .map(|column| column.text.clone())
            .collect();
        if found.is_empty() { otherwise.to_owned() } else { found[self.random.index(found.len())].clone() }
    }

    fn last_integer(&mut self) -> Option<String> {
        let found: Vec<String> =
            self.scope.last()?.columns.iter().filter(|column| is_key(column)).map(|column| column.text.clone()).collect();
        (!found.is_empty()).then(|| found[self.random.index(found.len())].clone())
    }

    /// An output column; numbers of one scale and keys of one type, so that equal ones look equal.
    fn output(&mut self, kind: Type, place: usize) -> String {
        let expression = self.expression(kind, 2);
        let expression = match kind {
            Type::Numeric => format!("round({expression}, 4)"),
            Type::Int => format!("({expression})::bigint"),
            Type::Text => format!("({expression})::text"),
            _ => expression,
        };
        format!("{expression} AS o{}", place + 1)
    }

    fn outputs(&mut self, kinds: &[Type]) -> String {
        kinds.iter().enumerate().map(|(place, kind)| self.output(*kind, place)).collect::<Vec<_>>().join(", ")
    }

    fn select(&mut self, kinds: &[Type]) -> String {
        let depth = self.scope.len();
        let from = self.from();
        let outputs = self.outputs(kinds);
        let filter = if self.random.once_in(3) { String::new() } else { format!(" WHERE {}", self.condition(2)) };
        let distinct = if self.random.once_in(8) { "DISTINCT " } else { "" };
        self.scope.truncate(depth);
        format!("SELECT {distinct}{outputs} FROM {from}{filter}")
    }

    fn aggregate(&mut self, kind: Type) -> String {
        let call = match kind {
            Type::Int => match self.random.below(4) {
                0 => "count(*)".to_owned(),
                1 => format!("count(DISTINCT {})", self.expression(Type::Text, 1)),
                2 => format!("sum({})::bigint", self.column(Type::Int).unwrap_or_else(|| "1".to_owned())),
                _ => format!("max({})", self.expression(Type::Int, 1)),
            },
            Type::Numeric => match self.random.below(2) {
                0 => format!("sum({})", self.expression(Type::Numeric, 1)),
                _ => format!("avg({})", self.atom(Type::Numeric)),
            },
            Type::Bool => format!("bool_or({})", self.condition(1)),
            Type::Json => format!("jsonb_agg({0} ORDER BY {0})", self.atom(Type::Text)),
            Type::Texts => format!("array_agg({0}::text ORDER BY {0}::text)", self.atom(Type::Text)),
            Type::Uuid => format!("(array_agg({0} ORDER BY {0}))[1]", self.atom(Type::Uuid)),
            Type::Text if self.random.once_in(2) => format!("string_agg({0}::text, ',' ORDER BY {0}::text)", self.atom(Type::Text)),
            _ => format!("{}({})", self.random.word(&["min", "max"]).to_owned(), self.atom(kind)),
        };
        if self.random.once_in(5) && call.ends_with(')') { format!("{call} FILTER (WHERE {})", self.condition(1)) } else { call }
    }

    fn grouped(&mut self, kinds: &[Type]) -> String {
        let depth = self.scope.len();
        let from = self.from();
        let by = self.expression(kinds[0], 1);
        let mut list = vec![match kinds[0] {
            Type::Numeric => format!("round({by}, 4) AS o1"),
            Type::Int => format!("({by})::bigint AS o1"),
            Type::Text => format!("({by})::text AS o1"),
            _ => format!("{by} AS o1"),
        }];
        for (place, kind) in kinds.iter().enumerate().skip(1) {
            let call = self.aggregate(*kind);
            list.push(match kind {
                Type::Numeric => format!("round({call}, 4) AS o{}", place + 1),
                Type::Int if !call.contains("FILTER") => format!("({call})::bigint AS o{}", place + 1),
                _ => format!("{call} AS o{}", place + 1),
            });
        }
        let filter = if self.random.once_in(2) { String::new() } else { format!(" WHERE {}", self.condition(1)) };
        let having = if self.random.once_in(3) { format!(" HAVING count(*) > {}", self.random.below(4)) } else { String::new() };
        self.scope.truncate(depth);
        let grouping = match self.random.below(6) {
            0 if !self.mood.exact => "GROUP BY ROLLUP (1)",
            _ => "GROUP BY 1",
        };
        format!("SELECT {} FROM {from}{filter} {grouping}{having}", list.join(", "))
    }

    /// Window functions over a total order: keys of all sources.
    fn windowed(&mut self, kinds: &[Type]) -> String {
        let depth = self.scope.len();
        let from = self.from();
        let keys: Vec<String> = self.scope.iter().skip(depth).map(|source| source.columns[0].text.clone()).collect();
        let order = keys.join(", ");
        let partition = if self.random.once_in(2) { format!("PARTITION BY {} ", self.atom(Type::Text)) } else { String::new() };
        let frame = self
            .random
            .word(&[
                "",
                " ROWS BETWEEN 2 PRECEDING AND CURRENT ROW",
                " RANGE UNBOUNDED PRECEDING",
                " ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING",
            ])
            .to_owned();
        let over = format!("OVER ({partition}ORDER BY {order}{frame})");
        let mut list = Vec::new();
        for (place, kind) in kinds.iter().enumerate() {
            let call = match kind {
                Type::Int => self.random.word(&["row_number()", "count(*)", "rank()", "ntile(3)"]).to_owned(),
                Type::Numeric => format!("sum({})", self.atom(Type::Numeric)),
                _ => format!(
                    "{}({})",
                    self.random.word(&["first_value", "lag", "last_value"]).to_owned(),
                    self.column(*kind).unwrap_or_else(|| keys[0].clone())
                ),
            };
            let call = format!("{call} {over}");
            list.push(match kind {
                Type::Numeric => format!("round({call}, 4) AS o{}", place + 1),
                Type::Int => format!("({call})::bigint AS o{}", place + 1),
                _ => format!("{call} AS o{}", place + 1),
            });
        }
        let filter = if self.random.once_in(2) { String::new() } else { format!(" WHERE {}", self.condition(1)) };
        self.scope.truncate(depth);
        format!("SELECT {} FROM {from}{filter}", list.join(", "))
    }

    /// A sub-select of one value.
    pub fn scalar(&mut self, kind: Type) -> String {
        let depth = self.scope.len();
        let (from, key) = self.source();
        let known = self.outer(depth);
        let value = match kind {
            Type::Int => "count(*)".to_owned(),
            Type::Bool => format!("bool_and({})", self.condition(0)),
            Type::Json | Type::Bytes | Type::Uuid | Type::Texts => {
                self.scope.truncate(depth);
                return self.atom(kind);
            }
            _ => format!("max({})", self.atom(kind)),
        };
        let filter = match known {
            Some(known) => format!("{key} = {known}"),
            None => self.condition(0),
        };
        self.scope.truncate(depth);
        format!("(SELECT {value} FROM {from} WHERE {filter})")
    }

    fn outer(&mut self, depth: usize) -> Option<String> {
        let found: Vec<String> = self
            .scope
            .iter()
            .take(depth)
            .flat_map(|source| &source.columns)
            .filter(|column| is_key(column))
            .map(|column| column.text.clone())
            .collect();
        (!found.is_empty() && self.random.once_in(2)).then(|| found[self.random.index(found.len())].clone())
    }

    pub fn exists(&mut self) -> String {
        let depth = self.scope.len();
        let (from, key) = self.source();
        let filter = match self.outer(depth) {
            Some(known) => format!("{key} = {known} AND {}", self.condition(0)),
            None => self.condition(0),
        };
        self.scope.truncate(depth);
        format!(
            "{}EXISTS (SELECT {} FROM {from} WHERE {filter})",
            if self.random.once_in(4) { "NOT " } else { "" },
            self.random.word(&["1", "*", "", "NULL"]).to_owned()
        )
    }

    pub fn in_select(&mut self, kind: Type) -> String {
        let left = self.atom(kind);
        let depth = self.scope.len();
        let (from, _) = self.source();
        let right = self.atom(kind);
        let filter = self.condition(0);
        self.scope.truncate(depth);
        format!(
            "{left} {} (SELECT {right} FROM {from} WHERE {filter})",
            self.random.word(&["IN", "NOT IN", "= ANY", "< ALL"]).to_owned()
        )
    }
}

fn is_key(column: &Reference) -> bool {
    let name = column.text.rsplit('.').next().unwrap_or_default();
    column.kind == Type::Int && column.sight == Sight::Clear && (name == "id" || name.ends_with("_id") || name == "\"Unit Id\"")
}

/// A form that our own parser does not read, or reads without proof: PostgreSQL is asked which relations it locks.
pub fn plan_form(random: &mut Random) -> String {
    let prying = random.once_in(8);
    let mut writer = Writer { random, mood: Mood { exact: false, prying }, scope: Vec::new(), names: 0 };
    writer.form()
}

impl Writer<'_> {
    fn form(&mut self) -> String {
        let relation = self.relation();
        let name = self.name(relation);
        let key = relation.columns[0].name.clone();
        let (from, _) = self.source();
        let alias = self.scope[0].alias.clone();
        let condition = self.condition(1);
        let value = self.atom(Type::Text);
        let number = self.atom(Type::Int);
        let shown = self.outputs(&[Type::Int, Type::Text]);
        self.scope.clear();
        match self.random.below(18) {
            0 => format!("TABLE {name}"),
            1 => format!("TABLE {name} ORDER BY {key} LIMIT {}", 1 + self.random.below(30)),
            2 => format!("SELECT ({alias}).* FROM {from} WHERE {condition}"),
            3 => format!(
                "SELECT g.n, {shown} FROM {from}, ROWS FROM (generate_series(1, 2), generate_series(5, 7)) AS g(n, m) WHERE {condition}"
            ),
            4 => format!(
                "SELECT {shown}, sum({number}) OVER (ORDER BY {number} ROWS BETWEEN 1 PRECEDING AND 1 FOLLOWING EXCLUDE CURRENT ROW) FROM {from}"
            ),
            5 => format!("SELECT {shown} FROM {from} WHERE {number} BETWEEN SYMMETRIC 50 AND 5 AND {condition}"),
            6 => format!("SELECT count(*) FROM {from} WHERE ({number}, {value}) IS NOT DISTINCT FROM ROW ({number}, {value})"),
            7 => format!(
                "WITH RECURSIVE r(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM r WHERE n < 4) SEARCH DEPTH FIRST BY n SET ord SELECT r.n, {shown} FROM r JOIN {from} ON {number} = r.n ORDER BY 1, 2, 3"
            ),
            8 => format!(
                "WITH RECURSIVE r(n) AS (SELECT 1 UNION ALL SELECT n % 3 + 1 FROM r) CYCLE n SET seen USING path SELECT r.n, (SELECT count(*) FROM {from} WHERE {condition}) FROM r"
            ),
            9 => format!("SELECT {shown} FROM {from} WHERE {condition} FETCH FIRST 3 ROWS WITH TIES"),
            10 => format!("SELECT {shown} FROM {from} WHERE {condition} ORDER BY 1, 2 FETCH FIRST 3 ROWS WITH TIES"),
            11 => format!("SELECT {value} IS NORMALIZED, {value} IS NFC NORMALIZED FROM {from} WHERE {condition}"),
            12 => format!(
                "SELECT {shown} FROM {from} JOIN LATERAL ROWS FROM (unnest(ARRAY[{value}]::text[])) WITH ORDINALITY AS u(a, b) ON {condition}"
            ),
            13 => format!("SELECT ({alias}).{key}, ({alias}).* FROM (SELECT {alias} FROM {from} WHERE {condition}) AS s"),
            14 => format!(
                "SELECT {value} COLLATE \"C\", {value} OPERATOR(pg_catalog.||) 'x' FROM {from} WHERE {condition} ORDER BY {value} USING <"
            ),
            15 => format!(
                "SELECT percentile_disc(0.5) WITHIN GROUP (ORDER BY {number}), mode() WITHIN GROUP (ORDER BY {value}) FROM {from} WHERE {condition}"
            ),
            16 => format!(
                "SELECT overlay({value} PLACING 'xx' FROM 2 FOR 1), trim(BOTH 'e' FROM {value}), {value} SIMILAR TO '%e%' ESCAPE '#' FROM {from} WHERE {condition}"
            ),
            _ => format!("VALUES ((SELECT count(*) FROM {from} WHERE {condition})), ((SELECT min({key}) FROM {name}))"),
        }
    }
}
