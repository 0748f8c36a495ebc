//! What timing shows, measured honestly: pairs of questions with equal answers whose hidden side differs, asked in turn.
//!
//! Prints medians, and how often the second question took longer than the first (0.5 would be chance; a rank statistic, Mann-Whitney's U over
//! n²). Run it in the release profile, `cargo bench --bench worlds -- timing`: a slow server hides what a fast one shows. Asserts nothing:
//! time is outside the promise, and this says by how much.

use std::time::Instant;

use crate::support::worlds::straight::{Straight, bare};
use crate::support::worlds::{BackEnd, World};

const SAMPLES: usize = 2000;

/// What is asked: about nothing hidden, and about something hidden.
const PAIRS: &[(&str, &str, &str)] = &[
    (
        "key: absent / present but hidden",
        "SELECT name FROM crm.customers WHERE id = 999999",
        "SELECT name FROM crm.customers WHERE id = 1",
    ),
    (
        "filter column: value of no row / of hidden rows",
        "SELECT count(*) FROM crm.customers WHERE region = 'zz'",
        "SELECT count(*) FROM crm.customers WHERE region = 'us'",
    ),
    (
        "hidden rows behind a foreign key: none / some",
        "SELECT count(*) FROM crm.contacts WHERE customer_id = 999999",
        "SELECT count(*) FROM crm.contacts WHERE customer_id = 1",
    ),
    (
        "masked column: equal to no mask / to the mask of hidden rows",
        "SELECT count(*) FROM crm.customers WHERE email = '***@nobody.example'",
        "SELECT count(*) FROM crm.customers WHERE email = '***@SECRET0.example'",
    ),
    (
        "join that hidden rows would enter: never / often",
        "SELECT count(*) FROM crm.contacts c JOIN crm.customers k ON k.id = c.customer_id WHERE c.tenant_id = 999999",
        "SELECT count(*) FROM crm.contacts c JOIN crm.customers k ON k.id = c.customer_id WHERE c.tenant_id = 707000",
    ),
    (
        "chance: the same question twice",
        "SELECT name FROM crm.customers WHERE id = 2",
        "SELECT name FROM crm.customers WHERE id = 2",
    ),
];

/// How many times the hidden rows the world has in which pairs are asked: some ten thousand per table, so that indexes are used.
const CROWD: u32 = 400;

/// The same question in a world with few hidden rows and in the crowded one.
const VOLUMES: &[(&str, &str)] = &[
    ("few hidden rows / 400 times as many: count of visible rows", "SELECT count(*) FROM crm.customers"),
    ("few hidden rows / 400 times as many: one visible key", "SELECT name FROM crm.customers WHERE id = 2"),
];

/// Measures and prints.
pub async fn table() {
    let (few, many) = tokio::join!(World::open(0, 1, BackEnd::Views), World::open(0, CROWD, BackEnd::Views));
    let (role, other) = (Straight::new(&few).await, Straight::new(&many).await);
    let (session, crowded) = (role.session().await, other.session().await);
    println!("{}", few.database.cell("SELECT version()").await);
    println!("{SAMPLES} samples of each, in turn; µs; share: how often the second took longer (0.5 is chance)\n");
    println!("{:<64}{:>10}{:>10}{:>8}{:>10}{:>10}{:>8}", "pair", "server 1", "server 2", "share", "role 1", "role 2", "share");
    for (what, first, second) in PAIRS {
        let through = alternate(async |which| {
            many.ask([first, second][which]).await;
        })
        .await;
        let (bare_first, bare_second) = (bare(first), bare(second));
        let straight = alternate(async |which| {
            crowded.simple_query([&bare_first, &bare_second][which]).await.unwrap();
        })
        .await;
        line(what, &through, &straight);
    }
    for (what, sql) in VOLUMES {
        let text = bare(sql);
        let through = alternate(async |which| {
            [&few, &many][which].ask(sql).await;
        })
        .await;
        let straight = alternate(async |which| {
            [&session, &crowded][which].simple_query(&text).await.unwrap();
        })
        .await;
        line(what, &through, &straight);
    }
}

/// Asks one and the other in turn; gives what each took, in microseconds.
async fn alternate(ask: impl AsyncFn(usize)) -> [Vec<f64>; 2] {
    let mut took = [Vec::new(), Vec::new()];
    for sample in 0..SAMPLES + 50 {
        // Which comes first alternates too.
        for turn in [sample % 2, 1 - sample % 2] {
            let at = Instant::now();
            ask(turn).await;
            if sample >= 50 {
                took[turn].push(at.elapsed().as_secs_f64() * 1e6);
            }
        }
    }
    took
}

fn line(what: &str, through: &[Vec<f64>; 2], straight: &[Vec<f64>; 2]) {
    println!(
        "{what:<64}{:>10.0}{:>10.0}{:>8.3}{:>10.0}{:>10.0}{:>8.3}",
        median(&through[0]),
        median(&through[1]),
        share(through),
        median(&straight[0]),
        median(&straight[1]),
        share(straight)
    );
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted[sorted.len() / 2]
}

/// Of all pairs of samples, the share in which the second is longer; ties count half.
fn share(took: &[Vec<f64>; 2]) -> f64 {
    let mut first = took[0].clone();
    first.sort_by(f64::total_cmp);
    let shorter: usize = took[1]
        .iter()
        .map(|value| first.partition_point(|other| other < value) + first.partition_point(|other| other <= value))
        .sum();
    shorter as f64 / 2.0 / (first.len() * took[1].len()) as f64
}
