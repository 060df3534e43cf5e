// SPDX-License-Identifier: Apache-2.0
//! Waits of Rust's standard library, 20 ms each or more, one function for each: their names are what profiles
//! must show. Prints "done", waits for a line, ends.
use std::io::Read;
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use std::sync::mpsc::{channel, Receiver};
use std::sync::{Arc, Barrier, Condvar, Mutex, RwLock};
use std::thread;
use std::time::Duration;

const SHORT: Duration = Duration::from_millis(1);
const LONG: Duration = Duration::from_millis(30);

static HELD: AtomicU32 = AtomicU32::new(0);
static COMING: AtomicU32 = AtomicU32::new(0);

fn wait_until(step: &AtomicU32, value: u32) {
    while step.load(SeqCst) < value {
        thread::sleep(SHORT);
    }
}

/// The lock is held: lets the waiter come, and keeps it waiting.
fn hold(step: u32) {
    HELD.store(step, SeqCst);
    wait_until(&COMING, step);
    thread::sleep(LONG);
}

fn come(step: u32) {
    wait_until(&HELD, step);
    COMING.store(step, SeqCst);
}

#[inline(never)]
fn holds_mutex(m: &Mutex<u32>) {
    let mut g = m.lock().unwrap();
    hold(1);
    *g += 1;
    drop(g);
    // the unlock must not be a jump, which leaves no frame; Debian 12's rustc has no black_box
    unsafe { std::ptr::read_volatile(&m) };
}

#[inline(never)]
fn waits_for_mutex(m: &Mutex<u32>) -> u32 {
    *m.lock().unwrap() + 1
}

#[inline(never)]
fn holds_rwlock(l: &RwLock<u32>) {
    let mut g = l.write().unwrap();
    hold(2);
    *g += 1;
}

#[inline(never)]
fn waits_to_read(l: &RwLock<u32>) -> u32 {
    *l.read().unwrap() + 2
}

#[inline(never)]
fn waits_for_condvar(m: &Mutex<u32>, c: &Condvar) -> bool {
    c.wait_timeout(m.lock().unwrap(), LONG).unwrap().1.timed_out()
}

#[inline(never)]
fn waits_for_channel(r: &Receiver<u32>) -> u32 {
    r.recv().unwrap() + 3
}

#[inline(never)]
fn waits_for_barrier(b: &Barrier) -> bool {
    b.wait().is_leader()
}

#[inline(never)]
fn waits_for_thread() {
    thread::spawn(|| thread::sleep(LONG)).join().unwrap();
}

fn main() {
    let m = Arc::new(Mutex::new(0));
    let l = Arc::new(RwLock::new(0));
    let b = Arc::new(Barrier::new(2));
    let (sender, receiver) = channel();

    let (m2, l2, b2) = (m.clone(), l.clone(), b.clone());
    let other = thread::spawn(move || {
        holds_mutex(&m2);
        holds_rwlock(&l2);
        wait_until(&COMING, 3);
        thread::sleep(LONG);
        sender.send(1).unwrap();
        thread::sleep(LONG);
        b2.wait();
    });
    come(1);
    let mut sum = waits_for_mutex(&m);
    come(2);
    sum += waits_to_read(&l);
    COMING.store(3, SeqCst);
    sum += waits_for_channel(&receiver);
    waits_for_barrier(&b);
    other.join().unwrap();
    waits_for_condvar(&m, &Condvar::new());
    waits_for_thread();
    println!("done");
    let _ = std::io::stdin().read(&mut [sum as u8; 1]);
}
