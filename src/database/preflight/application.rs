//! What the application's own objects do when a task reads them.
//!
//! Gives checks over relations that the view owner may select. Functions, `current_user` and settings inside views and policies are the
//! task's, not the application's (`redteam.md` 20): nothing leaks by that alone, but rows may be others than somebody expects. Nothing here
//! is serious, and nothing here is mended by a script: it is how the application works.

use super::{Check, Fix, Grade, Told};

const RULES: &str = "let it read a column or a table instead, or filter with `rows` in the policy document";

/// The checks of this file.
pub(super) const CHECKS: &[Check] = &[
    Check {
        grade: Grade::Warning,
        sql: "
SELECT ARRAY[v.s, v.r] FROM asker, reach v JOIN pg_rewrite w ON w.ev_class = v.oid
WHERE v.relkind = 'v' AND w.ev_action::text ~ asker.reads",
        tell: |of| {
            Told(
                format!("view-asker:{}.{}", of.at(0), of.at(1)),
                format!("the view `{}.{}` reads who asks, or a setting: that is the task's role, not the application's user", of.at(0), of.at(1)),
                Fix::ByHand(RULES.to_owned()),
            )
        },
    },
    Check {
        grade: Grade::Warning,
        sql: "
SELECT ARRAY[v.s, v.r, string_agg(DISTINCT p.oid::regprocedure::text, ', ')]
FROM reach v JOIN pg_rewrite w ON w.ev_class = v.oid
JOIN pg_depend d ON d.classid = 'pg_rewrite'::regclass AND d.objid = w.oid
LEFT JOIN pg_operator o ON d.refclassid = 'pg_operator'::regclass AND o.oid = d.refobjid
JOIN pg_proc p ON p.oid = CASE WHEN d.refclassid = 'pg_proc'::regclass THEN d.refobjid ELSE o.oprcode END
WHERE v.relkind = 'v' AND p.oid >= 16384
  AND NOT EXISTS (SELECT FROM pg_depend e WHERE e.classid = 'pg_proc'::regclass AND e.objid = p.oid AND e.deptype = 'e') GROUP BY v.s, v.r",
        tell: |of| {
            Told(
                format!("view-function:{}.{}", of.at(0), of.at(1)),
                format!("the view `{}.{}` calls {}, which runs with the task's rights: it fails if it needs more", of.at(0), of.at(1), of.at(2)),
                Fix::ByHand("let the view do without, or do not grant it".to_owned()),
            )
        },
    },
    Check {
        grade: Grade::Notice,
        sql: "
SELECT ARRAY[v.s, v.r] FROM reach v
WHERE v.relkind = 'v' AND EXISTS (SELECT FROM unnest(v.reloptions) o WHERE o ~ '^security_invoker=(true|on|1|yes)$')",
        tell: |of| {
            Told(
                format!("invoker-view:{}.{}", of.at(0), of.at(1)),
                format!("the view `{}.{}` reads its tables with the rights of who asks, and a task has none on them", of.at(0), of.at(1)),
                Fix::ByHand("do not grant it, or ALTER VIEW … SET (security_invoker = false)".to_owned()),
            )
        },
    },
    Check {
        grade: Grade::Warning,
        sql: "
SELECT ARRAY[t.s, t.r, p.polname::text, coalesce((SELECT string_agg(DISTINCT f.oid::regprocedure::text, ', ') FROM pg_depend d JOIN pg_proc f ON f.oid = d.refobjid
    WHERE d.classid = 'pg_policy'::regclass AND d.objid = p.oid AND d.refclassid = 'pg_proc'::regclass AND f.oid >= 16384), '')]
FROM us, asker, reach t JOIN pg_policy p ON p.polrelid = t.oid
WHERE t.relrowsecurity AND p.polname !~ '^pgteller_' AND p.polcmd IN ('*', 'r')
  AND EXISTS (SELECT FROM unnest(p.polroles) r WHERE CASE r WHEN 0 THEN true ELSE pg_has_role(us.owner, r, 'USAGE') END)
  AND (p.polqual::text ~ asker.reads OR EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_policy'::regclass AND d.objid = p.oid
         AND d.refclassid = 'pg_proc'::regclass AND d.refobjid >= 16384))",
        tell: |of| {
            let through = if of.at(3).is_empty() { String::new() } else { format!(" through {}", of.at(3)) };
            Told(
                format!("row-policy:{}.{}.{}", of.at(0), of.at(1), of.at(2)),
                format!(
                    "the policy `{}` on `{}.{}` reads who asks, or a setting{through}: it sees the task's role and session, not the application's user",
                    of.at(2),
                    of.at(0),
                    of.at(1)
                ),
                Fix::ByHand(RULES.to_owned()),
            )
        },
    },
    Check {
        grade: Grade::Notice,
        sql: "
SELECT ARRAY[t.s, t.r, pg_get_userbyid(us.owner)::text] FROM us, reach t
WHERE t.relrowsecurity AND NOT EXISTS (SELECT FROM pg_policy p WHERE p.polrelid = t.oid AND p.polname ~ '^pgteller_')",
        tell: |of| {
            Told(
                format!("row-security:{}.{}", of.at(0), of.at(1)),
                format!("row level security of `{}.{}` holds for the view owner: tasks see no more rows than its policies let `{}` see", of.at(0), of.at(1), of.at(2)),
                Fix::ByHand(format!("if that is too few, CREATE POLICY … FOR SELECT TO \"{}\" USING (…)", of.at(2))),
            )
        },
    },
    Check {
        grade: Grade::Notice,
        sql: "
SELECT ARRAY[t.s, t.r, string_agg(g.tgname::text, ', ' ORDER BY g.tgname)]
FROM reach t JOIN pg_trigger g ON g.tgrelid = t.oid JOIN pg_proc p ON p.oid = g.tgfoid
WHERE NOT g.tgisinternal AND NOT p.prosecdef GROUP BY t.s, t.r",
        tell: |of| {
            Told(
                format!("trigger:{}.{}", of.at(0), of.at(1)),
                format!("triggers of `{}.{}` ({}) would run with the rights of a task that writes: nothing for reading, but no task could write it", of.at(0), of.at(1), of.at(2)),
                Fix::ByHand("before tasks write: make the functions SECURITY DEFINER with SET search_path".to_owned()),
            )
        },
    },
    Check {
        grade: Grade::Notice,
        sql: "SELECT ARRAY[t.s, t.r] FROM reach t WHERE t.relkind = 'f'",
        tell: |of| {
            Told(
                format!("foreign-table:{}.{}", of.at(0), of.at(1)),
                format!("`{}.{}` is a foreign table: what its other side does, its time and its errors are not ours to bound", of.at(0), of.at(1)),
                Fix::ByHand("grant it only where that is meant".to_owned()),
            )
        },
    },
];
