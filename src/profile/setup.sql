-- pgteller {version}: one-time set-up of a database, run by its DBA (superuser). The same on PostgreSQL 15 to 18.
-- Installation {installation}. Undo it with `pgteller setup --remove`.
--
-- {definer}  NOLOGIN, CREATEROLE: owns the two schemas and the functions below. Nobody can become it. Never drop it.
-- {owner}    NOLOGIN: owns the views that tasks see. May read what you grant it, and alter nothing that a definer function touches.
-- {login}    the gateway's own login: may call the functions and act as the view owner. Guard its password.
BEGIN;

CREATE ROLE {definer} NOLOGIN CREATEROLE;
CREATE ROLE {owner} NOLOGIN NOINHERIT;
CREATE ROLE {login} LOGIN NOINHERIT CONNECTION LIMIT 100 PASSWORD {verifier};

DO $$ BEGIN
  IF current_setting('server_version_num')::int >= 160000 THEN
    EXECUTE 'GRANT {owner} TO {login} WITH INHERIT FALSE, SET TRUE';
    EXECUTE 'GRANT pg_signal_backend TO {definer} WITH INHERIT TRUE, SET FALSE';
  ELSE
    GRANT {owner} TO {login};
    GRANT pg_signal_backend TO {definer};
  END IF;
  -- Tasks connect through their profile, also where CONNECT was taken from PUBLIC.
  EXECUTE format('GRANT CONNECT ON DATABASE %I TO {definer} WITH GRANT OPTION', current_database());
  EXECUTE format('GRANT CREATE, CONNECT ON DATABASE %I TO {owner}', current_database());
  EXECUTE format('GRANT CONNECT ON DATABASE %I TO {login}', current_database());
END $$;

CREATE SCHEMA pgteller_private AUTHORIZATION {definer};
CREATE SCHEMA pgteller_api     AUTHORIZATION {definer};
SET LOCAL ROLE {definer};

CREATE TABLE pgteller_api.installation(id text PRIMARY KEY, version int NOT NULL, view_owner name NOT NULL);
INSERT INTO pgteller_api.installation VALUES ('{installation}', {version}, '{owner}');
CREATE TABLE pgteller_api.made(role_name name PRIMARY KEY, role_oid oid NOT NULL, kind "char" NOT NULL CHECK (kind IN ('p','t','o')), made_at timestamptz NOT NULL DEFAULT now());
CREATE TABLE pgteller_private.task(role_name name PRIMARY KEY, profile name NOT NULL, key bytea NOT NULL, params jsonb NOT NULL DEFAULT '{}');
CREATE TABLE pgteller_private.keys(id text PRIMARY KEY, key bytea NOT NULL);   -- of value domains; made once, never changed
CREATE TABLE pgteller_private.instance(id text PRIMARY KEY, backend_pid int NOT NULL, backend_start timestamptz NOT NULL);
CREATE TABLE pgteller_private.profile(name name PRIMARY KEY, identity text NOT NULL, schemas text[] NOT NULL, built_at timestamptz NOT NULL DEFAULT now(), used_at timestamptz NOT NULL DEFAULT now());
CREATE TABLE pgteller_private.hold(one boolean PRIMARY KEY DEFAULT true CHECK (one), until timestamptz NOT NULL);   -- no profile is built until then: somebody migrates

GRANT USAGE ON SCHEMA pgteller_private TO {owner}, {login};
GRANT SELECT ON pgteller_private.task, pgteller_private.keys TO {owner};
GRANT SELECT, INSERT, DELETE ON pgteller_private.task TO {login};
GRANT SELECT (id), INSERT ON pgteller_private.keys TO {login};
GRANT SELECT, INSERT, UPDATE, DELETE ON pgteller_private.instance TO {login};
GRANT SELECT, INSERT, UPDATE (used_at), DELETE ON pgteller_private.profile TO {login};
GRANT SELECT, INSERT, UPDATE, DELETE ON pgteller_private.hold TO {login};
GRANT USAGE ON SCHEMA pgteller_api TO {login};
GRANT SELECT ON pgteller_api.made, pgteller_api.installation TO {login};

CREATE FUNCTION pgteller_api.create_profile(p name) RETURNS void LANGUAGE plpgsql SECURITY DEFINER AS $$
BEGIN
  IF p IS NULL OR p::text !~ '\Apgteller_{installation}_p_[0-9a-f]{32}\Z' THEN RAISE EXCEPTION 'bad profile name' USING ERRCODE='22023'; END IF;
  PERFORM pg_advisory_xact_lock(hashtext('pgteller database acl'));   -- two at once would meet on the database's own row: "tuple concurrently updated"
  IF EXISTS (SELECT FROM pgteller_api.made m JOIN pg_roles r ON r.oid = m.role_oid AND r.rolname = m.role_name WHERE m.kind = 'p' AND m.role_name = p) THEN RETURN; END IF;   -- its views were taken down, its tasks are open
  EXECUTE format('CREATE ROLE %I NOLOGIN NOINHERIT NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS', p);
  EXECUTE format('GRANT CONNECT ON DATABASE %I TO %I', current_database(), p);
  INSERT INTO pgteller_api.made SELECT rolname, oid, 'p' FROM pg_roles WHERE rolname = p;
