//! After the first run of a batch, a session allocates its output and nothing else.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use cnn_core::{Backend, CompileOptions, Reference};
use cnn_cpu::Cpu;
use cnn_testkit::conformance::{random_input, random_weights};
use cnn_testkit::whole_networks;

struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
}

// SAFETY: everything is left to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise is passed on.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Allocations of a third run.
fn allocations(backend: &dyn Backend) -> Vec<usize> {
    let count = |network: &cnn_core::Network| {
        let weights = random_weights(network, 1);
        let plan = backend.compile(network, &weights, &CompileOptions::default()).unwrap();
        let (mut session, input) = (plan.session().unwrap(), random_input(network, 2, 3));
        session.run(&input).unwrap();
        session.run(&input).unwrap();
        let before = ALLOCATIONS.get();
        session.run(&input).unwrap();
        ALLOCATIONS.get() - before
    };
    whole_networks().unwrap().iter().map(count).collect()
}

#[test]
fn a_warm_session_allocates_its_output_alone() {
    // The output's shape and its values.
    assert_eq!(allocations(&Cpu::with_threads(1).unwrap()), [2; 4]);
    // The count sees allocations where there are some.
    assert!(allocations(&Reference::new()).iter().all(|&count| count > 2));
}
