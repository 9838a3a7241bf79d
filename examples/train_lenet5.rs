//! Trains LeNet-5 on handwritten digits and writes its weights.
//!
//! `cargo run --release --example train_lenet5 DIR [EPOCHS]`, DIR with the four IDX files of MNIST; without arguments
//! one epoch on the test images that come with the repository, which is enough to see it learn.

use std::path::Path;

use cnn::models;
use cnn::train::data::{Dataset, Split};
use cnn::train::metrics::Confusion;
use cnn::train::{EpochReport, Fit, Observer, Settings};

struct Print;

impl Observer for Print {
    fn epoch(&mut self, epoch: usize, report: &EpochReport, _test: &Confusion) {
        let EpochReport { train_loss, test_accuracy, train_images_per_s, .. } = report;
        println!("epoch {epoch}: loss {train_loss:.4}, accuracy {test_accuracy:.4}, {train_images_per_s:.0} images/s");
    }
}

fn main() -> anyhow::Result<()> {
    let directory = std::env::args().nth(1);
    let (train, test) = match &directory {
        Some(path) => {
            let path = Path::new(path);
            (Dataset::open(path, Split::Train)?, Dataset::open(path, Split::Test)?)
        }
        None => {
            let slice = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/mnist-1000");
            let slice = Dataset::open(&slice, Split::Test)?;
            (slice.clone(), slice)
        }
    };
    let epochs = std::env::args().nth(2).map_or(Ok(if directory.is_some() { 12 } else { 4 }), |text| text.parse())?;

    let model = models::find("lenet5")?;
    let (backend, network) = (cnn::backend("auto")?, model.network()?);
    let fit = Fit {
        backend: backend.as_ref(),
        network: &network,
        preprocess: model.preprocess(),
        train: &train,
        test: &test,
        settings: Settings { epochs, ..Settings::default() },
        save: None,
    };
    let done = fit.run(&mut Print)?;
    let path = std::env::temp_dir().join("lenet5.safetensors");
    done.write_weights(&path)?;
    println!("wrote {}", path.display());
    Ok(())
}
