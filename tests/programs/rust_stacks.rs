// SPDX-License-Identifier: Apache-2.0
// Threads with the standard library's alternate stacks (8 KiB where the kernel's frame allows it): deep
// recursion, panics that are caught and that are not, and with an argument a stack overflow, which the
// library reports from a handler on that stack. Prints sums that depend on nothing but the code.
use std::panic;
use std::thread;
use std::time::{Duration, Instant};

#[inline(never)]
fn recurse(depth: u64, x: u64) -> u64 {
    if depth == 0 {
        return (0..2000).fold(x, |a, i| a.wrapping_mul(6364136223846793005).wrapping_add(i));
    }
    recurse(depth - 1, x.rotate_left(7)) ^ depth
}

fn work(id: u64) -> (u64, u32) {
    let (mut sum, mut caught) = (id, 0);
    for i in 0..1200000u64 {
        sum = recurse(i % 60, sum);
        if i % 100 == 0 {
            let text = format!("{id} {i}");
            if panic::catch_unwind(|| { if i % 200 == 0 { panic!("{}", text) } }).is_err() {
                caught += 1;
            }
        }
    }
    (sum, caught)
}

#[allow(unconditional_recursion)]
#[inline(never)]
fn overflow(x: u64) -> u64 {
    let here = [x; 64];
    // the optimizer cannot see through it; Debian 12's rustc has no black_box
    let seen = unsafe { std::ptr::read_volatile(&here) };
    let deeper = overflow(seen[7] + 1);
    deeper + unsafe { std::ptr::read_volatile(&here) }[3]
}

fn main() {
    panic::set_hook(Box::new(|_| {}));
    let threads: Vec<_> = (0..4).map(|i| thread::spawn(move || work(i))).collect();
    for t in threads {
        let (sum, caught) = t.join().unwrap();
        println!("{sum:016x} {caught}");
    }
    // and on without a word, until profiles of a second each have seen it on any machine
    let (end, mut sink) = (Instant::now() + Duration::from_secs(4), 1);
    while Instant::now() < end {
        sink = recurse(60, sink);
    }
    assert!(sink != 3);
    let died = thread::spawn(|| { recurse(50, 1); if std::env::args().count() < 99 { panic!("not caught") } }).join();
    println!("{}", died.is_err());
    if std::env::args().count() > 1 {
        println!("{}", thread::spawn(|| overflow(1)).join().unwrap());
    }
}
