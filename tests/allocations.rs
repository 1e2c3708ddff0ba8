//! What the server's core asks of the allocator: nothing for a packet or message once there have been as many before, and
//! little for a peer. Both are counted inside of `Core` alone; the clients around it are real and count nothing.

#[path = "../benches/support/native.rs"]
mod native;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};

use gamekeeper::server::events::RetryMode;
use native::{Host, Room, TICK};

/// Most bytes of a connected peer that is silent but for signs of life: what it is to take of memory is 4 KiB, and the
/// allocator and the process have their part in that.
const MAX_IDLE_BYTES: i64 = 3 * 1024 + 256;
/// Of one that played and is silent again: the server keeps its messages' buffers, for others.
const MAX_RESTING_BYTES: i64 = MAX_IDLE_BYTES + 512;
/// Most bytes of one that plays.
const MAX_ACTIVE_BYTES: i64 = 12 * 1024;

static COUNT: AtomicU64 = AtomicU64::new(0);
static BYTES: AtomicI64 = AtomicI64::new(0);

thread_local! {
    static COUNTED: Cell<bool> = const { Cell::new(false) };
}

struct Counting;

fn note(allocations: u64, bytes: i64) {
    if COUNTED.get() {
        COUNT.fetch_add(allocations, Relaxed);
        BYTES.fetch_add(bytes, Relaxed);
    }
}

// SAFETY: the system's allocator does everything; counting neither allocates nor touches its memory.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        note(1, layout.size() as i64);
        // SAFETY: the caller's promise is the system's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        note(0, -(layout.size() as i64));
        // SAFETY: as above.
        unsafe { System.dealloc(at, layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        note(1, size as i64 - layout.size() as i64);
        // SAFETY: as above.
        unsafe { System.realloc(at, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// The server's part of a turn, counted.
fn serve(room: &mut Room, host: Host) {
    COUNTED.set(true);
    room.serve(host);
    COUNTED.set(false);
}

fn turn(room: &mut Room, speakers: usize, count: usize, host: Host) {
    room.now = room.now + (TICK - std::time::Duration::from_millis(1));
    room.speak(speakers, count, &[1; 64], room.retry);
    room.listen();
    serve(room, host);
    room.tell();
}

/// Tests count in the same cells: one after the other.
static TURNS: std::sync::Mutex<()> = std::sync::Mutex::new(());

#[test]
fn the_steady_path_allocates_nothing() {
    let _one = TURNS.lock();
    for (retry, host, count) in [
        (RetryMode::None, Host::Echo, 32),
        (RetryMode::Sequenced, Host::Echo, 1),
        (RetryMode::BestEffort, Host::Echo, 8),
        (RetryMode::OnTimeout, Host::Echo, 32),
        (RetryMode::Ordered, Host::Echo, 1),
        (RetryMode::None, Host::Tick(200), 1),
        (RetryMode::OnTimeout, Host::Tick(200), 1),
    ] {
        let mut room = Room::with(8);
        room.retry = retry;
        // Long enough for windows, tables of seconds and deadlines to have been as long as they get.
        for _ in 0..900 {
            turn(&mut room, 8, count, host);
        }
        COUNT.store(0, Relaxed);
        let before = room.received;
        for _ in 0..300 {
            turn(&mut room, 8, count, host);
        }
        let (allocations, heard) = (COUNT.load(Relaxed), room.received - before);
        println!("{retry:?}, {host:?}: {allocations} allocations");
        assert!(heard >= 8 * 290 * count as u64, "{retry:?}, {host:?}: {heard} messages came back");
        assert_eq!(allocations, 0, "{retry:?}, {host:?}");
    }
}

#[test]
fn a_peer_is_small() {
    const PEERS: usize = 1000;
    let _one = TURNS.lock();
    let mut room = Room::new();
    let empty = BYTES.load(Relaxed);
    while room.clients.len() < PEERS {
        room.begin(50);
        (0..8).for_each(|_| turn(&mut room, 0, 0, Host::Idle));
    }
    (0..300).for_each(|_| turn(&mut room, 0, 0, Host::Idle));
    assert_eq!(room.peers.len(), PEERS);
    let of_each = || (BYTES.load(Relaxed) - empty) / PEERS as i64;
    let idle = of_each();
    room.retry = RetryMode::OnTimeout;
    (0..200).for_each(|_| turn(&mut room, PEERS, 1, Host::Tick(200)));
    let active = of_each();
    (0..400).for_each(|_| turn(&mut room, 0, 0, Host::Idle));
    let again = of_each();
    println!("bytes of a peer: idle {idle}, active {active}, idle again {again}");
    assert!(
        idle <= MAX_IDLE_BYTES && again <= MAX_RESTING_BYTES,
        "{idle} bytes of an idle peer, then {again}"
    );
    assert!(active <= MAX_ACTIVE_BYTES, "{active} bytes of an active peer");
}
