// SPDX-License-Identifier: Apache-2.0
// A Rust program whose hottest function is known: planted::Mill<T>::churn, called through a trait
// object, a closure and a recursion. Four threads with main, for ever. Prints "ready" first.
mod planted {
    // The optimizer cannot see through it. std::hint::black_box needs a newer rustc than Debian 12 has.
    fn keep<T: Copy>(x: T) -> T {
        unsafe { std::ptr::read_volatile(&x) }
    }

    pub trait Work {
        fn step(&self, depth: u32);
    }

    pub struct Mill<T> {
        pub seed: T,
    }

    impl<T: Copy + Into<u64>> Mill<T> {
        #[inline(never)]
        pub fn churn(&self) {
            let mut x: u64 = self.seed.into();
            for _ in 0..300_000 {
                x = keep(x.wrapping_mul(6364136223846793005).wrapping_add(1));
            }
            keep(x);
        }
    }

    impl<T: Copy + Into<u64>> Work for Mill<T> {
        #[inline(never)]
        fn step(&self, depth: u32) {
            if depth > 0 {
                self.step(depth - 1);
            } else {
                self.churn();
            }
            keep(depth);
        }
    }

    #[inline(never)]
    pub fn cold() -> usize {
        let all: Vec<Box<u32>> = (0..200).map(Box::new).collect();
        keep(all.len())
    }
}

#[inline(never)]
fn run() {
    let work: Box<dyn planted::Work> = Box::new(planted::Mill { seed: 7u32 });
    let call = |depth| work.step(depth);
    let mut i = 0u32;
    loop {
        call(i % 20);
        planted::cold();
        i = i.wrapping_add(1);
    }
}

extern "C" {
    fn alarm(seconds: u32) -> u32;
}

fn main() {
    unsafe { alarm(300) }; // never outlive a test that went wrong
    for _ in 0..3 {
        std::thread::spawn(run);
    }
    println!("ready");
    run();
}