END $$;

CREATE FUNCTION pgteller_api.create_task(t name, p name, verifier text, until timestamptz) RETURNS void LANGUAGE plpgsql SECURITY DEFINER AS $$
BEGIN
  IF t IS NULL OR t::text !~ '\Apgteller_{installation}_[0-9a-f]{8}_[0-9a-f]{32}\Z' THEN RAISE EXCEPTION 'bad task name' USING ERRCODE='22023'; END IF;
  IF NOT EXISTS (SELECT FROM pgteller_api.made m JOIN pg_roles r ON r.oid = m.role_oid AND r.rolname = m.role_name
      WHERE m.kind = 'p' AND m.role_name = p AND NOT (r.rolcanlogin OR r.rolsuper OR r.rolcreaterole OR r.rolcreatedb OR r.rolreplication OR r.rolbypassrls)
        AND NOT EXISTS (SELECT FROM pg_auth_members a WHERE a.member = r.oid))   -- a profile is a member of nothing
    THEN RAISE EXCEPTION 'not a profile of ours' USING ERRCODE='22023'; END IF;
  IF verifier IS NULL OR verifier !~ '\ASCRAM-SHA-256\$[1-9][0-9]{0,5}:[A-Za-z0-9+/]{22}==\$[A-Za-z0-9+/]{43}=:[A-Za-z0-9+/]{43}=\Z'
    THEN RAISE EXCEPTION 'bad verifier' USING ERRCODE='22023'; END IF;
  IF until IS NULL OR NOT isfinite(until) OR until <= clock_timestamp() OR until > clock_timestamp() + interval '1 day'
    THEN RAISE EXCEPTION 'bad lifetime' USING ERRCODE='22023'; END IF;
  IF (SELECT count(*) FROM pgteller_api.made WHERE kind = 't') >= 10000 THEN RAISE EXCEPTION 'too many tasks' USING ERRCODE='53400'; END IF;
  BEGIN
    EXECUTE format('CREATE ROLE %I LOGIN INHERIT NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS CONNECTION LIMIT 2 PASSWORD %L VALID UNTIL %L', t, verifier, until::text);
  EXCEPTION WHEN OTHERS THEN RAISE EXCEPTION 'create role failed' USING ERRCODE = SQLSTATE;   -- keeps the verifier out of CONTEXT
  END;
  EXECUTE format('GRANT %I TO %I', p, t) || CASE WHEN current_setting('server_version_num')::int >= 160000 THEN ' WITH INHERIT TRUE, SET FALSE, ADMIN FALSE' ELSE '' END;
  INSERT INTO pgteller_api.made SELECT rolname, oid, 't' FROM pg_roles WHERE rolname = t;
END $$;

CREATE FUNCTION pgteller_api.move_task(t name, p name) RETURNS void LANGUAGE plpgsql SECURITY DEFINER AS $$
DECLARE o oid; g name;
BEGIN
  SELECT r.oid INTO o FROM pgteller_api.made m JOIN pg_roles r ON r.oid = m.role_oid AND r.rolname = m.role_name WHERE m.kind = 't' AND m.role_name = t AND r.rolcanlogin;
  IF o IS NULL THEN RAISE EXCEPTION 'not an open task of ours' USING ERRCODE='22023'; END IF;
  IF NOT EXISTS (SELECT FROM pgteller_api.made m JOIN pg_roles r ON r.oid = m.role_oid AND r.rolname = m.role_name
      WHERE m.kind = 'p' AND m.role_name = p AND NOT (r.rolcanlogin OR r.rolsuper OR r.rolcreaterole OR r.rolcreatedb OR r.rolreplication OR r.rolbypassrls)
        AND NOT EXISTS (SELECT FROM pg_auth_members a WHERE a.member = r.oid))
    THEN RAISE EXCEPTION 'not a profile of ours' USING ERRCODE='22023'; END IF;
  FOR g IN SELECT DISTINCT r.rolname FROM pg_auth_members a JOIN pg_roles r ON r.oid = a.roleid WHERE a.member = o LOOP
    EXECUTE format('REVOKE %I FROM %I', g, t);
  END LOOP;
  EXECUTE format('GRANT %I TO %I', p, t) || CASE WHEN current_setting('server_version_num')::int >= 160000 THEN ' WITH INHERIT TRUE, SET FALSE, ADMIN FALSE' ELSE '' END;
END $$;

