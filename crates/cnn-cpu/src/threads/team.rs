//! One parallel region for a whole run: the helpers come once, then wait on a flag for one phase after the other, so
//! that a phase costs a few hundred nanoseconds and not a wake-up.
//!
//! Helpers are never waited for: the leader does every task that nobody else takes. A pool whose threads are busy
//! with another session's run makes a run slower and never stops it.

use std::cell::UnsafeCell;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// The phase and who is in it, in one word: `OPEN` while tasks may be taken, the number of helpers inside below it,
/// the number of the phase above it.
const OPEN: usize = 1 << 15;
const PHASE: usize = 1 << 16;

/// Turns of waiting before a thread offers its core to others: some tens of microseconds.
const SPINS: usize = 1 << 10;

/// One share of a phase's tasks, on a cache line of its own.
#[derive(Debug, Default)]
#[repr(align(64))]
struct Share {
    next: AtomicUsize,
}

/// Threads that run phases together.
pub(super) struct Team {
    state: AtomicUsize,
    finished: AtomicBool,
    /// Whether a phase is under way: one inside another's task runs alone.
    busy: AtomicBool,
    job: UnsafeCell<Job>,
    shares: Vec<Share>,
}

#[derive(Clone, Copy)]
struct Job {
    work: *const (dyn Fn(usize) + Sync),
    tasks: usize,
}

// SAFETY: `job` is written by the leader while the phase is closed and nobody is inside, and read by helpers that have
// entered an open phase; `state` orders the two. What it points to is `Sync` and outlives the phase.
unsafe impl Sync for Team {}
// SAFETY: as above; the pointer is used only inside a phase.
unsafe impl Send for Team {}

impl std::fmt::Debug for Team {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Team").field("threads", &self.shares.len()).finish_non_exhaustive()
    }
}

impl Team {
    pub(super) fn new(threads: usize) -> Self {
        let nothing: &'static (dyn Fn(usize) + Sync) = &|_| {};
        Team {
            state: AtomicUsize::new(0),
            finished: AtomicBool::new(false),
            busy: AtomicBool::new(false),
            job: UnsafeCell::new(Job { work: nothing, tasks: 0 }),
            shares: (0..threads.max(1)).map(|_| Share::default()).collect(),
        }
    }

    pub(super) fn threads(&self) -> usize {
        self.shares.len()
    }

    /// Runs `leader` in this thread of a pool, with the pool's other threads as helpers as they come.
    pub(super) fn lead<R: Send>(&self, leader: impl FnOnce() -> R + Send) -> R {
        self.finished.store(false, Ordering::Relaxed);
        self.with_helpers(self.threads() - 1, || {
            let _end = OnDrop(|| self.finished.store(true, Ordering::Release));
            leader()
        })
    }

    fn with_helpers<R: Send>(&self, helpers: usize, leader: impl FnOnce() -> R + Send) -> R {
        match helpers {
            0 => leader(),
            _ => rayon::join(|| self.with_helpers(helpers - 1, leader), || self.help()).0,
        }
    }

    /// Works on every phase until the leader is done.
    fn help(&self) {
        let (mut last, mut spins) = (0, 0);
        while !self.finished.load(Ordering::Acquire) {
            let state = self.state.load(Ordering::Relaxed);
            let fresh = state & OPEN != 0 && state / PHASE != last;
            if fresh && self.state.compare_exchange(state, state + 1, Ordering::Acquire, Ordering::Relaxed).is_ok() {
                let _leave = OnDrop(|| {
                    self.state.fetch_sub(1, Ordering::Release);
                });
                // SAFETY: this thread is inside an open phase, so the job is complete and stays until it leaves.
                let job = unsafe { *self.job.get() };
                // SAFETY: as above: the leader keeps what it points to alive until nobody is inside.
                self.take_tasks(unsafe { &*job.work }, job.tasks);
                (last, spins) = (state / PHASE, 0);
            } else if !fresh {
                wait(&mut spins);
            }
        }
    }

