//! The thread on which all of MPI happens.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use mpi::environment::Universe;
use mpi::request::scope;
use mpi::traits::{Communicator, Destination, Equivalence, Source};
use mpi::{Rank, Tag, Threading};

use super::Spare;
use crate::{Error, Result};

/// What is asked of the thread.
#[derive(Debug)]
pub(super) enum Command {
    Send {
        to: usize,
        message: Vec<u8>,
    },
    /// This process will send no more.
    End,
    /// The same; and MPI may end as soon as no process sends any more.
    Leave,
    Abort(i32),
}

/// A piece of a message; shorter than pieces are, its last one.
const PIECE: Tag = 0;
/// The sender will send no more.
const END: Tag = 1;

/// How long it is asked without a pause whether something has come, after the last time that it had.
const BUSY: Duration = Duration::from_millis(1);
/// The pause after that.
const PAUSE: Duration = Duration::from_micros(50);

/// What `join` waits for: this process's rank, and the messages of each process.
type Started = Result<(usize, Vec<Receiver<Vec<u8>>>)>;

pub(super) struct Progress {
    /// Ends MPI when dropped.
    universe: Universe,
    commands: Receiver<Command>,
    piece: usize,
    spare: Arc<Spare>,
    /// Messages to be sent, with their tags.
    outgoing: VecDeque<(usize, Tag, Vec<u8>)>,
    /// Whole messages go here; `None` once the process will send no more.
    inboxes: Vec<Option<Sender<Vec<u8>>>>,
    /// What has come of the message that each process is sending.
    begun: Vec<Vec<u8>>,
    ended: bool,
    leaving: bool,
}

impl Progress {
    /// Starts MPI, on this thread, and says so.
    pub(super) fn start(
        commands: Receiver<Command>,
        piece: usize,
        spare: Arc<Spare>,
        started: &Sender<Started>,
    ) -> Option<Progress> {
        let Some((universe, threading)) = mpi::initialize_with_threading(Threading::Funneled) else {
            // Heard by nobody only where nobody asked.
            let _ = started.send(Err(Error::Setting("MPI has been started before".to_string())));
            return None;
        };
        let world = universe.world();
        if threading < Threading::Funneled {
            let reason =
                format!("this MPI is for processes of one thread ({threading:?}); cnn needs MPI_THREAD_FUNNELED");
            let _ = started.send(Err(Error::Setting(reason)));
            return None;
        }
        // MPI counts from 0 up in `int`.
        let workers = world.size() as usize;
        let (inboxes, from) = (0..workers).map(|_| channel()).map(|(to, from)| (Some(to), from)).unzip();
        started.send(Ok((world.rank() as usize, from))).ok()?;
        Some(Progress {
            universe,
            commands,
            piece,
            spare,
            outgoing: VecDeque::new(),
            inboxes,
            begun: vec![Vec::new(); workers],
            ended: false,
            leaving: false,
        })
    }

    /// Until all processes have left.
    pub(super) fn run(mut self) {
        let mut last = Instant::now();
        while !self.is_over() {
            let waited = match last.elapsed() < BUSY {
                true => self.commands.try_recv().map_err(|_| RecvTimeoutError::Timeout),
                false => self.commands.recv_timeout(PAUSE),
            };
            if let Ok(command) = waited {
                self.obey(command);
                self.obey_all();
            }
            if !self.outgoing.is_empty() {
                self.send();
                last = Instant::now();
            }
            match self.receive() {
                true => last = Instant::now(),
                false => std::thread::yield_now(),
            }
        }
        drop(self.universe);
    }

    fn is_over(&self) -> bool {
        self.leaving && self.outgoing.is_empty() && self.inboxes.iter().all(Option::is_none)
    }

    fn obey_all(&mut self) {
        while let Ok(command) = self.commands.try_recv() {
            self.obey(command);
        }
    }

    fn obey(&mut self, command: Command) {
        match command {
            Command::Send { to, message } => self.outgoing.push_back((to, PIECE, message)),
            Command::End => self.end(),
            Command::Leave => {
                self.end();
                self.leaving = true;
            }
            Command::Abort(code) => self.universe.world().abort(code),
        }
    }

    /// Tells all, this process too.
    fn end(&mut self) {
        if !std::mem::replace(&mut self.ended, true) {
            self.outgoing.extend((0..self.inboxes.len()).map(|to| (to, END, Vec::new())));
        }
    }

    /// Sends all that is to be sent, and receives meanwhile, so that processes that send to one another do not wait for ever.
    fn send(&mut self) {
        let messages = std::mem::take(&mut self.outgoing);
        let world = self.universe.world();
        scope(|scope| {
            let mut requests = Vec::new();
            for (to, tag, message) in &messages {
                let to = world.process_at_rank(*to as Rank);
                for piece in pieces(message, self.piece) {
                    requests.push(to.immediate_send_with_tag(scope, piece, *tag));
                }
            }
            while !requests.is_empty() {
                requests = requests.into_iter().filter_map(|request| request.test().err()).collect();
                self.obey_all();
                if !self.receive() {
                    std::thread::yield_now();
                }
            }
        });
        messages.into_iter().for_each(|(_, _, message)| self.spare.give(message));
    }

    /// Takes in a piece, if one has come.
    fn receive(&mut self) -> bool {
        let world = self.universe.world();
        let Some((piece, status)) = world.any_process().immediate_matched_probe() else { return false };
        let from = status.source_rank() as usize;
        let count = status.count(u8::equivalent_datatype()) as usize;
        let message = &mut self.begun[from];
        let start = message.len();
        if start == 0 {
            *message = self.spare.take();
        }
        message.resize(start + count, 0);
        scope(|scope| {
            let mut request = piece.immediate_matched_receive_into(scope, &mut message[start..]);
            while let Err(unfinished) = request.test() {
                request = unfinished;
                std::thread::yield_now();
            }
        });
        if status.tag() == END {
            self.inboxes[from] = None;
        } else if count < self.piece {
            // A process that has dropped its `Mpi` reads no more.
            let message = std::mem::take(message);
            let _ = self.inboxes[from].as_ref().map(|inbox| inbox.send(message));
        }
        true
    }
}

/// Of this length, but for the last one, which is shorter and may have nothing in it.
fn pieces(message: &[u8], length: usize) -> impl Iterator<Item = &[u8]> {
    let whole = message.len() / length;
    (0..=whole).map(move |i| &message[i * length..message.len().min((i + 1) * length)])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_piece_is_the_one_that_is_shorter() {
        let cut = |bytes: usize| pieces(&[0; 7][..bytes], 3).map(<[u8]>::len).collect::<Vec<_>>();
        assert_eq!([cut(0), cut(2), cut(3), cut(7)], [vec![0], vec![2], vec![3, 0], vec![3, 3, 1]]);
    }
}
