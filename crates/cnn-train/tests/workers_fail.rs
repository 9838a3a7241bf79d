//! Workers that end, differ or send nonsense: all others end too, and say which it was.

use std::path::Path;
use std::sync::Mutex;

use cnn_core::layers::{Flatten, Linear};
use cnn_core::{Network, Reference};
use cnn_models::Preprocess;
use cnn_train::data::{Dataset, Split};
use cnn_train::metrics::Confusion;
use cnn_train::parallel::{Compression, Thread, Transport, Worker, on_threads};
use cnn_train::{EpochReport, Fit, Observer, Result, Settings, Silent};

fn digits(count: usize) -> Dataset {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/data/mnist-1000");
    let mut digits = Dataset::open(&directory, Split::Test).unwrap();
    digits.truncate(count);
    digits
}

fn network(classes: usize) -> Network {
    let mut net = Network::builder("line", [1, 32, 32]);
    net.push("flatten", Flatten).unwrap();
    net.push("fc", Linear::new(classes)).unwrap();
    net.finish().unwrap()
}

/// What one worker is to do.
struct Plan {
    network: Network,
    images: usize,
    settings: Settings,
    compression: Compression,
}

fn plan() -> Plan {
    let settings = Settings { batch: 20, epochs: 2, ..Settings::default() };
    Plan { network: network(10), images: 60, settings, compression: Compression::find("dynamic-tree", true).unwrap() }
}

fn work(transport: Box<dyn Transport>, plan: &Plan, observer: &mut dyn Observer) -> Result<()> {
    let data = digits(plan.images);
    let mut worker = Worker::new(transport, plan.compression.clone())?;
    let (backend, network, settings) = (&Reference::new(), &plan.network, plan.settings.clone());
    let fit = Fit { backend, network, preprocess: &Preprocess::MNIST, train: &data, test: &data, settings, save: None };
    worker.run(&fit, observer).map(drop)
}

/// What three workers say, of which worker 1 does `other`; and what is said of all of them.
fn errors(other: impl Fn(Thread) -> Result<()> + Sync) -> (Vec<String>, String) {
    let said = Mutex::new(vec![String::new(); 3]);
    let all = on_threads(3, |end| {
        let rank = end.rank();
        let result = if rank == 1 { other(end) } else { work(Box::new(end), &plan(), &mut Silent) };
        said.lock().unwrap()[rank] = result.as_ref().err().map(ToString::to_string).unwrap_or_default();
        result
    });
    (said.into_inner().unwrap(), all.unwrap_err().to_string())
}

/// Does something to the message of this number, among all that are sent.
#[derive(Debug)]
struct Spoils {
    inner: Thread,
    number: usize,
    change: fn(&mut Vec<u8>),
}

impl Transport for Spoils {
    fn rank(&self) -> usize {
        self.inner.rank()
    }

    fn workers(&self) -> usize {
        self.inner.workers()
    }

    fn send(&mut self, to: usize, message: &[u8]) -> Result<()> {
        let mut message = message.to_vec();
        if self.number == 0 {
            (self.change)(&mut message);
        }
        self.number = self.number.wrapping_sub(1);
        self.inner.send(to, &message)
    }

    fn receive(&mut self, from: usize, message: &mut Vec<u8>) -> Result<()> {
        self.inner.receive(from, message)
    }
}

#[test]
fn a_message_that_was_changed_or_cut_off_ends_all() {
    let changes: [fn(&mut Vec<u8>); 4] = [
        |message| message[40] ^= 4,
        |message| message.truncate(35),
        |message| message.clear(),
        |message| message.extend_from_slice(&[0; 9]),
    ];
    for (i, change) in changes.into_iter().enumerate() {
        // Of the introduction, of a part, of a sum, of a later step.
        for number in [0, 2, 5, 14 + i] {
            let spoil = |inner| work(Box::new(Spoils { inner, number, change }), &plan(), &mut Silent);
            let (said, all) = errors(spoil);
            assert!(said.iter().all(|error| error.starts_with("worker 1: a message")), "{number}: {said:?}");
            assert!(all.starts_with("worker 1: a message"), "{all}");
        }
    }
}

#[test]
fn a_worker_that_is_about_to_do_something_else_is_named() {
    let others = [
        (Plan { settings: Settings { seed: 8, ..plan().settings }, ..plan() }, "seed: "),
        (Plan { settings: Settings { batch: 21, ..plan().settings }, ..plan() }, "batch: "),
        (Plan { network: network(12), ..plan() }, "parameters: "),
        (Plan { images: 59, ..plan() }, "training images: "),
        (Plan { compression: Compression::find("linear", true).unwrap(), ..plan() }, "codec: "),
        (Plan { compression: Compression::find("dynamic-tree", false).unwrap(), ..plan() }, "error feedback: "),
        (
            Plan {
                compression: Compression {
                    codec: cnn_train::codec::find("dynamic-tree").unwrap(),
                    error_feedback: true,
                },
                ..plan()
            },
            "encoding: ",
        ),
    ];
    for (other, word) in others {
        let (said, all) = errors(|end| work(Box::new(end), &other, &mut Silent));
        for (rank, error) in said.iter().enumerate() {
            // Worker 1 sees the others differ; or hears what they say of it.
            let names = if rank == 1 { "worker " } else { "worker 1: " };
            assert!(error.starts_with(names) && error.contains(word), "{error}");
        }
        assert!(all.contains(word), "{all}");
    }
}

/// Panics in the second epoch.
struct Panics;

impl Observer for Panics {
    fn epoch(&mut self, _: usize, _: &EpochReport, _: &Confusion) {
        panic!("of no use");
    }
}

#[test]
fn a_worker_that_ends_fails_or_panics_ends_all() {
    let (said, all) = errors(|end| {
        drop(end);
        Ok(())
    });
    assert!(said[0].starts_with("worker 1: ") && said[2].starts_with("worker 1: "), "{said:?}");
    assert!(all.starts_with("worker 1: has ended"), "{all}");

    let diverges = Plan { settings: Settings { epochs: 0, ..plan().settings }, ..plan() };
    let (said, all) = errors(|end| work(Box::new(end), &diverges, &mut Silent));
    assert!(said[0].starts_with("worker 1: batch and epochs"), "{said:?}");
    assert!(all.starts_with("worker 1: batch and epochs"), "{all}");

    let panicked = on_threads(3, |end| match end.rank() {
        0 => work(Box::new(end), &plan(), &mut Panics),
        _ => work(Box::new(end), &plan(), &mut Silent),
    });
    assert_eq!(panicked.unwrap_err().to_string(), "worker 0: has panicked: of no use");
}
