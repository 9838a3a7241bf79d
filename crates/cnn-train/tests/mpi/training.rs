//! Data parallelism over processes: what it learns, and what becomes of a training that was killed.

use std::path::PathBuf;
use std::process::Output;

use cnn_cpu::Cpu;
use cnn_models::Preprocess;
use cnn_train::data::Dataset;
use cnn_train::parallel::{Compression, Mpi, Processes, Transport, Worker, on_threads};
use cnn_train::{Checkpoint, Fit, Observer, Result, Settings, Silent};

const EPOCHS: usize = 3;

/// Shapes and stripes, a few of each class.
fn images(count: usize) -> Dataset {
    let pixel = |i: usize| (i * 7919 % 251) as u8 / (1 + (i / 784) % 10) as u8;
    let pixels = (0..count * 784).map(pixel).collect();
    Dataset::new([1, 28, 28], pixels, (0..count).map(|i| (i % 10) as u32).collect()).unwrap()
}

/// LeNet-5, one worker's part of it; goes on from the file where there is one, and writes it where that is wanted.
fn train(
    transport: Box<dyn Transport>,
    data: &Dataset,
    (from, save): (Option<&Checkpoint>, Option<PathBuf>),
    observer: &mut dyn Observer,
) -> Result<Checkpoint> {
    let network = cnn_models::find("lenet5")?.network()?;
    let settings = Settings { epochs: EPOCHS, batch: 20, ..Settings::default() };
    let (backend, preprocess) = (&Cpu::with_threads(1)?, &Preprocess::MNIST);
    let fit = Fit { backend, network: &network, preprocess, train: data, test: data, settings, save };
    let mut worker = Worker::new(transport, Compression::find("dynamic-tree", true)?)?;
    match from {
        Some(checkpoint) => worker.resume(&fit, checkpoint, observer),
        None => worker.run(&fit, observer),
    }
}

/// What threads learn that nobody disturbs.
fn on_so_many_threads(workers: usize) -> Checkpoint {
    on_threads(workers, |end| train(Box::new(end), &images(60), (None, None), &mut Silent)).unwrap()
}

fn bits(checkpoint: &Checkpoint) -> Vec<(String, Vec<u32>)> {
    let bits = |values: &[f32]| values.iter().map(|value| value.to_bits()).collect();
    checkpoint.weights.iter().map(|(name, view)| (name.to_string(), bits(&view.to_f32()))).collect()
}

pub(crate) fn as_threads_do(processes: Processes, mpi: Mpi) {
    let done = train(Box::new(mpi), &images(60), (None, None), &mut Silent).unwrap();
    if processes.rank() == 0 {
        assert!(bits(&done) == bits(&on_so_many_threads(processes.workers())));
    }
    processes.leave().unwrap();
}

fn file() -> PathBuf {
    PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("killed_in_training.safetensors")
}

/// Kills its process in the last epoch.
struct Killer;

impl Observer for Killer {
    fn batch(&mut self, epoch: usize, images: usize, _loss: f64) {
        if epoch == EPOCHS - 1 && images > 20 {
            super::kill();
        }
    }
}

/// Process 0 is, which hears of epochs; where another one left a file, it goes on from that.
pub(crate) fn killed(processes: Processes, mpi: Mpi) {
    match std::env::var_os("GO_ON") {
        None => {
            train(Box::new(mpi), &images(60), (None, Some(file())), &mut Killer).unwrap();
        }
        Some(_) => {
            let left = Checkpoint::read(&file()).unwrap();
            assert_eq!(left.record.epochs.len(), EPOCHS - 1);
            let done = train(Box::new(mpi), &images(60), (Some(&left), None), &mut Silent).unwrap();
            assert!(processes.rank() != 0 || bits(&done) == bits(&on_so_many_threads(processes.workers())));
        }
    }
    processes.leave().unwrap();
}

/// The first run ends with the name of the rank; a second one ends with the weights of a training that was not disturbed.
pub(crate) fn goes_on(output: &Output) {
    let text = super::printed(output);
    assert!(!output.status.success() && text.contains("rank 0"), "{text}");
    super::succeeds(&super::mpirun(2, "killed_in_training", &["-x", "GO_ON=1"]));
    std::fs::remove_file(file()).unwrap();
}

/// Found before the first step, by all, with the one that differs.
pub(crate) fn data_that_differ(processes: Processes, mpi: Mpi) {
    let count = if processes.rank() == 1 { 50 } else { 60 };
    let error = train(Box::new(mpi), &images(count), (None, None), &mut Silent).unwrap_err().to_string();
    assert!(error.contains("worker "), "{error}");
    processes.leave().unwrap();
}
