-- After the replay: what a task may not see is made to differ, and what the replay left open to everybody is closed, as a DBA would.
SET search_path = regress;

CREATE TEMPORARY TABLE kept ON COMMIT PRESERVE ROWS AS SELECT * FROM tenk1;
TRUNCATE tenk1;
INSERT INTO tenk1
SELECT unique1, unique2, two, four, ten, twenty, hundred, thousand, twothousand, fivethous, tenthous, 7{{world}}7000 + unique1 % 100,
       CASE WHEN two = 0 THEN even ELSE 7{{world}}7000 + unique1 % 100 END,
       'SECRET{{world}}' || right(stringu1::text, 3), 'SECRET{{world}}' || left(stringu2::text, 1), 'SECRET{{world}}'
  FROM kept ORDER BY unique2;
DROP TABLE kept;
CREATE TEMPORARY TABLE kept AS SELECT * FROM onek;
TRUNCATE onek;
INSERT INTO onek
SELECT unique1, unique2, two, four, ten, twenty, hundred, thousand, twothousand, fivethous, tenthous, 7{{world}}7000 + unique1 % 100, even,
       'SECRET{{world}}' || right(stringu1::text, 3), 'SECRET{{world}}' || left(stringu2::text, 1), 'SECRET{{world}}'
  FROM kept ORDER BY unique2;
DROP TABLE kept;

DO $$
DECLARE what text;
BEGIN
  FOR what IN
    SELECT format('DROP EVENT TRIGGER %I', evtname) FROM pg_event_trigger
    UNION ALL SELECT format('DROP FOREIGN DATA WRAPPER %I CASCADE', fdwname) FROM pg_foreign_data_wrapper
    UNION ALL SELECT format('DROP PUBLICATION %I', pubname) FROM pg_publication
    UNION ALL SELECT format('REVOKE ALL ON FUNCTION %s FROM PUBLIC', oid::regprocedure) FROM pg_proc WHERE oid >= 16384 AND prosecdef AND prokind = 'f'
    UNION ALL SELECT format('REVOKE ALL ON TABLE %s FROM PUBLIC', oid::regclass) FROM pg_class WHERE oid >= 16384 AND relkind IN ('r', 'p', 'v', 'm', 'f') AND relacl::text ~ '[{,]='
    UNION ALL SELECT format('REVOKE ALL ON SEQUENCE %s FROM PUBLIC', oid::regclass) FROM pg_class WHERE oid >= 16384 AND relkind = 'S' AND relacl::text ~ '[{,]='
    UNION ALL SELECT format('REVOKE ALL ON SCHEMA %I FROM PUBLIC', nspname) FROM pg_namespace WHERE oid >= 16384 AND nspacl::text ~ '[{,]='
  LOOP
    BEGIN
      EXECUTE what;
    EXCEPTION WHEN OTHERS THEN
      RAISE NOTICE '% %', what, SQLERRM;
    END;
  END LOOP;
END $$;
ANALYZE;
