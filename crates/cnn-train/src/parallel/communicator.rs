//! The thread that talks to the other workers while this one works: it owns the link, takes jobs in order and gives back what came of
//! them in the same order.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;

use super::{Exchange, Kind, Link};
use crate::{Error, Result};

/// What all workers do together. Each has to give them in the same order.
enum Job {
    /// The sum of a bucket's numbers over all.
    Sum { bucket: usize, values: Vec<f32> },
    /// Everyone's bytes for everyone.
    Gather { kind: Kind, bytes: Vec<u8> },
    /// What encoding lost is forgotten.
    Forget,
    /// The others are told that this one gives up, and why.
    Fail(Error),
}

/// What came of a job that has a result.
enum Done {
    Sum(Vec<f32>),
    Gather(Vec<Vec<u8>>),
}

/// This worker's way to the others. Where it is dropped in the middle of a training, they are told.
#[derive(Debug)]
pub(super) struct Communicator {
    rank: usize,
    workers: usize,
    jobs: Option<Sender<Job>>,
    done: Receiver<Result<Done>>,
    thread: Option<JoinHandle<()>>,
    /// Whether the others expect something more.
    is_expected: bool,
    /// Why there is no going on: a rank and what it said.
    failed: Option<(usize, String)>,
}

impl Communicator {
    pub(super) fn new(link: Link, exchange: Exchange) -> Result<Self> {
        let (rank, workers) = (link.rank(), link.workers());
        let ((jobs, taken), (given, done)) = (channel(), channel());
        let named = std::thread::Builder::new().name(format!("worker {rank} exchanges"));
        let started = named.spawn(move || serve(link, exchange, &taken, &given));
        let thread = started.map_err(|error| Error::Setting(format!("no thread for the exchange: {error}")))?;
        let (jobs, thread) = (Some(jobs), Some(thread));
        Ok(Communicator { rank, workers, jobs, done, thread, is_expected: true, failed: None })
    }

    pub(super) fn rank(&self) -> usize {
        self.rank
    }

    pub(super) fn workers(&self) -> usize {
        self.workers
    }

    /// Begins to sum a bucket; [`next_sum`](Self::next_sum) has the sums in the order in which they were begun.
    pub(super) fn begin_sum(&mut self, bucket: usize, values: Vec<f32>) {
        self.give(Job::Sum { bucket, values });
    }

    /// Waits for the next sum.
    pub(super) fn next_sum(&mut self) -> Result<Vec<f32>> {
        match self.next()? {
            Done::Sum(values) => Ok(values),
            Done::Gather(_) => unreachable!("nothing is gathered while sums are awaited"),
        }
    }

    /// Tells everyone these bytes, and gives back what each told, by rank. Not while a sum is under way.
    pub(super) fn gather(&mut self, kind: Kind, bytes: Vec<u8>) -> Result<Vec<Vec<u8>>> {
        self.give(Job::Gather { kind, bytes });
        match self.next()? {
            Done::Gather(all) => Ok(all),
            Done::Sum(_) => unreachable!("all sums were taken before"),
        }
    }

    /// Forgets what encoding has lost so far.
    pub(super) fn forget(&mut self) {
        self.give(Job::Forget);
    }

    /// Says whether the others count on this worker from now on.
    pub(super) fn expect(&mut self, is_expected: bool) {
        self.is_expected = is_expected;
    }

    /// Tells the others that this worker gives up.
    pub(super) fn fail(&mut self, error: &Error) {
        let (worker, reason) = match error {
            Error::Worker { worker, reason } => (*worker, reason.clone()),
            error => (self.rank, error.to_string()),
        };
        self.is_expected = false;
        self.give(Job::Fail(Error::Worker { worker, reason: reason.clone() }));
        self.failed.get_or_insert((worker, reason));
    }

    /// A thread that has ended takes no jobs; why it ended is what [`next`](Self::next) tells.
    fn give(&mut self, job: Job) {
        if let Some(jobs) = &self.jobs {
            let _ = jobs.send(job);
        }
    }

    fn next(&mut self) -> Result<Done> {
        let rank = self.rank;
        match self.done.recv() {
            Ok(Ok(done)) => Ok(done),
            Ok(Err(Error::Worker { worker, reason })) => {
                self.failed = Some((worker, reason.clone()));
                Err(Error::Worker { worker, reason })
            }
            Ok(Err(error)) => {
                self.failed = Some((rank, error.to_string()));
                Err(error)
            }
            Err(_) => {
                let (worker, reason) =
                    self.failed.clone().unwrap_or((rank, "its exchange has ended early".to_string()));
                Err(Error::Worker { worker, reason })
            }
        }
    }
}

