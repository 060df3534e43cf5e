// SPDX-License-Identifier: Apache-2.0
//! Trees and strings that grow, are searched and are thrown away: churn [ROUNDS].
use std::collections::{BTreeMap, HashMap};

fn main() {
    let rounds: usize = std::env::args().nth(1).map_or(20, |n| n.parse().unwrap());
    let (mut chance, mut sum) = (1u32, 0usize);
    for _ in 0..rounds {
        let mut orders: BTreeMap<String, Vec<Box<str>>> = BTreeMap::new();
        let mut seen: HashMap<String, usize> = HashMap::new();
        for i in 0..50000 {
            chance = chance.wrapping_mul(1664525).wrapping_add(1013904223);
            let key = format!("account number {}", chance % 16384);
            orders.entry(key.clone()).or_default().push(format!("line {i} of a rather long order").into());
            let times = seen.entry(key).or_default();
            *times += 1;
            sum += *times;
        }
        orders.retain(|_, lines| lines.len() % 2 == 0);
        sum += orders.len();
    }
    println!("{sum}");
}