    /// Runs `work` for each number below `tasks`, on whoever is there.
    pub(super) fn run(&self, tasks: usize, work: &(dyn Fn(usize) + Sync)) {
        if tasks <= 1 || self.threads() == 1 || self.busy.swap(true, Ordering::Acquire) {
            return (0..tasks).for_each(work);
        }
        let _idle = OnDrop(|| self.busy.store(false, Ordering::Release));
        for (share, begin) in self.shares.iter().zip(0..) {
            share.next.store(self.begin(begin, tasks), Ordering::Relaxed);
        }
        // SAFETY: the phase is closed and nobody is inside. The lifetime ends before `work`'s does, as `_close` waits
        // until nobody is inside.
        unsafe {
            let work: *const (dyn Fn(usize) + Sync) = std::mem::transmute(std::ptr::from_ref(work));
            *self.job.get() = Job { work, tasks };
        }
        let phase = (self.state.load(Ordering::Relaxed) / PHASE).wrapping_add(1);
        self.state.store(phase.wrapping_mul(PHASE) | OPEN, Ordering::Release);
        let _close = OnDrop(|| {
            self.state.fetch_and(!OPEN, Ordering::Relaxed);
            let mut spins = 0;
            while self.state.load(Ordering::Acquire) & (OPEN - 1) != 0 {
                wait(&mut spins);
            }
        });
        self.take_tasks(work, tasks);
    }

    /// The first task of a share.
    fn begin(&self, share: usize, tasks: usize) -> usize {
        share * tasks / self.threads()
    }

    /// Takes tasks: this thread's own share in order, so that it keeps to one part of memory, then what others have
    /// left.
    fn take_tasks(&self, work: &(dyn Fn(usize) + Sync), tasks: usize) {
        let me = rayon::current_thread_index().unwrap_or(0);
        for share in (0..self.threads()).map(|i| (me + i) % self.threads()) {
            let end = self.begin(share + 1, tasks);
            loop {
                let task = self.shares[share].next.fetch_add(1, Ordering::Relaxed);
                if task >= end {
                    break;
                }
                work(task);
            }
        }
    }
}

fn wait(spins: &mut usize) {
    *spins += 1;
    match *spins < SPINS {
        true => std::hint::spin_loop(),
        false => std::thread::yield_now(),
    }
}

/// Runs a closure when it goes out of scope, by a panic too.
struct OnDrop<F: FnMut()>(F);

impl<F: FnMut()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pool(threads: usize) -> rayon::ThreadPool {
        rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap()
    }

    #[test]
    fn every_task_runs_once_in_every_phase() {
        for threads in [1, 2, 5] {
            let team = Team::new(threads);
            pool(threads).install(|| {
                team.lead(|| {
                    for phase in 0..2000 {
                        let counts: Vec<AtomicUsize> = (0..phase % 17).map(|_| AtomicUsize::new(0)).collect();
                        team.run(counts.len(), &|task| {
                            counts[task].fetch_add(1, Ordering::Relaxed);
                        });
                        assert!(counts.iter().all(|count| count.load(Ordering::Relaxed) == 1));
                    }
                });
            });
        }
    }

    #[test]
    fn a_phase_inside_a_task_runs_alone() {
        let (team, sum) = (Team::new(3), AtomicUsize::new(0));
        pool(3).install(|| {
            team.lead(|| {
                team.run(10, &|outer| {
                    team.run(10, &|inner| {
                        sum.fetch_add(10 * outer + inner, Ordering::Relaxed);
                    });
                });
            });
        });
        assert_eq!(sum.load(Ordering::Relaxed), 4950);
    }

    #[test]
    fn sessions_that_share_a_pool_do_not_wait_for_each_other_forever() {
        let pool = pool(2);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    let team = Team::new(2);
                    for _ in 0..50 {
                        let sum = AtomicUsize::new(0);
                        pool.install(|| {
                            team.lead(|| {
                                for _ in 0..20 {
                                    team.run(8, &|task| {
                                        sum.fetch_add(task, Ordering::Relaxed);
                                    });
                                }
                            });
                        });
                        assert_eq!(sum.load(Ordering::Relaxed), 20 * 28);
                    }
                });
            }
        });
    }

    #[test]
    fn a_panic_in_a_task_reaches_the_caller() {
        let team = Team::new(2);
        let run = || {
            pool(2).install(|| {
                team.lead(|| {
                    team.run(64, &|task| {
                        std::thread::sleep(std::time::Duration::from_micros(50));
                        assert!(task != 33, "task 33");
                    });
                });
            });
        };
        assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(run)).is_err());
        pool(2).install(|| team.lead(|| team.run(4, &|_| {})));
    }
}
