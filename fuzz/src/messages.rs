//! What a worker makes of bytes from another one: as a message, and as the content of a whole one.

use cnn::Network;
use cnn::layers::{Flatten, Linear};
use cnn::models::Preprocess;
use cnn::train::data::Dataset;
use cnn::train::parallel::{Compression, Kind, Link, Thread, Transport, Worker, threads};
use cnn::train::{Checkpoint, Error, Fit, Result, Settings, Silent};
use cnn_core::Reference;

const KINDS: [Kind; 6] = [Kind::Introduction, Kind::Part, Kind::Sum, Kind::Notice, Kind::Values, Kind::Failure];

/// Receives the bytes as a message of each kind; then whole messages of each kind that hold them, of which workers read
/// introductions and failures.
pub fn message(bytes: &[u8]) {
    for kind in KINDS {
        match received(bytes, kind) {
            Ok(content) => assert_eq!(sent(&content, kind), bytes),
            Err(error) => assert!(is_of_a_worker(&error), "{error}"),
        }
        match received(&sent(bytes, kind), kind) {
            Ok(content) => assert_eq!(content, bytes),
            Err(error) => assert!(kind == Kind::Failure && is_of_a_worker(&error), "{error}"),
        }
    }
    let error = introduced(bytes).expect_err("nobody is there to train with");
    assert!(is_of_a_worker(&error), "{error}");
}

fn is_of_a_worker(error: &Error) -> bool {
    matches!(error, Error::Worker { .. })
}

fn ends() -> [Thread; 2] {
    threads(2).try_into().expect("two ends")
}

/// The bytes of the first message that worker 0 sends.
fn sent(content: &[u8], kind: Kind) -> Vec<u8> {
    let [zero, mut one] = ends();
    let mut link = Link::new(Box::new(zero));
    let fill = |bytes: &mut [u8]| {
        bytes.copy_from_slice(content);
        Ok(())
    };
    link.write(content.len(), fill).and_then(|()| link.send(1, kind)).expect("worker 1 is there");
    let mut message = Vec::new();
    one.receive(0, &mut message).expect("a message came");
    message
}

/// What worker 1 makes of bytes from worker 0.
fn received(message: &[u8], kind: Kind) -> Result<Vec<u8>> {
    let [mut zero, one] = ends();
    zero.send(1, message)?;
    Link::new(Box::new(one)).receive(0, kind).map(<[u8]>::to_vec)
}

/// What comes of a training with a worker 0 that introduces itself by this content, and ends when it has heard the other.
fn introduced(content: &[u8]) -> Result<Checkpoint> {
    let [mut zero, one] = ends();
    zero.send(1, &sent(content, Kind::Introduction))?;
    std::thread::scope(|scope| {
        scope.spawn(move || zero.receive(1, &mut Vec::new()));
        let mut net = Network::builder("line", [1, 28, 28]);
        net.push("flatten", Flatten)?;
        net.push("fc", Linear::new(2))?;
        let (network, images) = (&net.finish()?, &Dataset::new([1, 28, 28], vec![9; 2 * 784], vec![0, 1])?);
        let (backend, preprocess) = (&Reference::new(), &Preprocess::MNIST_BARE);
        let settings = Settings { batch: 2, epochs: 1, ..Settings::default() };
        let fit = Fit { backend, network, preprocess, train: images, test: images, settings, save: None };
        Worker::new(Box::new(one), Compression::default())?.run(&fit, &mut Silent)
    })
}
