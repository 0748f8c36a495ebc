//! Random values, scalar and in arrays: what the views show is what the reference in Rust computes.

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;

use super::Masked;
use crate::twin::reference::{Keys, Shape, array, mask};

/// Pinned, so that the reference knows them.
pub const KEYS: Keys<'static> = Keys { task: b"a key that is thirty-two bytes..", domain: b"another one, of a value's domain" };

const ROWS: usize = 150;

/// The reference's labels and what the policy writes for them.
const LABELS: &[(&str, &str)] = &[
    ("null", r#"{"mask":"null"}"#),
    ("redact", r#"{"mask":"redact"}"#),
    ("email", r#"{"mask":"email"}"#),
    ("partial", r#"{"mask":"partial","keep_last":3}"#),
    ("hash", r#"{"mask":"hash"}"#),
    ("pseudonym", r#"{"mask":"pseudonym","domain":"a.b_c-9"}"#),
    ("bucket", r#"{"mask":"bucket","width":100}"#),
    ("year", r#"{"mask":"truncate","to":"year"}"#),
    ("quarter", r#"{"mask":"truncate","to":"quarter"}"#),
    ("month", r#"{"mask":"truncate","to":"month"}"#),
    ("week", r#"{"mask":"truncate","to":"week"}"#),
    ("day", r#"{"mask":"truncate","to":"day"}"#),
    ("hour", r#"{"mask":"truncate","to":"hour"}"#),
];

struct Column {
    name: &'static str,
    shape: Shape,
    values: BoxedStrategy<String>,
    /// Floating point is only asked not to raise: its text is another matter.
    known: bool,
}

fn columns() -> Vec<Column> {
    let column = |name, kind: &str, sizes: [i32; 3], values| Column {
        name,
        shape: Shape { kind: kind.to_owned(), precision: sizes[0], scale: sizes[1], length: sizes[2] },
        values,
        known: !matches!(kind, "real" | "double precision"),
    };
    let texts = || prop_oneof!["[ -~éü🙂\\n]{0,20}", "[a-z.]{0,6}@[a-z.@-]{0,8}", "[0-9]{0,9}"].boxed();
    let days = || (1..=9999_i32, 1..=12_u8, 1..=28_u8).prop_map(|(year, month, day)| format!("{year:04}-{month:02}-{day:02}"));
    let times = || (0..24_u8, 0..60_u8, 0..60_u8, 0..1_000_000_u32).prop_map(|(h, m, s, u)| format!("{h:02}:{m:02}:{s:02}.{u:06}"));
    let stamps = || (days(), times()).prop_map(|(day, time)| format!("{day} {time}"));
    vec![
        column("text", "text", [0, 0, 0], texts()),
        column("varchar(10)", "character varying", [0, 0, 10], texts().prop_map(|text| text.chars().take(10).collect()).boxed()),
        column("smallint", "smallint", [16, 0, 0], any::<i16>().prop_map(|n| n.to_string()).boxed()),
        column("integer", "integer", [32, 0, 0], any::<i32>().prop_map(|n| n.to_string()).boxed()),
        column("bigint", "bigint", [64, 0, 0], any::<i64>().prop_map(|n| n.to_string()).boxed()),
        column(
            "numeric(12,2)",
            "numeric",
            [12, 2, 0],
            (-999_999_999_999_i64..=999_999_999_999).prop_map(|n| format!("{n}e-2")).boxed(),
        ),
        column("numeric(3,2)", "numeric", [3, 2, 0], (-999..=999_i64).prop_map(|n| format!("{n}e-2")).boxed()),
        column("numeric", "numeric", [0, 0, 0], (any::<i64>(), 0..12_u8).prop_map(|(n, scale)| format!("{n}e-{scale}")).boxed()),
        column("uuid", "uuid", [0, 0, 0], any::<u128>().prop_map(|n| uuid::Uuid::from_u128(n).to_string()).boxed()),
        column("date", "date", [0, 0, 0], days().boxed()),
        column("timestamp", "timestamp without time zone", [0, 0, 0], stamps().boxed()),
        column("timestamptz", "timestamp with time zone", [0, 0, 0], stamps().prop_map(|at| format!("{at}+00")).boxed()),
        column("real", "real", [0, 0, 0], proptest::num::f32::ANY.prop_map(|n| n.to_string()).boxed()),
        column("double precision", "double precision", [0, 0, 0], proptest::num::f64::ANY.prop_map(|n| n.to_string()).boxed()),
    ]
}

fn some<T: std::fmt::Debug>(strategy: &impl Strategy<Value = T>, runner: &mut TestRunner) -> T {
    strategy.new_tree(runner).unwrap().current()
}

#[tokio::test(flavor = "multi_thread")]
async fn random_values_are_masked_as_the_reference_masks_them() {
    let columns = columns();
    let mut sql = "CREATE SCHEMA app;".to_owned();
    for (index, column) in columns.iter().enumerate() {
        sql += &format!("CREATE TABLE app.t{index}(id integer, v {0}, a {0}[]);", column.name);
    }
    let masked = Masked::new(&sql).await;
    let owner = &masked.database.owner;
    owner.batch_execute("SET TimeZone = 'UTC'; SET DateStyle = 'ISO, YMD'").await.unwrap();
    let mut runner = TestRunner::deterministic();
    for (index, column) in columns.iter().enumerate() {
        let insert = format!("INSERT INTO app.t{index} VALUES ($1::integer, $2::text::{0}, $3::text[]::{0}[])", column.name);
        let insert = owner
            .prepare_typed(
                &insert,
                &[tokio_postgres::types::Type::INT4, tokio_postgres::types::Type::TEXT, tokio_postgres::types::Type::TEXT_ARRAY],
            )
            .await
            .unwrap();
        owner.batch_execute("BEGIN").await.unwrap();
        let value = proptest::option::weighted(0.9, column.values.clone());
        let values = proptest::option::weighted(0.9, proptest::collection::vec(value.clone(), 0..5));
        for id in 0..i32::try_from(ROWS).unwrap() {
            let row = (some(&value, &mut runner), some(&values, &mut runner));
            owner
                .execute(&insert, &[&id, &row.0, &row.1])
                .await
                .unwrap_or_else(|error| panic!("{}: {row:?} {error:?}", column.name));
        }
        owner.batch_execute("COMMIT").await.unwrap();
    }
    let names: Vec<String> = (0..columns.len()).map(|index| format!("t{index}")).collect();
    for (label, written) in LABELS {
        let schema = masked.begin(written, &names, &["v", "a"]).await;
        for (index, column) in columns.iter().enumerate() {
            let about = format!("{label} over {}", column.name);
            compare(&masked, &format!("{schema}.t{index}"), &format!("app.t{index}"), label, column)
                .await
                .unwrap_or_else(|why| panic!("{about}: {why}"));
        }
        masked.end().await;
    }
}

/// The reference's texts go through the type, so that only their values count.
async fn compare(masked: &Masked, view: &str, table: &str, label: &str, column: &Column) -> Result<(), String> {
    type Row = (Option<String>, Option<Vec<Option<String>>>);
    let owner = &masked.database.owner;
    let all = |from: &str| format!("SELECT v::text, a::text[] FROM {from} ORDER BY id");
    let read = async |sql: String| -> Result<Vec<Row>, String> {
        let rows = owner.query(&sql, &[]).await.map_err(|error| format!("{error:?}"))?;
        Ok(rows.iter().map(|row| (row.get(0), row.get(1))).collect())
    };
    let (stored, shown) = (read(all(table)).await?, read(all(view)).await?);
    if !column.known {
        return Ok(());
    }
    let through = format!("SELECT $1::text::{0}::text, $2::text[]::{0}[]::text[]", column.name);
    let types = [tokio_postgres::types::Type::TEXT, tokio_postgres::types::Type::TEXT_ARRAY];
    let through = owner.prepare_typed(&through, &types).await.map_err(|error| error.to_string())?;
    for ((value, values), shown) in stored.iter().zip(shown) {
        let expected = mask(label, value.as_deref(), &column.shape, &KEYS);
        let elements = array(label, values.as_deref(), &column.shape, &KEYS);
        let row = owner.query_one(&through, &[&expected, &elements]).await.map_err(|error| format!("{error:?}"))?;
        let expected: Row = (row.get(0), row.get(1));
        if expected != shown {
            return Err(format!("of {value:?} {values:?}\n  shown {shown:?}\n  expected {expected:?}"));
        }
    }
    Ok(())
}
