-- pgteller: removes installation {installation} from this database. Stop every pgteller that uses it first.
DO $$ DECLARE x record; BEGIN
  IF EXISTS (SELECT FROM pg_stat_activity WHERE usename LIKE 'pgteller\_{installation}\_%') THEN
    RAISE EXCEPTION 'sessions of this installation are open: stop pgteller first' USING ERRCODE='55006';
  END IF;
  FOR x IN SELECT nspname FROM pg_namespace WHERE nspname ~ '\Apgteller_{installation}_[0-9a-f]{32}_' LOOP
    EXECUTE format('DROP SCHEMA %I CASCADE', x.nspname);
  END LOOP;
  FOR x IN SELECT m.role_name FROM pgteller_api.made m JOIN pg_roles r ON r.oid = m.role_oid AND r.rolname = m.role_name ORDER BY m.kind DESC LOOP
    EXECUTE format('DROP OWNED BY %I', x.role_name);
    EXECUTE format('DROP ROLE %I', x.role_name);
  END LOOP;
END $$;
DROP SCHEMA pgteller_api CASCADE;
DROP SCHEMA pgteller_private CASCADE;
DROP OWNED BY {login}, {owner}, {definer};
DROP ROLE {login};
DROP ROLE {owner};
DROP ROLE {definer};
