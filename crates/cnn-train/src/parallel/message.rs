//! Messages between workers, which are whole and in order or an error.
//!
//! # Bytes
//!
//! Numbers have their lowest byte first. `cnn1`; the kind, 1 byte; three bytes 0; the number of the message among those from
//! its sender to its receiver, from 0, `u32`; the length of the content, `u64`; the content's CRC-32, `u32`; the CRC-32 of the 24 bytes so far,
//! `u32`; the content.
//!
//! A message that is cut off, changed or not the one that is due is [`Error::Worker`] with its sender; so is one in which a worker
//! says that it, or another, has failed.

use flate2::Crc;

use super::Transport;
use crate::{Error, Result};

const MAGIC: [u8; 4] = *b"cnn1";
const HEADER: usize = 28;
/// Bytes of a reason that is sent.
const LONGEST_REASON: usize = 4096;

/// What a message is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// What a worker is about to do, to be compared.
    Introduction = 1,
    /// A worker's share of a sum.
    Part = 2,
    /// A slice of a whole sum.
    Sum = 3,
    /// Whatever else all workers tell one another, such as losses.
    Notice = 4,
    /// Values, or gradients of values, between layers.
    Values = 5,
    /// Nothing more comes: the rank that failed, `u32`, and why, UTF-8.
    Failure = 6,
}

/// A transport with messages that are checked.
#[derive(Debug)]
pub struct Link {
    transport: Box<dyn Transport>,
    /// By worker: how many messages went there.
    sent: Vec<u32>,
    /// By worker: how many came from there.
    received: Vec<u32>,
    /// The message that is sent, its header first.
    outgoing: Vec<u8>,
    incoming: Vec<u8>,
}

impl Link {
    /// Over a transport on which nothing was sent yet.
    pub fn new(transport: Box<dyn Transport>) -> Self {
        let none = vec![0; transport.workers()];
        Link { transport, sent: none.clone(), received: none, outgoing: vec![0; HEADER], incoming: Vec::new() }
    }

    /// Which of the workers this is, from 0.
    pub fn rank(&self) -> usize {
        self.transport.rank()
    }

    /// How many workers there are.
    pub fn workers(&self) -> usize {
        self.transport.workers()
    }

    /// The other workers, beginning with the next one: not all write to the same one at a time.
    pub fn others(&self) -> impl Iterator<Item = usize> + use<> {
        let (rank, workers) = (self.rank(), self.workers());
        (1..workers).map(move |step| (rank + step) % workers)
    }

    /// Makes the content of the messages to come, of `length` bytes; `write` fills them.
    pub fn write(&mut self, length: usize, write: impl FnOnce(&mut [u8]) -> Result<()>) -> Result<()> {
        self.outgoing.resize(HEADER + length, 0);
        write(&mut self.outgoing[HEADER..])?;
        let (header, content) = self.outgoing.split_at_mut(HEADER);
        header[..4].copy_from_slice(&MAGIC);
        header[12..20].copy_from_slice(&(length as u64).to_le_bytes());
        header[20..24].copy_from_slice(&checksum(content).to_le_bytes());
        Ok(())
    }

    /// What [`write`](Self::write) wrote.
    pub fn written(&self) -> &[u8] {
        &self.outgoing[HEADER..]
    }

    /// Sends what was written; it can be sent to others too.
    pub fn send(&mut self, to: usize, kind: Kind) -> Result<()> {
        let header = &mut self.outgoing[..HEADER];
        let number = self.sent.get_mut(to).ok_or_else(|| stranger(to))?;
        header[4..8].copy_from_slice(&[kind as u8, 0, 0, 0]);
        header[8..12].copy_from_slice(&number.to_le_bytes());
        let sum = checksum(&header[..24]);
        header[24..].copy_from_slice(&sum.to_le_bytes());
        *number = number.wrapping_add(1);
        self.transport.send(to, &self.outgoing).map_err(|error| self.last_words(to).unwrap_or(error))
    }

