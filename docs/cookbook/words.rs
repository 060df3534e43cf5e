// SPDX-License-Identifier: Apache-2.0
// Counts words, and copies every one of them. For docs/cookbook.md; ends after two minutes.
use std::collections::HashMap;
use std::time::{Duration, Instant};

#[inline(never)]
fn count(text: &str) -> usize {
    let mut counts: HashMap<String, usize> = HashMap::new();
    for word in text.split(' ') {
        *counts.entry(word.to_string()).or_insert(0) += 1;
    }
    counts.len()
}

fn main() {
    let text: String = (0..20000).map(|i| format!("word{} ", i * 7919 % 5000)).collect();
    let begin = Instant::now();
    let mut total = 0;
    while begin.elapsed() < Duration::from_secs(120) {
        total += count(&text);
    }
    println!("{total}");
}
