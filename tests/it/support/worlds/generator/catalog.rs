//! Questions to the catalogs, as agents and psql ask them, over granted and hidden names alike.

use super::random::Random;
use super::relations;

/// One question.
pub fn question(random: &mut Random) -> String {
    let relation = if random.once_in(4) { random.of(relations::denied()) } else { random.of(relations::granted()) };
    let (schema, name) = (relation.schema, relation.name.trim_matches('"'));
    let column = random.of(&relation.columns).name.trim_matches('"').replace('"', "");
    let quoted = format!("{schema}.{}", relation.name);
    let body = match random.below(30) {
        0 => format!(
            "SELECT column_name, data_type, is_nullable FROM information_schema.columns WHERE table_name = '{name}' ORDER BY ordinal_position"
        ),
        1 => format!(
            "SELECT table_schema, table_name, table_type FROM information_schema.tables WHERE table_schema = '{schema}' ORDER BY 1, 2"
        ),
        2 => format!("SELECT count(*) FROM information_schema.columns WHERE column_name = '{column}'"),
        3 => format!(
            "SELECT c.relname, c.relkind, n.nspname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = '{schema}' ORDER BY 1"
        ),
        4 => format!(
            "SELECT a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull FROM pg_attribute a WHERE a.attrelid = '{quoted}'::regclass AND a.attnum > 0 ORDER BY a.attnum"
        ),
        5 => format!(
            "SELECT conname, contype, pg_get_constraintdef(oid) FROM pg_constraint WHERE conrelid = '{quoted}'::regclass ORDER BY 1"
        ),
        6 => format!("SELECT indexname, indexdef FROM pg_indexes WHERE tablename = '{name}' ORDER BY 1"),
        7 => format!("SELECT relname, reltuples, relpages FROM pg_class WHERE relname = '{name}'"),
        8 => format!("SELECT * FROM pg_stats WHERE tablename = '{name}'"),
        9 => format!("SELECT schemaname, relname, n_live_tup, seq_scan FROM pg_stat_user_tables WHERE relname = '{name}'"),
        10 => format!("SELECT tablename, tableowner FROM pg_catalog.pg_tables WHERE schemaname = '{schema}' ORDER BY 1"),
        11 => format!("SELECT to_regclass('{quoted}') IS NULL, to_regclass('{name}') IS NULL"),
        12 => format!("SELECT has_table_privilege('{quoted}', 'select'), has_column_privilege('{quoted}', '{column}', 'select')"),
        13 => {
            format!("SELECT obj_description('{quoted}'::regclass), col_description('{quoted}'::regclass, {})", 1 + random.below(6))
        }
        14 => format!(
            "SELECT tc.constraint_name, kcu.column_name FROM information_schema.table_constraints tc JOIN information_schema.key_column_usage kcu USING (constraint_schema, constraint_name) WHERE tc.table_name = '{name}' ORDER BY 1, 2"
        ),
        15 => {
            "SELECT e.enumlabel, t.typname FROM pg_enum e JOIN pg_type t ON t.oid = e.enumtypid ORDER BY t.typname, e.enumsortorder"
                .to_owned()
        }
        16 => format!(
            "SELECT i.indrelid::regclass, i.indisunique, i.indkey FROM pg_index i WHERE i.indrelid = '{quoted}'::regclass ORDER BY 1, 3"
        ),
        17 => format!(
            "SELECT pg_relation_size('{quoted}'), pg_table_size('{quoted}'), pg_size_pretty(pg_total_relation_size('{quoted}'))"
        ),
        18 => format!("SELECT view_definition FROM information_schema.views WHERE table_name = '{name}'"),
        19 => format!("SELECT pg_get_viewdef('{quoted}'::regclass)"),
        20 => format!(
            "SELECT inhrelid::regclass, inhparent::regclass FROM pg_inherits WHERE inhparent = '{quoted}'::regclass ORDER BY 1"
        ),
        21 => "SELECT rolname, rolsuper FROM pg_roles ORDER BY 1".to_owned(),
        22 => format!(
            "SELECT grantee = session_user, privilege_type FROM information_schema.table_privileges WHERE table_name = '{name}'"
        ),
        23 => "SELECT datname, encoding FROM pg_database ORDER BY 1".to_owned(),
        24 => "SELECT nspname FROM pg_namespace ORDER BY 1".to_owned(),
        25 => format!("SELECT c.oid = '{quoted}'::regclass, c.oid, c.relfilenode FROM pg_class c WHERE c.relname = '{name}'"),
        26 => format!("SELECT matviewname, definition FROM pg_matviews WHERE schemaname = '{schema}'"),
        27 => "SELECT count(*), min(proname), max(proname) FROM pg_proc".to_owned(),
        28 => "SELECT sequencename, last_value FROM pg_sequences".to_owned(),
        _ => "SELECT current_database(), current_schema(), current_schemas(true)".to_owned(),
    };
    match random.below(8) {
        0 => format!("SELECT count(*) FROM ({body}) AS w"),
        1 => format!("WITH w AS ({body}) SELECT * FROM w"),
        2 => format!("SELECT EXISTS ({body}), (SELECT count(*) FROM {quoted})"),
        3 => body.replace("SELECT ", "select /* c */ "),
        _ => body,
    }
}
