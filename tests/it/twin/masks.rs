//! The twin of a database: its columns rewritten through the masks of `reference`, its rows filtered.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use tokio_postgres::{Client, SimpleQueryMessage};

use super::reference::{Keys, Shape, mask};

/// Which label a column gets, by its name and type; nothing for most.
fn label(column: &str, kind: &str) -> Option<&'static str> {
    let text = matches!(kind, "text" | "character varying" | "character");
    let number = matches!(kind, "integer" | "bigint" | "smallint" | "numeric");
    let name = column.to_lowercase();
    if text && name.contains("email") {
        Some("email")
    } else if text && (name.contains("phone") || name.contains("zip") || name.contains("homepage")) {
        Some("partial")
    } else if name.contains("customer_id")
        || name.contains("salesperson_id")
        || name.contains("merchant_id")
        || name == "mid"
        || (text && name.contains("custid"))
    {
        // Keys, so that joins must agree.
        Some("pseudonym")
    } else if number && (name.contains("cost") || name.contains("population") || name.contains("altitude") || name.contains("tax"))
    {
        Some("bucket")
    } else if matches!(kind, "date" | "timestamp without time zone")
        && (name.contains("payment") || name.contains("session") || name.contains("datetime"))
    {
        Some(if name.contains("session") { "week" } else { "month" })
    } else if text
        && (name.contains("last_name") || name.contains("username") || name.contains("custname") || name.contains("airline_name"))
    {
        Some("hash")
    } else if text && (name.contains("address") || name.contains("abstract") || name.contains("description") || name == "traverse")
    {
        Some("redact")
    } else if number
        && (name.contains("balance") || name.contains("commission") || name.contains("citing") || name.contains("elevation"))
    {
        Some("partial")
    } else if number && (name.contains("reference_num") || name.contains("volume") || name.contains("area") || name == "capacity") {
        Some("hash")
    } else if matches!(kind, "date" | "timestamp without time zone")
        && (name.contains("hire") || name.contains("join") || name.contains("kyc"))
    {
        Some(if name.contains("kyc") { "null" } else { "redact" })
    } else {
        None
    }
}

const COLUMNS: &str = "SELECT c.table_name::text, c.column_name::text, c.data_type::text, coalesce(c.numeric_precision, 0)::int, coalesce(c.numeric_scale, 0)::int, \
     coalesce(c.character_maximum_length, 0)::int FROM information_schema.columns c JOIN pg_tables t ON t.tablename = c.table_name AND t.schemaname = c.table_schema \
     WHERE c.table_schema = $1 ORDER BY 1, c.ordinal_position";

/// Turns a plain copy into the twin of a policy whose labels are named after their masks: views become tables of what they showed, then columns
/// are masked, then rows leave.
pub async fn apply(
    twin: &Client,
    schema: &str,
    labels: &BTreeMap<String, Vec<String>>,
    rows: &BTreeMap<String, BTreeMap<String, BTreeMap<String, Value>>>,
    keys: &Keys<'_>,
) {
    let views = format!(
        "DO $$ DECLARE x record; BEGIN
           FOR x IN SELECT c.relname FROM pg_class c WHERE c.relnamespace = '{schema}'::regnamespace AND c.relkind IN ('v', 'm') LOOP
             EXECUTE format('CREATE TABLE {schema}.%I AS SELECT * FROM {schema}.%I', 'twin of ' || x.relname, x.relname);
           END LOOP;
           FOR x IN SELECT c.relname, c.relkind FROM pg_class c WHERE c.relnamespace = '{schema}'::regnamespace AND c.relkind IN ('v', 'm') LOOP
             EXECUTE format('DROP %s IF EXISTS {schema}.%I CASCADE', CASE x.relkind WHEN 'v' THEN 'VIEW' ELSE 'MATERIALIZED VIEW' END, x.relname);
             EXECUTE format('ALTER TABLE {schema}.%I RENAME TO %I', 'twin of ' || x.relname, x.relname);
           END LOOP;
         END $$"
    );
    twin.batch_execute(&views).await.unwrap();
    drop_constraints(twin, schema).await;
    for row in twin.query(COLUMNS, &[&schema]).await.unwrap() {
        let (table, column, kind): (String, String, String) = (row.get(0), row.get(1), row.get(2));
        let label = labels.get(&format!("{schema}.{table}.{column}")).and_then(|labels| labels.first());
        let Some(label) = label.filter(|label| *label != "public") else { continue };
        let shape = Shape { kind, precision: row.get(3), scale: row.get(4), length: row.get(5) };
        rewrite(twin, &format!("{schema}.\"{table}\""), &column, |value| mask(label, value, &shape, keys)).await;
    }
    for (table, conditions) in rows {
        for (column, condition) in conditions {
            let values =
                condition.get("in").and_then(Value::as_array).cloned().unwrap_or_else(|| vec![condition["equals"].clone()]);
            let values: Vec<String> = values.iter().map(|value| value.to_string().replace('"', "'")).collect();
            let delete = format!("DELETE FROM {table} WHERE ({column} IN ({})) IS NOT TRUE", values.join(", "));
            twin.batch_execute(&delete).await.unwrap();
        }
    }
}

