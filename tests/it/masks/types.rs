//! Types with their extremes and oddities.

use crate::support::TestDatabase;

/// A type of PostgreSQL.
pub struct Kind {
    /// As a column declares it.
    pub declared: &'static str,
    /// As its view shows it: domains as the type under them.
    pub shown: &'static str,
    /// May it be NULL?
    pub takes_null: bool,
    /// Values, as text.
    pub values: &'static [&'static str],
}

impl Kind {
    /// As an array of it is shown.
    pub fn shown_array(&self) -> String {
        // No array type is under an array of a domain over arrays.
        let own = ["app.numbers", "app.prices"].contains(&self.declared);
        format!("{}[]", if own { self.declared } else { self.shown })
    }

    /// An array type, or a domain over one.
    pub fn holds_arrays(&self) -> bool {
        self.shown.ends_with("[]")
    }
}

const fn kind(declared: &'static str, values: &'static [&'static str]) -> Kind {
    Kind { declared, shown: declared, takes_null: true, values }
}

const fn domain(declared: &'static str, shown: &'static str, values: &'static [&'static str]) -> Kind {
    Kind { declared, shown, takes_null: true, values }
}

/// What the types below need.
pub const SETUP: &str = "CREATE SCHEMA app;
    DO $$ DECLARE x text; BEGIN
      FOR x IN SELECT name FROM pg_available_extensions WHERE name IN ('citext', 'hstore') LOOP EXECUTE format('CREATE EXTENSION %I SCHEMA app', x); END LOOP;
    END $$;
    CREATE TYPE app.mood AS ENUM ('happy', 'odd '' label', 'sad');
    CREATE TYPE app.pair AS (a integer, b text);
    CREATE DOMAIN app.email AS text NOT NULL CHECK (value ~ '@');
    CREATE DOMAIN app.short AS varchar(9);
    CREATE DOMAIN app.shorter AS app.short CHECK (length(value) < 9);
    CREATE DOMAIN app.price AS numeric(7,2) CHECK (value >= 0);
    CREATE DOMAIN app.feeling AS app.mood;
    CREATE DOMAIN app.numbers AS integer[];
    CREATE DOMAIN app.prices AS app.price[];
    CREATE COLLATION app.blind (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
    CREATE DOMAIN app.blind_text AS text COLLATE app.blind;";

const TEXTS: &[&str] = &[
    "",
    "a",
    "ab@c.de",
    "a@b@c",
    "\"john@smith\"@ex.org",
    "@handle_is_secret",
    "alice@corp.com,bob@corp.com",
    "Alice <a@x.org> / secret note",
    "a@b.c\nsecret",
    "ünï©ødé 🙂 ünï©ødé",
    "****",
];

/// The types of PostgreSQL itself, and ours.
const KINDS: &[Kind] = &[
    kind("text", TEXTS),
    kind("varchar(3)", &["", "a", "abc", "é@b"]),
    kind("varchar(40)", &["alice@corp.com", "x"]),
    kind("char(2)", &["", "a", "ab"]),
    kind("char(30)", &["alice@corp.com"]),
    kind("bpchar", &["alice@corp.com  ", ""]),
    kind("\"char\"", &["", "a"]),
    kind("name", &["", "somebody@corp.com"]),
    kind("smallint", &["-32768", "32767", "0", "-1"]),
    kind("integer", &["-2147483648", "2147483647", "0", "123456789", "-1"]),
    kind("bigint", &["-9223372036854775808", "9223372036854775807", "0", "-1"]),
    kind(
        "numeric",
        &[
            "NaN",
            "Infinity",
            "-Infinity",
            "0",
            "-0.000000001",
            "1e100",
            "123456789012345678901234567890.5",
            "9e131071",
            "-9.9e131071",
            "1e-16383",
            "-1e-16383",
        ],
    ),
    kind("numeric(5,2)", &["NaN", "999.99", "-999.99", "0"]),
    kind("numeric(2,2)", &["0.99", "-0.99", "0"]),
    kind("numeric(2,4)", &["0.0099", "-0.0099"]),
    kind("numeric(3,-2)", &["99900", "-99900", "0"]),
    kind("numeric(1,-20)", &["900000000000000000000", "-900000000000000000000"]),
    kind("numeric(38,0)", &["99999999999999999999999999999999999999", "-99999999999999999999999999999999999999"]),
    kind("numeric(1000,500)", &["1e499", "-1e499", "1e-500"]),
    kind("real", &["NaN", "Infinity", "-Infinity", "3.4028235e38", "-3.4028235e38", "-1e-37", "1e-45", "-1e-45", "1234567", "-0"]),
    kind(
        "double precision",
        &[
            "NaN",
            "Infinity",
            "-Infinity",
            "1.7976931348623157e308",
            "-1.7976931348623157e308",
            "-1e-307",
            "5e-324",
            "-5e-324",
            "123456789012",
            "-0",
        ],
    ),
    kind("boolean", &["true", "false"]),
    kind(
        "date",
        &[
            "infinity",
            "-infinity",
            "4714-11-24 BC",
            "4714-12-31 BC",
            "4713-01-01 BC",
            "0001-01-01 BC",
            "294276-12-31",
            "294277-01-01",
            "5874897-12-31",
            "1970-01-01",
        ],
    ),
    kind("time", &["00:00", "24:00:00", "23:59:59.999999"]),
    kind("time(0)", &["24:00:00", "23:59:59"]),
    kind("timetz", &["00:00+15:59", "24:00:00-15:59"]),
    kind(
        "timestamp",
        &[
            "infinity",
            "-infinity",
            "4714-11-24 00:00 BC",
            "4714-12-31 23:59:59.999999 BC",
            "4713-01-01 00:00 BC",
            "294276-12-31 23:59:59.999999",
        ],
    ),
    kind("timestamp(0)", &["294276-12-31 23:59:59", "4714-11-24 00:00 BC"]),
    kind(
        "timestamptz",
        &[
            "infinity",
            "-infinity",
            "4714-11-24 00:00+00 BC",
            "4713-01-01 00:00+00 BC",
            "294276-12-31 23:59:59.999999+00",
            "2024-03-31 01:30:00+00",
        ],
    ),
    kind("interval", &["-178000000 years", "178000000 years", "0", "1 mon -1 day"]),
    kind("interval day to second(3)", &["1 day 2 hours", "-1 day"]),
    kind("uuid", &["00000000-0000-0000-0000-000000000000", "ffffffff-ffff-ffff-ffff-ffffffffffff"]),
    kind("json", &["null", "{\"a\":1}", "\"\\u0000\"", "\"\\ud800\"", "1e1000000", "{\"a\":1,\"a\":2}"]),
    kind("jsonb", &["[]", "\"x\"", "1e131000", "{\"a\": [1, null]}"]),
    kind("bytea", &["\\x", "\\xdeadbeef"]),
    kind("bit(3)", &["101"]),
    kind("bit varying", &["", "1"]),
    kind("inet", &["::1", "10.0.0.0/8"]),
    kind("cidr", &["10.0.0.0/8"]),
    kind("macaddr", &["08:00:2b:01:02:03"]),
    kind("macaddr8", &["08:00:2b:01:02:03:04:05"]),
    kind("money", &["-92233720368547758.08", "92233720368547758.07"]),
    kind("xml", &["<a/>", ""]),
    kind("jsonpath", &["$.a"]),
    kind("tsvector", &["", "'a':1"]),
    kind("tsquery", &["'a' & 'b'"]),
    kind("int4range", &["empty", "[1,)"]),
    kind("int8multirange", &["{}", "{[1,2),[5,)}"]),
    kind("tstzrange", &["empty", "[2024-01-01 00:00+00,)"]),
    kind("point", &["(1,2)", "(NaN,Infinity)"]),
    kind("polygon", &["((0,0),(1,1),(1,0))"]),
    kind("circle", &["<(0,0),1>"]),
    kind("pg_lsn", &["0/0", "FFFFFFFF/FFFFFFFF"]),
    kind("oid", &["0", "4294967295"]),
    kind("regtype", &["integer"]),
    kind("tid", &["(0,1)"]),
    kind("int2vector", &["1 2", ""]),
    kind("oidvector", &["1 2", ""]),
    kind("app.mood", &["happy", "odd ' label", "sad"]),
    kind("app.pair", &["(1,x)", "(,)"]),
    Kind { declared: "app.email", shown: "text", takes_null: false, values: &["a@b.cd", "@"] },
    domain("app.blind_text", "text", &["ab@c.de", "AB@C.DE", "", "a@b c"]),
    domain("app.short", "varchar(9)", &["", "a@b.cd", "abcdefghi"]),
    domain("app.shorter", "varchar(9)", &["a@b.cd"]),
    domain("app.price", "numeric(7,2)", &["0", "99999.99", "NaN"]),
    domain("app.feeling", "app.mood", &["sad"]),
    domain("app.numbers", "integer[]", &["{}", "{1,NULL,-2147483648}", "{{1},{2}}"]),
    domain("app.prices", "numeric(7,2)[]", &["{}", "{1,NULL,99999.99}"]),
    kind("integer[]", &["{}", "{1,NULL}", "{{1},{2}}", "[-3:-2]={5,6}"]),
];

const CITEXT: Kind = kind("app.citext", TEXTS);
const HSTORE: Kind = kind("app.hstore", &["", "a=>1, b=>NULL"]);

/// All of them that this server has.
pub async fn kinds() -> Vec<Kind> {
    let database = TestDatabase::bare("").await;
    let available =
        database.cell("SELECT concat(string_agg(name, ' ')) FROM pg_available_extensions WHERE name IN ('citext', 'hstore')").await;
    let more = [CITEXT, HSTORE].into_iter().filter(|kind| available.contains(kind.declared.trim_start_matches("app.")));
    KINDS.iter().map(|kind| Kind { ..*kind }).chain(more).collect()
}
