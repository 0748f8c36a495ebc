-- The demo shop: an outdoor outfitter that sells to other companies, and its staff.
-- Plain SQL for one connection and an empty UTF8 database. Deterministic: no random(), no now().
-- Nobody in here exists: names are drawn from lists, phone numbers are made up, most from ranges kept for fiction,
-- cards are test numbers, domains end in .example.
--
-- Labels stand in column comments as @label:<label>. pgteller reads them; policy.yaml says what they mean.

CREATE SCHEMA sales;
CREATE SCHEMA hr;

COMMENT ON SCHEMA sales IS 'Customers, what we sell to them, and what we pay out to partners';
COMMENT ON SCHEMA hr IS 'Our own staff';

CREATE TYPE sales.order_status AS ENUM ('pending', 'paid', 'shipped', 'delivered', 'returned', 'cancelled');
COMMENT ON TYPE sales.order_status IS 'Life of an order, in this order; returned and cancelled are final';

-- customers ----------------------------------------------------------------------------------------

CREATE TABLE sales.customers (
    id           integer PRIMARY KEY,
    tenant_id    integer NOT NULL,
    region       text NOT NULL CHECK (region IN ('eu', 'us', 'apac')),
    country      char(2) NOT NULL,
    city         text NOT NULL,
    company      text NOT NULL,
    contact_name text NOT NULL,
    email        text NOT NULL,
    phone        text,
    birth_date   date,
    card_number  text,
    segment      text NOT NULL CHECK (segment IN ('retail', 'wholesale', 'rental')),
    credit_limit numeric(12,2) NOT NULL,
    portal_token text NOT NULL,
    notes        text,
    created_at   timestamptz NOT NULL
);

COMMENT ON TABLE  sales.customers IS 'Companies that buy from us, one row per company, with the one person we talk to';
COMMENT ON COLUMN sales.customers.tenant_id IS 'Which of our four brands the customer belongs to (1 to 4)';
COMMENT ON COLUMN sales.customers.region IS 'Sales region: eu, us or apac';
COMMENT ON COLUMN sales.customers.country IS 'ISO 3166 country code';
COMMENT ON COLUMN sales.customers.company IS 'Registered name of the company';
COMMENT ON COLUMN sales.customers.contact_name IS 'First and last name of our contact there @label:pii.person';
COMMENT ON COLUMN sales.customers.email IS 'Address of our contact; several contacts share a domain @label:pii.email';
COMMENT ON COLUMN sales.customers.phone IS 'International format, null if unknown @label:pii.phone';
COMMENT ON COLUMN sales.customers.birth_date IS 'Birthday of our contact, for greeting cards @label:pii.birth';
COMMENT ON COLUMN sales.customers.card_number IS 'Card on file, digits only, null if they pay by invoice @label:pci.card';
COMMENT ON COLUMN sales.customers.segment IS 'retail, wholesale or rental';
COMMENT ON COLUMN sales.customers.credit_limit IS 'What they may owe us, in EUR @label:money.private';
COMMENT ON COLUMN sales.customers.portal_token IS 'Login token of the customer portal @label:secret';
-- Free text, and nobody has labelled it: this is the column that `unlabelled` in policy.yaml decides about.
COMMENT ON COLUMN sales.customers.notes IS 'Whatever the sales team wrote down';
COMMENT ON COLUMN sales.customers.created_at IS 'When the account was opened';

