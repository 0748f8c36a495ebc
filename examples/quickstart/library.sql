-- A small lending library: something to put the window before, if you have no database of your own at hand.
CREATE SCHEMA lending;
CREATE TABLE lending.books (id int PRIMARY KEY, title text NOT NULL, author text NOT NULL, year int);
CREATE TABLE lending.readers (id int PRIMARY KEY, branch text NOT NULL, name text NOT NULL, email text, phone text, born date, note text);
CREATE TABLE lending.loans (id int PRIMARY KEY, branch text NOT NULL, reader_id int NOT NULL REFERENCES lending.readers,
  book_id int NOT NULL REFERENCES lending.books, lent_on date NOT NULL, returned_on date);

INSERT INTO lending.books VALUES
  (1, 'The Waves', 'Virginia Woolf', 1931), (2, 'Pnin', 'Vladimir Nabokov', 1957), (3, 'Efuru', 'Flora Nwapa', 1966);
INSERT INTO lending.readers VALUES
  (1, 'north', 'Ada Brandt',   'ada@brandt.example',   '+49 30 5550101', '1981-04-02', 'moves in May'),
  (2, 'north', 'Bo Lind',      'bo.lind@post.example', '+46 8 5550122',  '1990-11-23', NULL),
  (3, 'south', 'Chidi Okafor', 'chidi@okafor.example', '+44 20 5550133', '1975-01-30', 'owes 12.50');
INSERT INTO lending.loans VALUES
  (1, 'north', 1, 1, '2026-10-01', NULL), (2, 'north', 2, 2, '2026-10-04', '2026-10-20'), (3, 'south', 3, 1, '2026-09-01', NULL);
