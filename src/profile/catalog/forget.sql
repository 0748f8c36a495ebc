-- Forgets one profile, as the gateway's login, in the transaction that drops its schemas. $1 the profile's role. One statement.
WITH schemas AS (DELETE FROM pgteller_private.shown_schema WHERE profile = $1::text::name),
     relations AS (DELETE FROM pgteller_private.shown_relation WHERE profile = $1::text::name),
     types AS (DELETE FROM pgteller_private.shown_type WHERE profile = $1::text::name)
DELETE FROM pgteller_private.shown_constraint WHERE profile = $1::text::name
