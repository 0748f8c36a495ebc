-- pgteller: removes installation {installation} from this database. Stop every pgteller that uses it first.
DO $$ DECLARE x record; BEGIN
  IF EXISTS (SELECT FROM pg_stat_activity WHERE usename LIKE 'pgteller\_{installation}\_%') THEN
    RAISE EXCEPTION 'sessions of this installation are open: stop pgteller first' USING ERRCODE='55006';
  END IF;
  FOR x IN SELECT nspname FROM pg_namespace WHERE nspname ~ '\Apgteller_{installation}_[0-9a-f]{32}_' LOOP
    EXECUTE format('DROP SCHEMA %I CASCADE', x.nspname);
  END LOOP;
  -- With its grant option goes what it granted: a superuser's DROP OWNED only takes back what the database's owner granted.
  EXECUTE format('REVOKE CONNECT ON DATABASE %I FROM {definer} CASCADE', current_database());
  FOR x IN SELECT m.role_name FROM pgteller_api.made m JOIN pg_roles r ON r.oid = m.role_oid AND r.rolname = m.role_name ORDER BY m.kind DESC LOOP
    EXECUTE format('DROP OWNED BY %I', x.role_name);
    EXECUTE format('DROP ROLE %I', x.role_name);
  END LOOP;
  IF to_regclass('pgteller_api.rls_table') IS NOT NULL THEN
    FOR x IN SELECT t.relation::regclass AS name, EXISTS (SELECT FROM pg_policy p WHERE p.polrelid = c.oid AND p.polname <> 'pgteller_{installation}_everyone') AS others
        FROM pgteller_api.rls_table t JOIN pg_class c ON c.oid = t.relation WHERE t.turned_on LOOP
      IF x.others THEN   -- somebody relies on row security by now: neither open nor close it to anybody
        RAISE NOTICE '% keeps row security and its policy pgteller_{installation}_everyone, because it has other policies', x.name;
      ELSE
        EXECUTE format('ALTER TABLE %s DISABLE ROW LEVEL SECURITY', x.name);
        EXECUTE format('DROP POLICY IF EXISTS pgteller_{installation}_everyone ON %s', x.name);
      END IF;
    END LOOP;
  END IF;
END $$;
DROP SCHEMA pgteller_api CASCADE;
DROP SCHEMA pgteller_private CASCADE;
DO $$ BEGIN
  IF to_regrole('{policies}') IS NOT NULL THEN DROP OWNED BY {policies}; DROP ROLE {policies}; END IF;
END $$;
DROP OWNED BY {login}, {owner}, {definer};
DROP ROLE {login};
DROP ROLE {owner};
DROP ROLE {definer};
