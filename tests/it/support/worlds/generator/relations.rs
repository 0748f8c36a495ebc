//! The relations and columns of the worlds, as the grammar needs them: names, types, and what a task sees of each.
//!
//! Kept beside `world.sql` and `policy.yaml` by hand: a name that went wrong shows as a lower share of answered statements, never as a pass.

use std::sync::OnceLock;

/// A type, as far as expressions care.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Type {
    Int,
    Numeric,
    Float,
    Text,
    Bool,
    Date,
    Stamp,
    Time,
    Uuid,
    Json,
    Bytes,
    Enum,
    Texts,
}

/// How much of a column a task sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sight {
    Clear,
    Masked,
    Hidden,
}

/// A column.
#[derive(Debug, Clone)]
pub struct Column {
    pub name: String,
    pub kind: Type,
    pub sight: Sight,
}

/// A relation.
#[derive(Debug)]
pub struct Relation {
    pub schema: &'static str,
    pub name: &'static str,
    /// The first is its key.
    pub columns: Vec<Column>,
}

/// Schema, relation, columns. After a column's colon its type; `!` is masked, `-` hidden. Integers that may stand near the ends of bigint are
/// given as numeric: what is added to them stays a number.
const GRANTED: &[&str] = &[
    "crm customers id:i tenant_id:i region:t name:t! email:t! phone:t! card:t! birth_date:d! tier:e active:b joined_at:z score:f tags:a ref:u! last_login:z! profile:j! credit_limit:n- risk:i- internal_note:t-",
    "crm contacts id:i customer_id:i tenant_id:i region:t channel:e address:t! backup_email:t- mobile:t! verified:b answer:t- preferred_time:m! noted_on:d weight:n",
    "crm tickets id:i customer_id:i subject:t body:t- priority:i open:b opened_at:z closed_at:z agent_login:t! callback:m! attachment:y! minutes:i remark:t cost:n! sentiment:f-",
    "crm type_zoo id:i grp:i r_int2:i! r_int4:i! r_int8:i! r_numeric:n! r_float8:f! r_bool:b! r_date:d! r_timestamp:z! r_time:m! r_uuid:u! r_tier:e! r_jsonb:j! r_bytea:y! r_text:t! r_varchar:t! r_char:t! r_texts:a! n_int4:i! n_numeric:n! n_bool:b! n_date:d! n_text:t! n_jsonb:j! n_texts:a! p_int2:i! p_int4:i! p_int8:i! p_numeric:n! p_unscaled:n! p_float8:f! p_text:t! p_varchar:t! p_narrow:t! p_char:t! p_uuid:u! p_bool:b! p_date:d! p_tier:e! e_text:t! e_varchar:t! e_int4:i! e_jsonb:j! h_int2:i! h_int4:i! h_numeric:n! h_text:t! h_varchar:t! h_uuid:u! h_date:d! h_tier:e! h_bytea:y!",
    "crm meters id:i owner_id:i! grp:i b_int2:i! b_int4:i! b_int8:n! b_numeric:n! b_float8:f! b_text:t! b_date:d! t_date:d! t_timestamp:z! t_timestamptz:z! t_time:m! t_text:t! s_int2:i! s_int8:n! s_text:t! s_varchar:t! s_uuid:u! s_date:d! s_texts:a! h_texts:a! p_texts:a! e_texts:a! n_texts:a! r_texts:a!",
    "billing invoices id:i tenant_id:i customer_id:i issued_on:d due:z amount:n currency:t status:e paid:b iban:t! reference:i! margin:n- memo:t! auditor:t!",
    "billing invoice_lines id:i invoice_id:i tenant_id:i line_no:i item:t quantity:i unit_price:n unit_cost:n- discount:f!",
    "billing payouts id:i customer_id:i account:n! fee:n! rate:f! slot:i! batch:u! swift:t! beneficiary:t! settled:b paid_at:z net:n!",
    "people staff id:i full_name:t! login:t department:t manager_id:i hired_on:d left_on:d work_email:t! private_email:t! salary:n- bonus:i! iban:t- nickname:t! pet_name:t! badge:u! photo:y- skills:a home:j! shift:m",
    "people salaries id:i staff_id:i year:i grade:t amount:n- rate:f- raised:b- reviewed:z-",
    "people \"OrgUnits\" \"Unit_Id\":i \"Unit_Name\":t \"Budget_Code\":t- \"select\":i \"e\"\"mail\":t!",
    "crm customer_directory id:i tenant_id:i region:t name:t! contact:t! phone:t! tier:e credit_limit:n-",
    "crm customer_report id:i region:t contact:t! tier:e tickets:i minutes:i credit_limit:n- last_body:t-",
    "billing open_invoices id:i tenant_id:i customer_id:i issued_on:d amount:n iban:t! margin:n-",
    "billing invoices_2023 id:i tenant_id:i issued_on:d amount:n iban:t! memo:t!",
];

/// Relations that no grant names.
const DENIED: &[&str] = &[
    "crm vault id:i- what:t- secret:t- amount:n-",
    "people medical id:i- staff_id:i- finding:t- cost:n- seen_on:d-",
    "people contractors id:i- full_name:t- salary:n- agency:t- day_rate:n-",
    "crm region_totals region:t- customers:i- credit:n- first_email:t-",
    "crm tenant_revenue tenant_id:i- revenue:n- margin:n- memo:t-",
    "crm directory_short id:i- contact:t-",
    "billing invoices_2022 id:i- tenant_id:i- amount:n- margin:n-",
];

/// What the task may read, at least in part.
pub fn granted() -> &'static [Relation] {
    static ALL: OnceLock<Vec<Relation>> = OnceLock::new();
    ALL.get_or_init(|| GRANTED.iter().map(|line| relation(line)).collect())
}

/// What it may not.
pub fn denied() -> &'static [Relation] {
    static ALL: OnceLock<Vec<Relation>> = OnceLock::new();
    ALL.get_or_init(|| DENIED.iter().map(|line| relation(line)).collect())
}

fn relation(line: &'static str) -> Relation {
    let mut words = line.split(' ');
    let (schema, name) = (words.next().unwrap(), words.next().unwrap());
    Relation { schema, name, columns: words.map(column).collect() }
}

fn column(word: &str) -> Column {
    let (name, rest) = word.split_once(':').unwrap();
    let sight = match rest.chars().nth(1) {
        Some('!') => Sight::Masked,
        Some('-') => Sight::Hidden,
        _ => Sight::Clear,
    };
    let kind = match rest.chars().next().unwrap() {
        'i' => Type::Int,
        'n' => Type::Numeric,
        'f' => Type::Float,
        't' => Type::Text,
        'b' => Type::Bool,
        'd' => Type::Date,
        'z' => Type::Stamp,
        'm' => Type::Time,
        'u' => Type::Uuid,
        'j' => Type::Json,
        'y' => Type::Bytes,
        'e' => Type::Enum,
        'a' => Type::Texts,
        other => panic!("no type {other}"),
    };
    // Blanks separate columns above; the odd names have them.
    Column { name: if name.starts_with('"') { name.replace('_', " ") } else { name.to_owned() }, kind, sight }
}