/// Turns a plain copy into the twin; gives the labels and row filters of the policy that it is the twin of.
pub async fn make_twin(twin: &Client, schema: &str, keys: &Keys<'_>) -> (BTreeMap<String, String>, Value) {
    drop_constraints(twin, schema).await;
    let mut labels = BTreeMap::new();
    let mut filters = serde_json::Map::new();
    for row in twin.query(COLUMNS, &[&schema]).await.unwrap() {
        let (table, column, kind): (String, String, String) = (row.get(0), row.get(1), row.get(2));
        let Some(label) = label(&column, &kind) else { continue };
        labels.insert(format!("{schema}.{table}.{column}"), label.to_owned());
        let shape = Shape { kind, precision: row.get(3), scale: row.get(4), length: row.get(5) };
        rewrite(twin, &format!("{schema}.{table}"), &column, |value| mask(label, value, &shape, keys)).await;
    }
    // One row filter: the first table with a short text column that is not masked keeps the rows of its most frequent value.
    if let Some((table, column, value)) = filter(twin, schema, &labels).await {
        let delete = format!("DELETE FROM {schema}.{table} WHERE {column} IS DISTINCT FROM '{}'", value.replace('\'', "''"));
        twin.batch_execute(&delete).await.unwrap();
        filters.insert(format!("{schema}.{table}"), json!({column: {"equals": value}}));
    }
    (labels, Value::Object(filters))
}

async fn drop_constraints(twin: &Client, schema: &str) {
    let drops = format!(
        "DO $$ DECLARE x record; BEGIN
           FOR x IN SELECT conrelid::regclass AS t, conname FROM pg_constraint WHERE connamespace = '{schema}'::regnamespace AND contype <> 'n' ORDER BY contype LOOP
             EXECUTE format('ALTER TABLE %s DROP CONSTRAINT IF EXISTS %I CASCADE', x.t, x.conname);
           END LOOP;
           FOR x IN SELECT attrelid::regclass AS t, attname FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
                    WHERE c.relnamespace = '{schema}'::regnamespace AND c.relkind = 'r' AND a.attnum > 0 AND a.attnotnull AND NOT a.attisdropped LOOP
             EXECUTE format('ALTER TABLE %s ALTER COLUMN %I DROP NOT NULL', x.t, x.attname);
           END LOOP;
         END $$"
    );
    twin.batch_execute(&drops).await.unwrap();
}

async fn rewrite(twin: &Client, table: &str, column: &str, with: impl Fn(Option<&str>) -> Option<String>) {
    let rows = twin.simple_query(&format!("SELECT ctid::text, \"{column}\"::text FROM {table}")).await.unwrap();
    let mut places = Vec::new();
    let mut values = Vec::new();
    for row in rows.iter().filter_map(|message| if let SimpleQueryMessage::Row(row) = message { Some(row) } else { None }) {
        places.push(row.get(0).unwrap().to_owned());
        values.push(with(row.get(1)));
    }
    let kind = twin
        .query_one(
            &format!(
                "SELECT format_type(atttypid, atttypmod) FROM pg_attribute WHERE attrelid = '{table}'::regclass AND attname = $1"
            ),
            &[&column],
        )
        .await
        .unwrap();
    let kind: String = kind.get(0);
    let update = format!(
        "UPDATE {table} t SET \"{column}\" = n.value::{kind} FROM unnest($1::text[], $2::text[]) AS n(place, value) WHERE t.ctid = n.place::tid"
    );
    twin.execute(&update, &[&places, &values]).await.unwrap();
}

async fn filter(twin: &Client, schema: &str, labels: &BTreeMap<String, String>) -> Option<(String, String, String)> {
    let candidates = "SELECT c.table_name::text, c.column_name::text FROM information_schema.columns c JOIN pg_tables t ON t.tablename = c.table_name AND t.schemaname = c.table_schema \
         WHERE c.table_schema = $1 AND c.data_type IN ('text', 'character varying') AND c.column_name ~* '(status|state_name|type|country|make|keyword)' ORDER BY 1, 2";
    for row in twin.query(candidates, &[&schema]).await.unwrap() {
        let (table, column): (String, String) = (row.get(0), row.get(1));
        if labels.contains_key(&format!("{schema}.{table}.{column}")) || column.to_lowercase() != column {
            continue;
        }
        let most = format!(
            "SELECT {column}::text FROM {schema}.{table} GROUP BY 1 HAVING count(*) < (SELECT count(*) FROM {schema}.{table}) ORDER BY count(*) DESC, 1 LIMIT 1"
        );
        if let Some(row) = twin.query_opt(&most, &[]).await.unwrap()
            && let Some(value) = row.get::<_, Option<String>>(0)
        {
            return Some((table, column, value));
        }
    }
    None
}
