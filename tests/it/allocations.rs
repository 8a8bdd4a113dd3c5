//! The networks allocate nothing once they are loaded.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::hint::black_box;

use accessd::encoder::{mobilefacenet, sface};
use accessd::models::Library;
use accessd::nn::fused::{Net, Plan};

use crate::support::models_dir;

/// The system's allocator, which counts what each thread asks of it.
struct Counting;

thread_local! {
    static ASKED: Cell<u64> = const { Cell::new(0) };
}

// SAFETY: everything is handed on to the system's allocator; counting touches no memory but a thread-local cell that
// needs neither allocation nor destructor.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ASKED.with(|n| n.set(n.get() + 1));
        // SAFETY: as the caller promised.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        // SAFETY: as the caller promised.
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

/// How often `work` asks for memory.
pub fn during(work: impl FnOnce()) -> u64 {
    let before = ASKED.with(Cell::get);
    work();
    ASKED.with(Cell::get) - before
}

#[test]
fn counting_counts() {
    assert_eq!(during(|| drop(black_box(Box::new([1_u8; 64])))), 1);
    assert_eq!(during(|| ()), 0);
}

#[test]
fn net_a_network_that_has_run_once_allocates_nothing() {
    let library = Library::new(&models_dir());
    let mut plans: Vec<Plan> = vec![sface::fused(&library.load("sface", "encoder").unwrap(), 112).unwrap().0];
    if let Ok(file) = library.load("mobilefacenet", "encoder") {
        plans.push(mobilefacenet::fused(&file, 112).unwrap().0);
    }
    if let Ok(file) = library.load("fr_liveness", "liveness") {
        let variant = accessd::liveness::minifasnet::variant(&file.card.architecture).unwrap();
        plans.push(accessd::liveness::minifasnet::fused(variant, &file).unwrap().0);
    }
    for plan in plans {
        let mut net = Net::new(plan);
        net.run();
        assert_eq!(during(|| net.run()), 0, "{} steps", net.plan().steps().len());
    }
}