CREATE FUNCTION pgteller_api.revoke_task(t name) RETURNS void LANGUAGE plpgsql SECURITY DEFINER AS $$
DECLARE o oid; g name;
BEGIN
  SELECT r.oid INTO o FROM pgteller_api.made m JOIN pg_roles r ON r.oid = m.role_oid AND r.rolname = m.role_name WHERE m.kind = 't' AND m.role_name = t;
  IF o IS NULL THEN RAISE EXCEPTION 'not a task of ours' USING ERRCODE='22023'; END IF;
  EXECUTE format('ALTER ROLE %I NOLOGIN CONNECTION LIMIT 0 PASSWORD NULL', t);
  FOR g IN SELECT DISTINCT r.rolname FROM pg_auth_members a JOIN pg_roles r ON r.oid = a.roleid WHERE a.member = o LOOP
    EXECUTE format('REVOKE %I FROM %I', g, t);
  END LOOP;
  IF EXISTS (SELECT FROM pg_auth_members WHERE member = o) THEN RAISE EXCEPTION 'a membership granted by somebody else remains' USING ERRCODE='55006'; END IF;
END $$;

CREATE FUNCTION pgteller_api.end_sessions(t name, wait_ms int) RETURNS int LANGUAGE plpgsql SECURITY DEFINER AS $$
DECLARE o oid; n int;
BEGIN
  SELECT role_oid INTO o FROM pgteller_api.made WHERE kind = 't' AND role_name = t;
  IF o IS NULL THEN RAISE EXCEPTION 'not a task of ours' USING ERRCODE='22023'; END IF;
  PERFORM pg_terminate_backend(pid, least(greatest(coalesce(wait_ms, 0), 0), 5000)) FROM pg_stat_get_activity(NULL) WHERE usesysid = o;
  PERFORM pg_stat_clear_snapshot();                       -- else the count is stale (seen: 1 instead of 0)
  SELECT count(*) INTO n FROM pg_stat_get_activity(NULL) WHERE usesysid = o;
  RETURN n;
END $$;

CREATE FUNCTION pgteller_api.end_session(t name, p int) RETURNS boolean LANGUAGE plpgsql SECURITY DEFINER AS $$
DECLARE o oid;
BEGIN
  SELECT role_oid INTO o FROM pgteller_api.made WHERE kind = 't' AND role_name = t;
  IF o IS NULL THEN RAISE EXCEPTION 'not a task of ours' USING ERRCODE='22023'; END IF;
  IF NOT EXISTS (SELECT FROM pg_stat_get_activity(p) WHERE usesysid = o) THEN RETURN false; END IF;
  RETURN pg_terminate_backend(p);
END $$;

CREATE FUNCTION pgteller_api.drop_role(x name) RETURNS void LANGUAGE plpgsql SECURITY DEFINER AS $$
DECLARE o oid; r pg_roles;
BEGIN
  SELECT role_oid INTO o FROM pgteller_api.made WHERE role_name = x FOR UPDATE;
  IF o IS NULL THEN RAISE EXCEPTION 'not ours' USING ERRCODE='22023'; END IF;
  PERFORM pg_advisory_xact_lock(hashtext('pgteller database acl'));
  SELECT * INTO r FROM pg_roles WHERE rolname = x;
  IF r.oid IS NOT NULL THEN
    IF r.oid <> o OR r.rolcanlogin THEN RAISE EXCEPTION 'replaced, or not revoked first' USING ERRCODE='55006'; END IF;
    IF EXISTS (SELECT FROM pg_stat_get_activity(NULL) WHERE usesysid = o) THEN RAISE EXCEPTION 'sessions open' USING ERRCODE='55006'; END IF;
    IF EXISTS (SELECT FROM pg_auth_members a JOIN pgteller_api.made m ON m.role_oid = a.member WHERE a.roleid = o) THEN RAISE EXCEPTION 'profile in use' USING ERRCODE='55006'; END IF;
    EXECUTE format('GRANT %I TO {definer}', x) || CASE WHEN current_setting('server_version_num')::int >= 160000 THEN ' WITH INHERIT TRUE, SET FALSE' ELSE '' END;
    EXECUTE format('DROP OWNED BY %I', x);
    EXECUTE format('DROP ROLE %I', x);
  END IF;
  DELETE FROM pgteller_api.made WHERE role_name = x;
END $$;

REVOKE ALL ON ALL FUNCTIONS IN SCHEMA pgteller_api FROM PUBLIC;
GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA pgteller_api TO {login};

DO $$ DECLARE f regprocedure; BEGIN                       -- the caller's settings must not reach in
  FOR f IN SELECT oid::regprocedure FROM pg_proc WHERE pronamespace = 'pgteller_api'::regnamespace LOOP
    EXECUTE format('ALTER FUNCTION %s SET search_path = pg_catalog, pg_temp', f);
    EXECUTE format('ALTER FUNCTION %s SET datestyle = ''ISO, YMD''', f);
    EXECUTE format('ALTER FUNCTION %s SET timezone = ''UTC''', f);
    IF current_setting('server_version_num')::int >= 160000 THEN EXECUTE format('ALTER FUNCTION %s SET createrole_self_grant = ''''', f); END IF;
  END LOOP; END $$;

RESET ROLE;
{catalog}
{policies_part}
{grants}
COMMIT;
