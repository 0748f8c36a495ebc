-- Row filters as policies, on the tables that the DBA names with `pgteller setup --rls`. Policies keep indexes, where views do not.
--
-- {policies}  NOLOGIN: owns one function, limit_rows. Only a table's owner may make policies on it, so this role gets the rights of the
--             owners of the named tables, and of nobody else. Nobody can become it.
CREATE ROLE {policies} NOLOGIN INHERIT;
DO $$ BEGIN
  IF current_setting('server_version_num')::int >= 160000 THEN   -- 15: CREATEROLE is enough
    EXECUTE 'GRANT {owner} TO {definer} WITH ADMIN TRUE, INHERIT FALSE, SET FALSE';
  END IF;
END $$;
SET LOCAL ROLE {definer};

-- turned_on: row security was off before; the policy pgteller_{installation}_everyone keeps it so for everybody.
CREATE TABLE pgteller_api.rls_table(relation oid PRIMARY KEY, owner oid NOT NULL, turned_on boolean NOT NULL);
GRANT USAGE ON SCHEMA pgteller_api, pgteller_private TO {policies};
GRANT SELECT ON pgteller_api.rls_table TO {login}, {policies};
GRANT SELECT ON pgteller_api.made TO {policies};

-- The role that owns one profile's views on such tables: its policies are for it alone. What it may read is what the view owner may read.
CREATE FUNCTION pgteller_api.create_profile_owner(o name) RETURNS void LANGUAGE plpgsql SECURITY DEFINER AS $$
DECLARE modern boolean := current_setting('server_version_num')::int >= 160000;
BEGIN
  IF o IS NULL OR o::text !~ '\Apgteller_{installation}_o_[0-9a-f]{32}\Z' THEN RAISE EXCEPTION 'bad name of a profile''s owner' USING ERRCODE='22023'; END IF;
  EXECUTE format('CREATE ROLE %I NOLOGIN INHERIT NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS', o);
  EXECUTE format('GRANT {owner} TO %I', o) || CASE WHEN modern THEN ' WITH INHERIT TRUE, SET FALSE, ADMIN FALSE' ELSE '' END;
  EXECUTE format('GRANT %I TO {login}', o) || CASE WHEN modern THEN ' WITH INHERIT FALSE, SET TRUE, ADMIN FALSE' ELSE '' END;
  INSERT INTO pgteller_api.made SELECT rolname, oid, 'o' FROM pg_roles WHERE rolname = o;
END $$;

-- A row filter as an expression, from its shape: never from SQL text. The same as `predicates.rs` writes into views.
CREATE FUNCTION pgteller_api.filter_sql(relation oid, predicate jsonb) RETURNS text LANGUAGE plpgsql AS $$
DECLARE keys text[]; op text := predicate->>'op'; place text[]; a pg_attribute; base pg_type; operators name;
BEGIN
  IF jsonb_typeof(predicate) IS DISTINCT FROM 'object' THEN RAISE EXCEPTION 'bad filter' USING ERRCODE='22023'; END IF;
  keys := ARRAY(SELECT jsonb_object_keys(predicate) ORDER BY 1);
  IF keys IN (ARRAY['all'], ARRAY['any']) AND jsonb_typeof(predicate->keys[1]) = 'array' AND jsonb_array_length(predicate->keys[1]) > 0 THEN
    RETURN '(' || (SELECT string_agg(pgteller_api.filter_sql(relation, part), CASE keys[1] WHEN 'all' THEN ' AND ' ELSE ' OR ' END ORDER BY n)
      FROM jsonb_array_elements(predicate->keys[1]) WITH ORDINALITY x(part, n)) || ')';
  ELSIF keys = ARRAY['not'] THEN
    RETURN '(NOT ' || pgteller_api.filter_sql(relation, predicate->'not') || ')';
  END IF;
  SELECT * INTO a FROM pg_attribute WHERE attrelid = relation AND attname = predicate->>'column' AND attnum > 0 AND NOT attisdropped;
  IF a.attnum IS NULL THEN RAISE EXCEPTION 'bad filter' USING ERRCODE='22023'; END IF;
  IF keys = ARRAY['column', 'op'] AND op IN ('is-null', 'is-not-null') THEN
    RETURN format('(%I IS %s)', a.attname, CASE op WHEN 'is-null' THEN 'NULL' ELSE 'NOT NULL' END);
  ELSIF keys = ARRAY['at', 'column', 'op'] AND op IN ('=', '<>', '<', '<=', '>', '>=') AND jsonb_typeof(predicate->'at') = 'array' THEN
    place := ARRAY(SELECT jsonb_array_elements_text(predicate->'at'));
    SELECT * INTO base FROM pg_type WHERE oid = a.atttypid;
    WHILE base.typtype = 'd' LOOP SELECT * INTO base FROM pg_type WHERE oid = base.typbasetype; END LOOP;
    -- A type that an extension brought is compared by the operators in its schema, any other, and every array, by PostgreSQL's own.
    SELECT n.nspname INTO operators FROM pg_depend d JOIN pg_type t ON t.oid = d.objid JOIN pg_namespace n ON n.oid = t.typnamespace
      WHERE d.classid = 'pg_type'::regclass AND d.deptype = 'e' AND d.objid = base.oid AND NOT (base.typelem <> 0 AND base.typlen = -1);
    IF cardinality(place) = 2 AND place[1] IN ('p', 'c') AND place[2] IS NOT NULL THEN
      RETURN format('(%I OPERATOR(%I.%s) (SELECT (t.params OPERATOR(pg_catalog.#>>) %L)::%s FROM pgteller_private.task t WHERE t.role_name = session_user))',
        a.attname, coalesce(operators, 'pg_catalog'), op, place::text, format_type(a.atttypid, a.atttypmod));
    END IF;
  END IF;
  RAISE EXCEPTION 'bad filter' USING ERRCODE='22023';