    /// Waits for the next message of worker `from`, which has to be of this kind.
    pub fn receive(&mut self, from: usize, kind: Kind) -> Result<&[u8]> {
        let number = self.received.get_mut(from).ok_or_else(|| stranger(from))?;
        self.transport.receive(from, &mut self.incoming)?;
        let due = *number;
        *number = due.wrapping_add(1);
        let wrong = |reason: String| Error::Worker { worker: from, reason };
        let (found, number) = check(&self.incoming).map_err(wrong)?;
        if number != due {
            return Err(wrong(format!("message {number} came where {due} was due")));
        }
        let content = &self.incoming[HEADER..];
        if found == Kind::Failure as u8 {
            return Err(failure(from, content));
        }
        match found == kind as u8 {
            true => Ok(content),
            false => Err(wrong(format!("a message of kind {found} came where {} ({kind:?}) was due", kind as u8))),
        }
    }

    /// Tells all others that there is no going on. Who does not listen any more is left alone.
    pub fn fail(&mut self, error: &Error) {
        let (worker, reason) = match error {
            Error::Worker { worker, reason } => (*worker, reason.clone()),
            error => (self.rank(), error.to_string()),
        };
        let reason: Vec<u8> = reason.bytes().take(LONGEST_REASON).collect();
        let fill = |bytes: &mut [u8]| {
            bytes[..4].copy_from_slice(&(worker as u32).to_le_bytes());
            bytes[4..].copy_from_slice(&reason);
            Ok(())
        };
        if self.write(4 + reason.len(), fill).is_ok() {
            for to in self.others() {
                let _ = self.send(to, Kind::Failure);
            }
        }
    }

    /// Why a worker that takes no more messages has ended, where it told.
    fn last_words(&mut self, worker: usize) -> Option<Error> {
        while self.transport.receive(worker, &mut self.incoming).is_ok() {
            match check(&self.incoming) {
                Ok((kind, _)) if kind == Kind::Failure as u8 => {
                    return Some(failure(worker, &self.incoming[HEADER..]));
                }
                _ => continue,
            }
        }
        None
    }
}

fn stranger(worker: usize) -> Error {
    Error::Worker { worker, reason: "there is none of this number".to_string() }
}

fn checksum(bytes: &[u8]) -> u32 {
    let mut crc = Crc::new();
    crc.update(bytes);
    crc.sum()
}

/// The kind and number of a whole message, or what is wrong with it.
fn check(message: &[u8]) -> Result<(u8, u32), String> {
    let short = || format!("a message of {} bytes, which is shorter than a header", message.len());
    let (header, content) = message.split_at_checked(HEADER).ok_or_else(short)?;
    let word = |at: usize| u32::from_le_bytes(std::array::from_fn(|i| header[at + i]));
    if header[..4] != MAGIC || header[5..8] != [0; 3] {
        return Err("a message that is none of this program's, or of another version's".to_string());
    }
    if checksum(&header[..24]) != word(24) {
        return Err("a message arrived with another header than it was sent with".to_string());
    }
    let length = u64::from(word(12)) | u64::from(word(16)) << 32;
    if length != content.len() as u64 {
        return Err(format!("a message of {length} bytes arrived with {}", content.len()));
    }
    if checksum(content) != word(20) {
        return Err("a message arrived with another content than it was sent with".to_string());
    }
    Ok((header[4], word(8)))
}