INSERT INTO sales.customers
SELECT i,
       1 + i % 4,
       place[3], place[1], place[2],
       stem || ' ' || (ARRAY['Sports', 'Outdoor', 'Mountain Goods', 'Cycles', 'Travel'])[1 + (i / 40) % 5] || ' ' || place[4],
       first_name || ' ' || last_name,
       translate(lower(first_name || '.' || replace(last_name, ' ', '')), 'åäáéèêëíìïóöøúüýñçćčłńřšśžżğı', 'aaaeeeeiiiooouuynccclnrsszzgi')
           || '@' || CASE WHEN i % 9 = 0 THEN 'mail.example' WHEN i % 11 = 0 THEN 'post.example'
                          ELSE translate(lower(stem), 'äè', 'ae') || '.example' END,
       CASE WHEN i % 13 = 0 THEN NULL ELSE place[5] || lpad((i * 37 % 100)::text, 2, '0') END,
       CASE WHEN i % 3 = 0 THEN NULL ELSE date '1958-03-14' + (i * 89) % 15000 END,
       CASE WHEN i % 5 = 0 THEN NULL
            ELSE (ARRAY['4111111111111111', '5555555555554444', '4242424242424242', '5105105105105100', '4012888888881881', '378282246310005',
                        '6011111111111117', '3530111333300000', '4000056655665556', '5200828282828210', '2223003122003222', '371449635398431'])[1 + i % 12] END,
       (ARRAY['retail', 'retail', 'wholesale', 'rental'])[1 + (i * 3 + i / 7) % 4],
       2500 + (i * 7919 % 60) * 500,
       'ptk_' || substr(md5('portal ' || i), 1, 24),
       CASE WHEN i % 6 = 0 THEN 'Wants invoices in one PDF per month'
            WHEN i % 10 = 1 THEN 'Asked for ' || first_name || '''s mobile, do not call before ten'
            WHEN i % 17 = 0 THEN 'Two late payments, see letter of ' || to_char(date '2023-02-01' + i, 'FMDD FMMonth YYYY')
       END,
       timestamptz '2019-01-07 09:00:00+00' + i * interval '6 days 5 hours 13 minutes'
  FROM generate_series(1, 200) AS i,
       LATERAL (SELECT (ARRAY['Anna', 'Björn', 'Clara', 'Diego', 'Elin', 'Filip', 'Greta', 'Henrik', 'Inès', 'Jakub', 'Katarzyna', 'Luca', 'Maëlle', 'Niamh', 'Oskar', 'Paola', 'Quentin', 'Rosa', 'Søren', 'Tereza',
                              'Ugo', 'Vera', 'Willem', 'Xenia', 'Yann', 'Zofia', 'Aoife', 'Bruno', 'Chiara', 'Dmitri', 'Eva', 'Florian', 'Giulia', 'Hugo', 'Ida', 'Joris', 'Kaja', 'Lena', 'Mateusz', 'Nuria'])[1 + i * 7 % 40] AS first_name,
                       (ARRAY['Andersson', 'Bianchi', 'Çelik', 'Dubois', 'Eriksen', 'Fischer', 'García', 'Horváth', 'Iversen', 'Jansen', 'Kowalski', 'Lindqvist', 'Moreau', 'Novák', 'O Brien', 'Petrov', 'Quinn', 'Rossi', 'Schäfer', 'Tamm',
                              'Urban', 'Van Dijk', 'Weber', 'Ximénez', 'Yılmaz', 'Zieliński', 'Almeida', 'Bergström', 'Colombo', 'Dvořák', 'Engel', 'Ferrari', 'Gallagher', 'Hansen', 'Ilić', 'Jokinen', 'Keller', 'Lefèvre', 'Müller', 'Nagy', 'Olsen'])[1 + i * 11 % 41] AS last_name,
                       (ARRAY['Nordlicht', 'Belvedere', 'Fjellheim', 'Alpina', 'Marisma', 'Kestrel', 'Lumière', 'Tatra', 'Halcyon', 'Sundby', 'Corvo', 'Ardenne', 'Västervik', 'Brightwater', 'Solano', 'Granit', 'Oosterzee', 'Puffin', 'Karst', 'Juniper'])[1 + i * 13 % 20] AS stem,
                       (ARRAY[['DE', 'Hamburg', 'eu', 'GmbH', '+49 40 66969 1'], ['FR', 'Lyon', 'eu', 'SARL', '+33 4 65 71 02 '], ['SE', 'Uppsala', 'eu', 'AB', '+46 8 465 004 '], ['US', 'Portland', 'us', 'LLC', '+1 503 555 01'],
                              ['NL', 'Utrecht', 'eu', 'BV', '+31 85 888 01 '], ['IT', 'Torino', 'eu', 'Srl', '+39 011 555 01'], ['US', 'Denver', 'us', 'Inc', '+1 303 555 01'], ['IE', 'Cork', 'eu', 'Ltd', '+353 20 915 01'],
                              ['AU', 'Melbourne', 'apac', 'Pty Ltd', '+61 3 5550 12'], ['PL', 'Gdańsk', 'eu', 'Sp. z o.o.', '+48 58 555 01 '], ['ES', 'València', 'eu', 'SL', '+34 96 555 01 '], ['SG', 'Singapore', 'apac', 'Pte Ltd', '+65 6555 01']])
                           AS places) AS names,
       LATERAL (SELECT ARRAY(SELECT places[1 + i * 5 % 12][k] FROM generate_series(1, 5) AS k ORDER BY k) AS place) AS at;

-- products -----------------------------------------------------------------------------------------

CREATE TABLE sales.products (
    id       integer PRIMARY KEY,
    sku      text NOT NULL UNIQUE,
    name     text NOT NULL,
    category text NOT NULL,
    price    numeric(10,2) NOT NULL CHECK (price > 0),
    cost     numeric(10,2) NOT NULL,
    weight_g integer NOT NULL,
    active   boolean NOT NULL
);

COMMENT ON TABLE  sales.products IS 'What we sell; a product that is no longer sold stays here as inactive';
COMMENT ON COLUMN sales.products.sku IS 'Stock keeping unit, as printed on the box';
COMMENT ON COLUMN sales.products.category IS 'tents, packs, sleeping, kitchen, clothing or cycling';
COMMENT ON COLUMN sales.products.price IS 'List price today, EUR without VAT; order_items has what was really charged';
COMMENT ON COLUMN sales.products.cost IS 'What we pay for it, EUR @label:money.private';
COMMENT ON COLUMN sales.products.weight_g IS 'Shipping weight in grams';

INSERT INTO sales.products
SELECT i, upper(left(category, 2)) || '-' || lpad((i * 173 % 1000)::text, 4, '0'), name, category, price,
       round(price * (48 + i * 7 % 20) / 100, 2), weight, i % 13 <> 0
  FROM (VALUES
    (1, 'Skarn 2 tent', 'tents', 389.00, 2450), (2, 'Skarn 3 tent', 'tents', 449.00, 2980), (3, 'Fjord tarp', 'tents', 119.00, 780), (4, 'Aluminium pegs, 10', 'tents', 18.50, 140),
    (5, 'Storm pegs, 6', 'tents', 24.00, 210), (6, 'Footprint, 2 persons', 'tents', 59.00, 340), (7, 'Repair kit', 'tents', 12.90, 90), (8, 'Vidda 35 pack', 'packs', 149.00, 1250),
    (9, 'Vidda 50 pack', 'packs', 189.00, 1620), (10, 'Vidda 65 pack', 'packs', 219.00, 1890), (11, 'Commuter 22 pack', 'packs', 89.00, 760), (12, 'Rain cover', 'packs', 29.00, 110),
    (13, 'Hip belt pouch', 'packs', 24.50, 80), (14, 'Dry bag set', 'packs', 39.00, 230), (15, 'Roll-top duffel 60', 'packs', 129.00, 1100), (16, 'Down bag, -5', 'sleeping', 329.00, 890),
    (17, 'Down bag, -15', 'sleeping', 459.00, 1340), (18, 'Summer bag', 'sleeping', 119.00, 720), (19, 'Inflatable mat', 'sleeping', 139.00, 480), (20, 'Foam mat', 'sleeping', 34.00, 410),
    (21, 'Pillow', 'sleeping', 27.00, 95), (22, 'Silk liner', 'sleeping', 64.00, 130), (23, 'Gas stove', 'kitchen', 79.00, 190), (24, 'Multi-fuel stove', 'kitchen', 159.00, 420),
    (25, 'Titanium pot, 900 ml', 'kitchen', 69.00, 125), (26, 'Steel mug', 'kitchen', 16.00, 150), (27, 'Spork, 4', 'kitchen', 9.90, 60), (28, 'Water filter', 'kitchen', 54.00, 85),
    (29, 'Folding bottle, 2 l', 'kitchen', 21.00, 45), (30, 'Rain jacket', 'clothing', 229.00, 390), (31, 'Down jacket', 'clothing', 269.00, 360), (32, 'Merino shirt', 'clothing', 74.00, 190),
    (33, 'Wool socks, 3', 'clothing', 36.00, 180), (34, 'Beanie', 'clothing', 25.00, 60), (35, 'Gaiters', 'clothing', 44.00, 220), (36, 'Front pannier pair', 'cycling', 109.00, 1450),
    (37, 'Rear pannier pair', 'cycling', 139.00, 1880), (38, 'Handlebar bag', 'cycling', 84.00, 610), (39, 'Frame bag', 'cycling', 69.00, 290), (40, 'Bottle cage', 'cycling', 14.00, 70)
  ) AS listed (i, name, category, price, weight);

-- orders and their lines ---------------------------------------------------------------------------

CREATE TABLE sales.orders (
    id            integer PRIMARY KEY,
    customer_id   integer NOT NULL REFERENCES sales.customers,
    tenant_id     integer NOT NULL,
    region        text NOT NULL,
    status        sales.order_status NOT NULL,
    placed_at     timestamptz NOT NULL,
    shipped_at    timestamptz,
    total         numeric(12,2) NOT NULL,
    tracking_code text
);
CREATE INDEX orders_customer_id ON sales.orders (customer_id);
CREATE INDEX orders_placed_at ON sales.orders (placed_at);

COMMENT ON TABLE  sales.orders IS 'One row per order; the lines are in sales.order_items';
COMMENT ON COLUMN sales.orders.tenant_id IS 'Brand, same as the customer''s';
COMMENT ON COLUMN sales.orders.region IS 'Sales region of the customer when the order came in';
COMMENT ON COLUMN sales.orders.placed_at IS 'When the order came in';
COMMENT ON COLUMN sales.orders.shipped_at IS 'Null until it leaves the warehouse';
COMMENT ON COLUMN sales.orders.total IS 'Sum of quantity * unit_price over the lines, EUR without VAT';
COMMENT ON COLUMN sales.orders.tracking_code IS 'Anybody who has it can reroute the parcel @label:secret';

CREATE TABLE sales.order_items (
    order_id   integer NOT NULL REFERENCES sales.orders,
    line       smallint NOT NULL,
    product_id integer NOT NULL REFERENCES sales.products,
    quantity   integer NOT NULL CHECK (quantity > 0),
    unit_price numeric(10,2) NOT NULL,
    PRIMARY KEY (order_id, line)
);
CREATE INDEX order_items_product_id ON sales.order_items (product_id);

COMMENT ON TABLE  sales.order_items IS 'Lines of orders; a product stands at most once in an order';
COMMENT ON COLUMN sales.order_items.line IS 'Position in the order, from 1';
COMMENT ON COLUMN sales.order_items.unit_price IS 'Price really charged per piece, EUR without VAT, discount taken off';

CREATE TEMPORARY TABLE ordered AS
SELECT o AS order_id, l AS line, p.id AS product_id,
       CASE WHEN p.price < 40 THEN 2 + (o * 5 + l * 3) % 9 ELSE 1 + (o * 3 + l) % 3 END AS quantity,
       round(p.price * (ARRAY[1.00, 1.00, 0.95, 1.00, 0.90])[1 + (o + l) % 5], 2) AS unit_price
  FROM generate_series(1, 1200) AS o, LATERAL generate_series(1, 1 + o % 4) AS l, sales.products AS p
 WHERE p.id = 1 + (o * 7 + l * 11) % 40;

INSERT INTO sales.orders
SELECT o, c.id, c.tenant_id, c.region, status::sales.order_status, placed_at,
       CASE WHEN status IN ('shipped', 'delivered', 'returned') THEN placed_at + (1 + o % 4) * interval '19 hours' END,
       (SELECT sum(quantity * unit_price) FROM ordered WHERE order_id = o),
       CASE WHEN status IN ('shipped', 'delivered', 'returned') THEN 'TRK' || upper(substr(md5('parcel ' || o), 1, 12)) END
  FROM generate_series(1, 1200) AS o,
       LATERAL (SELECT CASE WHEN o % 29 = 0 THEN 'cancelled' WHEN o > 1185 THEN 'pending' WHEN o > 1160 THEN 'paid' WHEN o > 1130 THEN 'shipped' WHEN o % 23 = 0 THEN 'returned' ELSE 'delivered' END AS status,
                       timestamptz '2023-01-09 08:12:00+00' + o * interval '17 hours 41 minutes 7 seconds' AS placed_at) AS life,
       sales.customers AS c
 WHERE c.id = 1 + (o * 37 + o * o / 60) % 200
 ORDER BY o;

INSERT INTO sales.order_items SELECT order_id, line, product_id, quantity, unit_price FROM ordered ORDER BY order_id, line;

DROP TABLE ordered;

-- payouts to partners ------------------------------------------------------------------------------

CREATE TABLE sales.payouts (
    id        integer PRIMARY KEY,
    tenant_id integer NOT NULL,
    partner   text NOT NULL,
    iban      text NOT NULL,
    month     date NOT NULL,
    amount    numeric(12,2) NOT NULL,
    paid_at   timestamptz,
    approval  text NOT NULL
);

COMMENT ON TABLE  sales.payouts IS 'Commission paid to sales partners, one row per partner and month';
COMMENT ON COLUMN sales.payouts.partner IS 'The partner, a private person @label:pii.person';
COMMENT ON COLUMN sales.payouts.iban IS 'Where the money goes @label:money.private';
COMMENT ON COLUMN sales.payouts.month IS 'First day of the month that the commission is for';
COMMENT ON COLUMN sales.payouts.amount IS 'EUR @label:money.private';
COMMENT ON COLUMN sales.payouts.paid_at IS 'Null until the bank confirms';
COMMENT ON COLUMN sales.payouts.approval IS 'One-time code of whoever released it @label:secret';

INSERT INTO sales.payouts
SELECT i, 1 + i % 4,
       (ARRAY['Marta Lindgren', 'Jean Caron', 'Piotr Wójcik', 'Sofia Greco', 'Tomás Ribeiro'])[1 + i % 5],
       'DE' || lpad((98 - (account || '131400')::numeric % 97)::text, 2, '0') || account,
       (date '2024-01-01' + ((i - 1) / 5) * interval '1 month')::date,
       380 + (i * 6151 % 900) + (i % 4) * 0.25,
       CASE WHEN i <= 55 THEN timestamptz '2024-02-05 10:00:00+00' + ((i - 1) / 5) * interval '1 month' + (i % 5) * interval '7 minutes' END,
       'RLS-' || upper(substr(md5('payout ' || i), 1, 8))
  FROM generate_series(1, 60) AS i, LATERAL (SELECT '50010517' || lpad((5407324 + (i % 5) * 104729)::text, 10, '0') AS account) AS bank;

-- A view of the application. It reads labelled columns, so pgteller treats it like them:
-- no pattern grants it, only its exact name does.
CREATE VIEW sales.customer_emails AS
SELECT id, region, company, email, split_part(email, '@', 2) AS email_domain FROM sales.customers;

COMMENT ON VIEW   sales.customer_emails IS 'Address list for the newsletter tool';
COMMENT ON COLUMN sales.customer_emails.email IS 'Address of our contact @label:pii.email';

-- staff --------------------------------------------------------------------------------------------

CREATE TABLE hr.staff (
    id         integer PRIMARY KEY,
    full_name  text NOT NULL,
    email      text NOT NULL,
    phone      text,
    title      text NOT NULL,
    department text NOT NULL,
    manager_id integer REFERENCES hr.staff,
    hired_on   date NOT NULL,
    birth_date date NOT NULL,
    salary     numeric(10,2) NOT NULL,
    iban       text NOT NULL,
    badge_pin  text NOT NULL
);

COMMENT ON TABLE  hr.staff IS 'Everybody who works here';
COMMENT ON COLUMN hr.staff.full_name IS 'First and last name @label:pii.person';
COMMENT ON COLUMN hr.staff.email IS 'Work address, which spells out the name @label:pii.email @label:pii.person';
COMMENT ON COLUMN hr.staff.phone IS 'Work mobile @label:pii.phone';
COMMENT ON COLUMN hr.staff.department IS 'management, sales, warehouse, engineering or finance';
COMMENT ON COLUMN hr.staff.manager_id IS 'Whom they report to; null for the managing director';
COMMENT ON COLUMN hr.staff.birth_date IS 'Needed for the pension scheme @label:pii.birth';
COMMENT ON COLUMN hr.staff.salary IS 'Gross per year, EUR @label:money.private';
COMMENT ON COLUMN hr.staff.iban IS 'Salary account @label:money.private';
COMMENT ON COLUMN hr.staff.badge_pin IS 'Opens the warehouse @label:secret';

INSERT INTO hr.staff
SELECT i, name, translate(lower(replace(name, ' ', '.')), 'åäéèíóøöüýłńčžğ''', 'aaeeiooouylnczg') || '@outfitter.example', '+49 171 39200 ' || lpad((i * 31 % 100)::text, 2, '0'),
       title, department, manager, date '2012-04-02' + (i * 127) % 4200, date '1964-09-01' + (i * 733) % 13000,
       pay + (i * 370 % 17) * 100,
       'DE' || lpad((98 - (account || '131400')::numeric % 97)::text, 2, '0') || account,
       lpad((i * 7127 % 10000)::text, 4, '0')
  FROM (VALUES
    (1, 'Ingrid Solberg', 'Managing director', 'management', NULL::integer, 148000), (2, 'Marek Nowak', 'Head of sales', 'sales', 1, 98000), (3, 'Claire Fontaine', 'Head of warehouse', 'warehouse', 1, 76000),
    (4, 'Anders Holm', 'Head of engineering', 'engineering', 1, 105000), (5, 'Beatriz Sousa', 'Head of finance', 'finance', 1, 101000), (6, 'Lukas Brandt', 'Account manager', 'sales', 2, 58000),
    (7, 'Noémie Laurent', 'Account manager', 'sales', 2, 59000), (8, 'Pavel Černý', 'Account manager', 'sales', 2, 56000), (9, 'Sinéad Murphy', 'Account manager', 'sales', 2, 57500),
    (10, 'Giorgio Conti', 'Key account manager', 'sales', 2, 69000), (11, 'Hanna Virtanen', 'Support agent', 'sales', 10, 42000), (12, 'Emre Doğan', 'Support agent', 'sales', 10, 41500),
    (13, 'Julia Vogel', 'Support agent', 'sales', 10, 43000), (14, 'Rasmus Lund', 'Shift lead', 'warehouse', 3, 47000), (15, 'Ewa Mazur', 'Shift lead', 'warehouse', 3, 46500),
    (16, 'Tiago Lopes', 'Picker', 'warehouse', 14, 33000), (17, 'Nadia Haddad', 'Picker', 'warehouse', 14, 33500), (18, 'Jonas Berg', 'Picker', 'warehouse', 15, 32500),
    (19, 'Marie Peeters', 'Picker', 'warehouse', 15, 33000), (20, 'Andrei Popescu', 'Driver', 'warehouse', 14, 36000), (21, 'Linnea Ek', 'Developer', 'engineering', 4, 74000),
    (22, 'Matthias Huber', 'Developer', 'engineering', 4, 78000), (23, 'Carmen Ortega', 'Developer', 'engineering', 4, 71000), (24, 'Finn O''Dwyer', 'Database administrator', 'engineering', 4, 82000),
    (25, 'Agnieszka Król', 'Data analyst', 'engineering', 4, 67000), (26, 'Stefan Ivanov', 'Accountant', 'finance', 5, 55000), (27, 'Lotte Visser', 'Accountant', 'finance', 5, 54000),
    (28, 'Enzo Marchetti', 'Payroll clerk', 'finance', 5, 49000), (29, 'Maja Kovač', 'Controller', 'finance', 5, 64000), (30, 'Oliver Nyström', 'Assistant', 'management', 1, 44000)
  ) AS employed (i, name, title, department, manager, pay),
  LATERAL (SELECT '37040044' || lpad((53201300 + i * 7919)::text, 10, '0') AS account) AS bank;

ANALYZE;
