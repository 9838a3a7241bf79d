//! Workers that are processes, which `mpirun` started, on one machine or several (feature `mpi`).
//!
//! [`Processes::join`] gives what a process is among the others, and an [`Mpi`] to reach them with. All of MPI happens on a thread
//! of its own, which takes in messages at any time: a worker that computes holds up nobody who sends to it. That thread asks again
//! and again whether something has come, 10,000 times a second where it has been quiet; and since nobody else calls MPI,
//! `MPI_THREAD_FUNNELED` is enough.
//!
//! A process that fails has to end the others, which wait for it: see [`Processes::abort`].

mod progress;

use std::io::Write;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use progress::{Command, Progress};

use super::{Transport, thread};
use crate::{Error, Result};

/// Bytes of a piece of a message: MPI counts in `int`.
const PIECE: usize = 1 << 30;

/// The processes that `mpirun` started, as one of them sees them. Dropped otherwise than by [`leave`](Self::leave), as by a panic,
/// it ends all of them.
#[derive(Debug)]
pub struct Processes {
    rank: usize,
    workers: usize,
    commands: Sender<Command>,
    /// `None` once it has been waited for.
    progress: Option<JoinHandle<()>>,
}

/// One process's way to the others: see [`Processes::join`].
#[derive(Debug)]
pub struct Mpi {
    rank: usize,
    commands: Sender<Command>,
    /// From each process.
    from: Vec<Receiver<Vec<u8>>>,
    spare: Arc<Spare>,
}

impl Processes {
    /// Starts MPI and waits until all processes have. A process that nobody started with `mpirun` is alone. Errors where MPI was
    /// started before, which it can be once only; what fails within MPI ends the process.
    pub fn join() -> Result<(Processes, Mpi)> {
        Self::join_in_pieces(PIECE)
    }

    /// [`join`](Self::join) with messages sent in pieces of so many bytes, in all processes the same, 1 GiB unless told otherwise.
    /// Errors where that is none, or more than 2 GiB less one.
    pub fn join_in_pieces(bytes: usize) -> Result<(Processes, Mpi)> {
        if bytes == 0 || i32::try_from(bytes).is_err() {
            return Err(Error::Setting(format!("pieces of {bytes} bytes, which MPI cannot count")));
        }
        let spare = Arc::new(Spare::default());
        let (commands, commanded) = channel();
        let (started, starting) = channel();
        let kept = Arc::clone(&spare);
        let run = move || {
            if let Some(progress) = Progress::start(commanded, bytes, kept, &started) {
                progress.run();
            }
        };
        let progress = std::thread::Builder::new().name("mpi".to_string()).spawn(run);
        let progress = progress.map_err(|cause| Error::Setting(format!("no thread for MPI: {cause}")))?;
        let (rank, from) = starting.recv().unwrap_or_else(|_| Err(Error::Setting("MPI did not start".to_string())))?;
        let mpi = Mpi { rank, commands: commands.clone(), from, spare };
        Ok((Processes { rank, workers: mpi.workers(), commands, progress: Some(progress) }, mpi))
    }

    /// Which of the processes this is, from 0.
    pub fn rank(&self) -> usize {
        self.rank
    }

    /// How many there are.
    pub fn workers(&self) -> usize {
        self.workers
    }

    /// Waits until every process has dropped its [`Mpi`], and ends MPI.
    pub fn leave(mut self) -> Result<()> {
        // Where the thread has ended, `join` says so.
        let _ = self.commands.send(Command::Leave);
        let ended = self.progress.take().map(JoinHandle::join);
        ended.and_then(Result::ok).ok_or_else(|| Error::Setting("MPI ended by itself".to_string()))
    }

    /// Ends all processes with this exit code, within a few seconds, and says on standard error which one did, as `mpirun` does not
    /// always. Print why before.
    pub fn abort(mut self, code: i32) -> ! {
        self.end_all(code)
    }

    fn end_all(&mut self, code: i32) -> ! {
        let _ = writeln!(std::io::stderr(), "rank {} of {} ends all processes", self.rank, self.workers);
        let _ = self.commands.send(Command::Abort(code));
        if let Some(progress) = self.progress.take() {
            let _ = progress.join();
        }
        // Only where the thread had ended before: `mpirun` then ends the others.
        std::process::abort()
    }
}

impl Drop for Processes {
    fn drop(&mut self) {
        if self.progress.is_some() {
            self.end_all(1);
        }
    }
}

impl Transport for Mpi {
    fn rank(&self) -> usize {
        self.rank
    }

    fn workers(&self) -> usize {
        self.from.len()
    }

    fn send(&mut self, to: usize, message: &[u8]) -> Result<()> {
        if to >= self.workers() {
            return Err(thread::stranger(to));
        }
        let mut copy = self.spare.take();
        copy.clear();
        copy.extend_from_slice(message);
        self.commands.send(Command::Send { to, message: copy }).map_err(|_| thread::ended(to))
    }

    fn receive(&mut self, from: usize, message: &mut Vec<u8>) -> Result<()> {
        let next = self.from.get(from).ok_or_else(|| thread::stranger(from))?.recv();
        let before = std::mem::replace(message, next.map_err(|_| thread::ended(from))?);
        self.spare.give(before);
        Ok(())
    }
}

impl Drop for Mpi {
    fn drop(&mut self) {
        // A panic ends all processes, and this is not to hide it. Nobody is there to be told where the thread has ended.
        if !std::thread::panicking() {
            let _ = self.commands.send(Command::End);
        }
    }
}

/// Memory of messages that are done with, for those to come.
#[derive(Debug, Default)]
struct Spare(Mutex<Vec<Vec<u8>>>);

impl Spare {
    /// How many are kept.
    const LIMIT: usize = 64;

    /// Of any length, with anything in it.
    fn take(&self) -> Vec<u8> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).pop().unwrap_or_default()
    }

    fn give(&self, message: Vec<u8>) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() < Self::LIMIT && message.capacity() > 0 {
            kept.push(message);
        }
    }
}