END $$;

-- Limits what one profile's owner, and nobody else, reads from a table that the DBA named. Gives the policy.
CREATE FUNCTION pgteller_api.limit_rows(o name, relation oid, predicate jsonb) RETURNS oid LANGUAGE plpgsql SECURITY DEFINER AS $$
DECLARE t record; f text; policy oid;
BEGIN
  IF NOT EXISTS (SELECT FROM pgteller_api.made m JOIN pg_roles r ON r.oid = m.role_oid AND r.rolname = m.role_name
      WHERE m.kind = 'o' AND m.role_name = o AND NOT (r.rolcanlogin OR r.rolsuper OR r.rolcreaterole OR r.rolcreatedb OR r.rolreplication OR r.rolbypassrls))
    THEN RAISE EXCEPTION 'not a profile''s owner of ours' USING ERRCODE='22023'; END IF;
  SELECT n.nspname, c.relname, c.relowner INTO t FROM pgteller_api.rls_table x JOIN pg_class c ON c.oid = x.relation AND c.relowner = x.owner JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE x.relation = limit_rows.relation AND c.relkind IN ('r', 'p') AND c.relrowsecurity;
  IF NOT FOUND THEN RAISE EXCEPTION 'not a table that the DBA named, or its owner or its row security changed since' USING ERRCODE='55000'; END IF;
  IF pg_has_role(o, t.relowner, 'USAGE') THEN RAISE EXCEPTION 'row security would not bind this role' USING ERRCODE='55000'; END IF;
  f := pgteller_api.filter_sql(relation, predicate);
  -- Twice, each part once under IS TRUE: see `predicates.rs`.
  SELECT string_agg(pgteller_api.filter_sql(relation, part) || ' IS TRUE AND ', '' ORDER BY n) || f INTO f
    FROM jsonb_array_elements(coalesce(predicate->'all', jsonb_build_array(predicate))) WITH ORDINALITY x(part, n);
  EXECUTE format('CREATE POLICY %I ON %I.%I AS RESTRICTIVE FOR SELECT TO %I USING (%s)', o, t.nspname, t.relname, o, f);
  SELECT p.oid INTO policy FROM pg_policy p WHERE p.polrelid = limit_rows.relation AND p.polname = o;
  IF policy IS NULL THEN RAISE EXCEPTION 'the table was renamed meanwhile' USING ERRCODE='55000'; END IF;
  RETURN policy;
END $$;

REVOKE ALL ON FUNCTION pgteller_api.create_profile_owner(name), pgteller_api.filter_sql(oid, jsonb), pgteller_api.limit_rows(name, oid, jsonb) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION pgteller_api.create_profile_owner(name), pgteller_api.limit_rows(name, oid, jsonb) TO {login};
GRANT EXECUTE ON FUNCTION pgteller_api.filter_sql(oid, jsonb) TO {policies};
DO $$ DECLARE f regprocedure; BEGIN                       -- the caller's settings must not reach in
  FOR f IN SELECT oid::regprocedure FROM pg_proc WHERE pronamespace = 'pgteller_api'::regnamespace AND proname IN ('create_profile_owner', 'filter_sql', 'limit_rows') LOOP
    EXECUTE format('ALTER FUNCTION %s SET search_path = pg_catalog, pg_temp', f);
    EXECUTE format('ALTER FUNCTION %s SET datestyle = ''ISO, YMD''', f);
    EXECUTE format('ALTER FUNCTION %s SET timezone = ''UTC''', f);
    IF current_setting('server_version_num')::int >= 160000 THEN EXECUTE format('ALTER FUNCTION %s SET createrole_self_grant = ''''', f); END IF;
  END LOOP; END $$;
-- A policy is made under ACCESS EXCLUSIVE: whoever waits for it longer than this gives up, so that nobody waits behind it.
ALTER FUNCTION pgteller_api.limit_rows(name, oid, jsonb) SET lock_timeout = '500ms';

RESET ROLE;
ALTER FUNCTION pgteller_api.limit_rows(name, oid, jsonb) OWNER TO {policies};
