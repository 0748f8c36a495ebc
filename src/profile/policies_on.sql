-- Row filters on these tables may be policies from now on.
--
-- Where row security is off, it is turned on together with a policy that lets everybody do what they could before. The owner and superusers
-- are not bound by it. What does change for other roles: COPY … FROM into the table, and pg_dump without --enable-row-security, need its
-- owner or BYPASSRLS; conditions like LIKE are planned without the column's statistics. (docs/performance.md has more.)
SET LOCAL lock_timeout = '5s';
DO $$ DECLARE t regclass; c pg_class; own name; ours boolean; BEGIN
  FOREACH t IN ARRAY ARRAY[{tables}]::regclass[] LOOP
    SELECT * INTO c FROM pg_class WHERE oid = t;
    own := pg_get_userbyid(c.relowner);
    IF c.relkind NOT IN ('r', 'p') OR c.relpersistence = 't' THEN RAISE EXCEPTION '% is not a table', t; END IF;
    IF pg_has_role('{owner}', c.relowner, 'MEMBER') THEN RAISE EXCEPTION '% belongs to a role that the view owner is a member of: row security would not bind it', t; END IF;
    EXECUTE format('GRANT %I TO {policies}', own) || CASE WHEN current_setting('server_version_num')::int >= 160000 THEN ' WITH INHERIT TRUE, SET FALSE, ADMIN FALSE' ELSE '' END;
    IF NOT c.relrowsecurity THEN
      IF EXISTS (SELECT FROM pg_policy WHERE polrelid = t AND polname <> 'pgteller_{installation}_everyone' AND polname !~ '\Apgteller_{installation}_o_') THEN
        RAISE EXCEPTION '% has policies that are not in force: turning row security on would put them in force. Do that yourself, or drop them', t;
      END IF;
      EXECUTE format('DROP POLICY IF EXISTS pgteller_{installation}_everyone ON %s', t);
      EXECUTE format('CREATE POLICY pgteller_{installation}_everyone ON %s TO PUBLIC USING (true) WITH CHECK (true)', t);
      EXECUTE format('ALTER TABLE %s ENABLE ROW LEVEL SECURITY', t);
    END IF;
    ours := EXISTS (SELECT FROM pg_policy WHERE polrelid = t AND polname = 'pgteller_{installation}_everyone');
    INSERT INTO pgteller_api.rls_table VALUES (t, c.relowner, ours)
      ON CONFLICT (relation) DO UPDATE SET owner = excluded.owner, turned_on = excluded.turned_on;
  END LOOP;
END $$;