impl Drop for Communicator {
    fn drop(&mut self) {
        if self.is_expected {
            let reason = if std::thread::panicking() { "has panicked" } else { "has ended before the others" };
            self.fail(&Error::Worker { worker: self.rank, reason: reason.to_string() });
        }
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            // The others have been told, or are about to; what happened to the thread they hear from the transport.
            let _ = thread.join();
        }
    }
}

/// Does jobs until there are no more, or one fails.
fn serve(mut link: Link, mut exchange: Exchange, jobs: &Receiver<Job>, done: &Sender<Result<Done>>) {
    for job in jobs {
        let result = match job {
            Job::Sum { bucket, mut values } => exchange.sum(&mut link, bucket, &mut values).map(|()| Done::Sum(values)),
            Job::Gather { kind, bytes } => gather(&mut link, kind, bytes).map(Done::Gather),
            Job::Forget => {
                exchange.forget();
                continue;
            }
            Job::Fail(error) => return link.fail(&error),
        };
        if let Err(error) = &result {
            link.fail(error);
        }
        let failed = result.is_err();
        // Where nobody listens any more, a job that gives up is about to come.
        let _ = done.send(result);
        if failed {
            return;
        }
    }
}

/// Everyone's bytes for everyone, by rank.
pub(super) fn gather(link: &mut Link, kind: Kind, bytes: Vec<u8>) -> Result<Vec<Vec<u8>>> {
    link.write(bytes.len(), |content| {
        content.copy_from_slice(&bytes);
        Ok(())
    })?;
    link.others().try_for_each(|to| link.send(to, kind))?;
    let (rank, workers, mut own) = (link.rank(), link.workers(), Some(bytes));
    let receive = |from| match own.take_if(|_| from == rank) {
        Some(own) => Ok(own),
        None => link.receive(from, kind).map(<[u8]>::to_vec),
    };
    (0..workers).map(receive).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::threads;
    use super::*;
    use crate::codec;

    fn communicators(count: usize) -> Vec<Communicator> {
        let pool = Arc::new(rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap());
        let exchange = || Exchange::new(codec::find("none").unwrap(), false, pool.clone());
        threads(count).into_iter().map(|end| Communicator::new(Link::new(Box::new(end)), exchange()).unwrap()).collect()
    }

    #[test]
    fn jobs_are_done_in_their_order() {
        let mut all = communicators(3);
        for (rank, one) in all.iter_mut().enumerate() {
            one.begin_sum(0, vec![rank as f32, 1.0]);
            one.begin_sum(1, vec![2.0; 3000]);
        }
        for one in &mut all {
            assert_eq!(one.next_sum().unwrap(), [3.0, 3.0]);
            assert_eq!(one.next_sum().unwrap(), [6.0; 3000]);
        }
        let gathered: Vec<_> = std::thread::scope(|scope| {
            let gather = |one: &mut Communicator| one.gather(Kind::Notice, vec![one.rank() as u8; 2]).unwrap();
            let all: Vec<_> = all.iter_mut().map(|one| scope.spawn(move || gather(one))).collect();
            all.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert_eq!(gathered, vec![vec![vec![0, 0], vec![1, 1], vec![2, 2]]; 3]);
    }

    #[test]
    fn who_ends_in_the_middle_is_named_to_all() {
        let mut all = communicators(3);
        for one in &mut all[..2] {
            one.begin_sum(0, vec![1.0; 10_000]);
        }
        drop(all.pop());
        for one in &mut all {
            for _ in 0..2 {
                assert_eq!(one.next_sum().unwrap_err().to_string(), "worker 2: has ended before the others");
            }
        }
    }

    #[test]
    fn who_gives_up_says_why() {
        let mut all = communicators(2);
        all[1].fail(&Error::Data("gone".to_string()));
        assert_eq!(all[0].gather(Kind::Notice, Vec::new()).unwrap_err().to_string(), "worker 1: data: gone");
        let mut ended = communicators(2);
        ended[1].expect(false);
        drop(ended.pop());
        let error = ended[0].gather(Kind::Notice, Vec::new()).unwrap_err().to_string();
        assert_eq!(error, "worker 1: has ended before the others");
    }
}