/// What a worker said of its end, or of another's.
fn failure(from: usize, content: &[u8]) -> Error {
    match content.split_first_chunk() {
        Some((rank, reason)) => {
            let worker = u32::from_le_bytes(*rank) as usize;
            Error::Worker { worker, reason: String::from_utf8_lossy(reason).into_owned() }
        }
        None => Error::Worker { worker: from, reason: "has failed without saying why".to_string() },
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::threads;
    use super::*;

    /// The bytes of a message, number 0, of these bytes.
    fn message(content: &[u8]) -> Vec<u8> {
        let mut ends = threads(2);
        let mut link = Link::new(Box::new(ends.remove(0)));
        write(&mut link, content);
        link.send(1, Kind::Part).unwrap();
        let mut bytes = Vec::new();
        ends[0].receive(0, &mut bytes).unwrap();
        bytes
    }

    fn write(link: &mut Link, content: &[u8]) {
        let fill = |bytes: &mut [u8]| {
            bytes.copy_from_slice(content);
            Ok(())
        };
        link.write(content.len(), fill).unwrap();
    }

    /// What worker 1 makes of bytes from worker 0.
    fn received(bytes: &[u8]) -> Result<Vec<u8>> {
        let mut ends = threads(2);
        ends[0].send(1, bytes).unwrap();
        Link::new(Box::new(ends.remove(1))).receive(0, Kind::Part).map(<[u8]>::to_vec)
    }

    fn is_of_worker_0(result: Result<Vec<u8>>) -> bool {
        matches!(result, Err(Error::Worker { worker: 0, .. }))
    }

    #[test]
    fn messages_come_in_order_and_of_their_kind() {
        let mut ends = threads(2).into_iter().map(|end| Link::new(Box::new(end)));
        let [mut zero, mut one] = [ends.next().unwrap(), ends.next().unwrap()];
        for content in [[1, 2].as_slice(), &[], &[3]] {
            write(&mut zero, content);
            zero.send(1, Kind::Part).unwrap();
            assert_eq!(one.receive(0, Kind::Part).unwrap(), content);
        }
        zero.send(1, Kind::Sum).unwrap();
        let error = one.receive(0, Kind::Part).unwrap_err().to_string();
        assert!(error.contains("worker 0") && error.contains("Part"), "{error}");
        // One is left out.
        zero.send(1, Kind::Part).unwrap();
        zero.send(1, Kind::Part).unwrap();
        one.transport.receive(0, &mut Vec::new()).unwrap();
        let error = one.receive(0, Kind::Part).unwrap_err().to_string();
        assert!(error.contains("message 5 came where 4 was due"), "{error}");
    }

    #[test]
    fn a_failure_is_told_with_who_failed_even_after_the_end() {
        let mut links: Vec<Link> = threads(3).into_iter().map(|end| Link::new(Box::new(end))).collect();
        links[2].fail(&Error::Data("no more".to_string()));
        drop(links.pop());
        let error = links[1].receive(2, Kind::Part).unwrap_err();
        assert_eq!(error.to_string(), "worker 2: data: no more");
        // Worker 1 passes it on, and worker 0 hears of it when it sends too.
        links[1].fail(&error);
        assert_eq!(links[0].receive(1, Kind::Sum).unwrap_err().to_string(), "worker 2: data: no more");
        assert_eq!(links[0].send(2, Kind::Part).unwrap_err().to_string(), "worker 2: data: no more");
    }

    #[test]
    fn what_was_cut_off_is_an_error() {
        let whole = message(&[5; 9]);
        assert_eq!(received(&whole).unwrap(), [5; 9]);
        assert!((0..whole.len()).all(|length| is_of_worker_0(received(&whole[..length]))));
        assert!(is_of_worker_0(received(&[whole.as_slice(), &[0]].concat())));
    }

    proptest! {
        #[test]
        fn a_changed_bit_anywhere_is_an_error(content in prop::collection::vec(any::<u8>(), 0..200), bit in any::<prop::sample::Index>()) {
            let mut bytes = message(&content);
            let bit = bit.index(8 * bytes.len());
            bytes[bit / 8] ^= 1 << (bit % 8);
            prop_assert!(is_of_worker_0(received(&bytes)));
        }

        #[test]
        fn any_other_bytes_are_an_error(bytes in prop::collection::vec(any::<u8>(), 0..100), has_magic in any::<bool>()) {
            let bytes = if has_magic { [MAGIC.as_slice(), &bytes].concat() } else { bytes };
            prop_assert!(is_of_worker_0(received(&bytes)));
        }
    }
}
