//! After the first run of a batch, a session allocates its output and nothing else, and a training holds no more from step to step.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::atomic::{AtomicIsize, Ordering};

use cnn_core::backend::{KeepGradients, Recipe};
use cnn_core::layers::{Activation, Concat};
use cnn_core::{Backend, CompileOptions, Network, Reference};
use cnn_cpu::Cpu;
use cnn_testkit::conformance::{random_input, random_weights};
use cnn_testkit::whole_networks;

struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
}

/// Bytes that all threads hold.
static HELD: AtomicIsize = AtomicIsize::new(0);

// SAFETY: everything is left to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        HELD.fetch_add(layout.size() as isize, Ordering::Relaxed);
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        HELD.fetch_sub(layout.size() as isize, Ordering::Relaxed);
        // SAFETY: the caller's promise is passed on.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// A layer of six inputs, which runs as its own loops.
fn six_inputs() -> Network {
    let mut net = Network::builder("six inputs", [3, 5, 4]);
    let values: Vec<_> = (0..6).map(|i| net.push(format!("relu{i}"), Activation::Relu).unwrap()).collect();
    net.push_with("concat", Concat, &values).unwrap();
    net.finish().unwrap()
}

/// Allocations of a third run.
fn allocations(backend: &dyn Backend) -> Vec<usize> {
    let count = |network: &Network| {
        let weights = random_weights(network, 1);
        let plan = backend.compile(network, &weights, &CompileOptions::default()).unwrap();
        let (mut session, input) = (plan.session().unwrap(), random_input(network, 2, 3));
        session.run(&input).unwrap();
        session.run(&input).unwrap();
        let before = ALLOCATIONS.get();
        session.run(&input).unwrap();
        ALLOCATIONS.get() - before
    };
    whole_networks().unwrap().iter().chain([&six_inputs()]).map(count).collect()
}

/// One test at a time, as all memory of the process is counted.
#[test]
fn sessions_and_trainings_keep_to_their_memory() {
    a_warm_session_allocates_its_output_alone();
    a_training_holds_the_same_after_a_thousand_steps();
}

/// With samples in lanes, and layer by layer (the network with a batch norm).
fn a_training_holds_the_same_after_a_thousand_steps() {
    let cpu = Cpu::with_threads(2).unwrap();
    for network in whole_networks().unwrap() {
        let weights = random_weights(&network, 1);
        let mut trainer = cpu.compile_training(&network, &weights, &Recipe::default()).unwrap();
        let (images, labels) = (random_input(&network, 20, 3), [0; 20]);
        let mut step = || {
            trainer.gradients(&images, &labels, &mut KeepGradients).unwrap();
            trainer.update(1e-4).unwrap();
        };
        // Threads get memory of their own with their first share of work, whenever that is; a leak would show in every round.
        let mut round = || {
            let before = HELD.load(Ordering::Relaxed);
            (0..1000).for_each(|_| step());
            HELD.load(Ordering::Relaxed) - before
        };
        let grown = (0..4).map(|_| round().abs()).min().unwrap_or(0);
        // The pool's queues move their ends about.
        assert!(grown < 4096, "{}: {grown} bytes more", network.name());
    }
}

fn a_warm_session_allocates_its_output_alone() {
    // The output's shape and its values.
    let counts = allocations(&Cpu::with_threads(1).unwrap());
    assert!(counts.iter().all(|&count| count == 2), "{counts:?}");
    // The count sees allocations where there are some.
    assert!(allocations(&Reference::new()).iter().all(|&count| count > 2));
}
