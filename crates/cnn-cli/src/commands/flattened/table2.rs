//! Table 2: the dense network and its twin, each trained by a process of its own with the same settings: accuracy, images a second,
//! and the most memory that the process held.

use anyhow::{Context, bail};
use cnn::models;
use cnn::train::data::{Dataset, Split};
use serde::Serialize;
use serde_json::Value;

use super::Flattened;
use crate::commands::child;
use crate::output::Output;
use crate::sheet::{Sheet, cell};

const BATCH: usize = 64;

/// The networks for a number of channels, with the paper's accuracy on the data set that it has for it.
struct Pair {
    names: [&'static str; 2],
    paper: [f64; 2],
}

const MNIST: Pair = Pair { names: ["baseline-mnist", "flattened-mnist"], paper: [0.9962, 0.9956] };
const CIFAR: Pair = Pair { names: ["baseline-cifar", "flattened-cifar"], paper: [0.8642, 0.8704] };

#[derive(Serialize)]
struct Row {
    model: &'static str,
    test_accuracy: Option<f64>,
    train_images_per_s: Option<f64>,
    peak_rss_mib: Option<f64>,
    paper_accuracy: f64,
}

pub(super) fn run(output: &Output, command: &Flattened) -> anyhow::Result<()> {
    let Some(folder) = &command.data else { bail!("table2 trains on a data set; pass --data DIR") };
    let data = Dataset::open(folder, Split::Train)?;
    let pair = match data.channels() {
        Some(1) => MNIST,
        Some(3) => CIFAR,
        _ => bail!("{}: table2 takes a data set in the format of MNIST or CIFAR-10", folder.display()),
    };
    data.check(&models::find(pair.names[0])?.network()?)?;
    drop(data);
    let folder = folder.to_str().context("--data is no UTF-8")?;
    let mut rows = Vec::new();
    for (model, paper_accuracy) in pair.names.into_iter().zip(pair.paper) {
        output.say(format!("{model}:"));
        let result = child::run(output, &words(command, model, folder))?;
        let number = |key: &str| result.get(key).and_then(Value::as_f64);
        rows.push(Row {
            model,
            test_accuracy: number("test_accuracy"),
            train_images_per_s: number("train_images_per_s"),
            peak_rss_mib: number("peak_rss_mib"),
            paper_accuracy,
        });
    }
    let ratio = |value: fn(&Row) -> Option<f64>| Some(value(&rows[1])? / value(&rows[0])?);
    let (speed, memory) = (ratio(|row| row.train_images_per_s), ratio(|row| row.peak_rss_mib));
    let mut sheet = Sheet::new(&["model", "accuracy %", "images/s", "peak MiB", "paper's accuracy %"]);
    for row in &rows {
        let percent = row.test_accuracy.map(|accuracy| 100.0 * accuracy);
        let numbers = [percent, row.train_images_per_s, row.peak_rss_mib, Some(100.0 * row.paper_accuracy)];
        sheet.add([row.model.to_string()].into_iter().chain(numbers.map(cell)));
    }
    sheet.add([String::from("flattened / dense"), String::new(), cell(speed), cell(memory), String::new()]);
    sheet.print(output);
    let files = [sheet.write(&command.output, "table2")?];
    output.finish(&serde_json::json!({
        "epochs": command.epochs,
        "models": rows,
        "images_per_s_ratio": speed,
        "peak_rss_ratio": memory,
        "files": files,
    }))
}

fn words(command: &Flattened, model: &str, folder: &str) -> Vec<String> {
    let settings = [
        ("--data", Some(folder.to_string())),
        ("--epochs", Some(command.epochs.to_string())),
        ("--batch", Some(command.batch.unwrap_or(BATCH).to_string())),
        ("--learning-rate", Some(command.learning_rate.to_string())),
        ("--limit", command.limit.map(|limit| limit.to_string())),
    ];
    let given = settings.into_iter().filter_map(|(name, value)| Some(format!("{name}={}", value?)));
    ["train".to_string(), model.to_string()].into_iter().chain(given).chain(command.backend_words()).collect()
}
