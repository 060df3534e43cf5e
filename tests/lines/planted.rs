// SPDX-License-Identifier: Apache-2.0
// Burns CPU in a chain of inlined functions whose lines carry marks: generic, closure, method. For two
// minutes at most.
use std::time::{Duration, Instant};

#[inline(always)]
fn inner<T: Into<u64> + Copy>(x: T, n: u64) -> u64 {
    let mut y: u64 = x.into();
    let mut i = 0;
    while i < n {
        y = (y ^ (y >> 7)).wrapping_mul(1664525).wrapping_add(i); // HOT
        i += 1;
    }
    y
}

struct Holder {
    seed: u32,
}

impl Holder {
    #[inline(always)]
    fn middle(&self, n: u64) -> u64 {
        let spin = |y: u32| inner(y ^ 1, n); // CALLS inner
        spin(self.seed) // CALLS closure
    }

    #[inline(never)]
    fn outer(&self, n: u64) -> u64 {
        self.middle(n) // CALLS middle
    }
}

// The optimizer cannot see through it; Debian 12's rustc has no std::hint::black_box.
#[inline(never)]
fn kept<T: Copy>(x: T) -> T {
    unsafe { std::ptr::read_volatile(&x) }
}

fn main() {
    let end = Instant::now() + Duration::from_secs(120);
    let mut holder = Holder { seed: 1 };
    while Instant::now() < end {
        let mut list: Vec<u32> = (0..64).map(|i| holder.seed.wrapping_mul(i) % 61).collect();
        list.sort_by(|a, b| b.cmp(a));
        holder.seed = holder.seed.wrapping_add(list[3]).wrapping_add(format!("{:?}", list).len() as u32);
        kept(kept(&holder).outer(4_000_000));
    }
}
