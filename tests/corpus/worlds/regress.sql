-- The tables that PostgreSQL's regression tests share and that the corpus does not bring: the same names, columns and sizes, data of our own.
CREATE SCHEMA regress;
SET search_path = regress;

CREATE TABLE tenk1 (unique1 int4, unique2 int4, two int4, four int4, ten int4, twenty int4, hundred int4, thousand int4, twothousand int4, fivethous int4, tenthous int4, odd int4, even int4, stringu1 name, stringu2 name, string4 name);
INSERT INTO tenk1
SELECT u, i, u % 2, u % 4, u % 10, u % 20, u % 100, u % 1000, u % 2000, u % 5000, u, (u % 100) * 2, (u % 100) * 2 + 1,
       chr(65 + u % 26) || chr(65 + u / 26 % 26) || 'AAAA' || lpad((u % 1000)::text, 3, '0'), chr(65 + i % 26) || 'AAAA', (ARRAY['AAAAxx', 'HHHHxx', 'OOOOxx', 'VVVVxx'])[1 + i % 4]
  FROM generate_series(0, 9999) AS i, LATERAL (SELECT i * 7919 % 10000 AS u) AS p;
CREATE TABLE onek (LIKE tenk1);
INSERT INTO onek SELECT * FROM tenk1 WHERE unique1 < 1000 ORDER BY unique2;
UPDATE onek SET unique2 = n.n FROM (SELECT unique1 AS u, row_number() OVER (ORDER BY unique2) - 1 AS n FROM onek) AS n WHERE n.u = unique1;
CREATE TABLE tenk2 AS SELECT unique1, unique2, two, four, ten, twenty, hundred, thousand, twothousand, fivethous, tenthous FROM tenk1;
CREATE TABLE onek2 AS SELECT unique1, unique2, two, four, ten, twenty, hundred, thousand FROM onek;
CREATE INDEX tenk1_unique1 ON tenk1 (unique1);
CREATE INDEX tenk1_unique2 ON tenk1 (unique2);
CREATE INDEX tenk1_hundred ON tenk1 (hundred);
CREATE INDEX tenk1_thous_tenthous ON tenk1 (thousand, tenthous);
CREATE INDEX onek_unique1 ON onek (unique1);
CREATE INDEX onek_unique2 ON onek (unique2);
CREATE INDEX onek_hundred ON onek (hundred);
CREATE TABLE int2_tbl (f1 int2);
INSERT INTO int2_tbl VALUES (0), (1234), (-1234), (32767), (-32767);
CREATE TABLE int4_tbl (f1 int4);
INSERT INTO int4_tbl VALUES (0), (123456), (-123456), (2147483647), (-2147483647);
CREATE TABLE int8_tbl (q1 int8, q2 int8);
INSERT INTO int8_tbl VALUES (123, 456), (123, 4567890123456789), (4567890123456789, 123), (4567890123456789, 4567890123456789), (4567890123456789, -4567890123456789);
CREATE TABLE float4_tbl (f1 float4);
INSERT INTO float4_tbl VALUES (0.0), (1004.30), (-34.84), (1.2345678901234e+20), (1.2345678901234e-20);
CREATE TABLE float8_tbl (f1 float8);
INSERT INTO float8_tbl VALUES (0.0), (-34.84), (-1004.30), (-1.2345678901234e+200), (-1.2345678901234e-200);
CREATE TABLE text_tbl (f1 text);
INSERT INTO text_tbl VALUES ('doh!'), ('hi de ho neighbor');
CREATE TABLE varchar_tbl (f1 varchar(4));
INSERT INTO varchar_tbl VALUES ('a'), ('ab'), ('abcd'), ('abcd');
CREATE TABLE char_tbl (f1 char(4));
INSERT INTO char_tbl VALUES ('a'), ('ab'), ('abcd'), ('abcd');
CREATE TABLE point_tbl (f1 point);
INSERT INTO point_tbl VALUES ('(0,0)'), ('(-10,0)'), ('(-3,4)'), ('(5.1, 34.5)'), ('(-5,-12)'), (NULL);
CREATE TABLE aggtest (a int2, b float4);
INSERT INTO aggtest VALUES (56, 7.8), (100, 99.097), (0, 0.09561), (42, 324.78);
CREATE TABLE person (name text, age int4, location point);
INSERT INTO person SELECT 'person ' || i, 20 + i % 60, point(i % 13, i % 7) FROM generate_series(1, 50) AS i;
CREATE TABLE emp (salary int4, manager name) INHERITS (person);
INSERT INTO emp VALUES ('sharon', 25, '(15,12)', 1000, 'sam'), ('sam', 30, '(10,5)', 2000, 'bill'), ('bill', 20, '(11,10)', 1000, 'sharon');
CREATE TABLE student (gpa float8) INHERITS (person);
INSERT INTO student VALUES ('fred', 28, '(3.1,-1.5)', 3.7), ('larry', 60, '(21.3,4.9)', 3.1);
CREATE TABLE stud_emp (percent int4) INHERITS (emp, student);
CREATE TABLE road (name text, thepath path);
INSERT INTO road VALUES ('I- 580', '[(-121.9, 37.1), (-121.8, 37.2)]'), ('Access  Rd 25', '[(-122.1, 37.6), (-122.2, 37.7)]');
CREATE TABLE ihighway () INHERITS (road);
CREATE TABLE shighway (surface text) INHERITS (road);
CREATE TABLE hash_i4_heap (seqno int4, random int4);
INSERT INTO hash_i4_heap SELECT i, i * 7919 % 10007 FROM generate_series(1, 1000) AS i;
CREATE TABLE test_jsonb (json_type text, test_json jsonb);
CREATE TABLE testjsonb (j jsonb);
INSERT INTO testjsonb SELECT jsonb_build_object('age', i % 70, 'pos', i % 9, 'public', i % 2 = 0, 'wait', CASE i % 3 WHEN 0 THEN 'CC' ELSE NULL END, 'array', jsonb_build_array('bar', i % 5)) FROM generate_series(1, 300) AS i;
ANALYZE;
