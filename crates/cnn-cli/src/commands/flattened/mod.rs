//! `cnn bench flattened`: the tables and figures of "Flattened convolutional neural networks for feedforward acceleration" (Jin,
//! Dundar and Culurciello 2015), as this machine has them. One file a part.

mod figure4;
mod figure5;
mod figure6;
mod figure7;
mod filters;
mod layer;
mod table1;
mod table2;
mod turns;

use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};
use clap::{Args, ValueEnum};

use crate::output::Output;
use layer::Kind;

/// Makes the tables and figures of the paper on flattened networks (2015) for this machine: CSV files, and figures as SVG or PNG.
#[derive(Args)]
pub(crate) struct Flattened {
    /// Which of them.
    #[arg(long, value_enum, default_value = "figure7")]
    part: Part,
    /// The folder that files are written to.
    #[arg(long, value_name = "FOLDER", default_value = "flattened")]
    output: PathBuf,
    /// Of what is timed or trained: auto, cpu, ocl, ocl:N for the device of this number, ocl:NAME for one whose name has this in
    /// it, or reference.
    #[arg(long, default_value = "auto")]
    backend: String,
    /// Threads of the cpu backend; the physical cores otherwise.
    #[arg(long)]
    threads: Option<usize>,
    /// Images at a time: 128 for figure7, 16 for figure6, 64 for table2, unless told otherwise.
    #[arg(long)]
    batch: Option<usize>,
    /// Rows and columns of the images of figures 6 and 7.
    #[arg(long, value_name = "PIXELS", value_delimiter = ',', default_values_t = [16, 32, 48, 64, 80])]
    sizes: Vec<usize>,
    /// The weights that figure4 shows the first layer of, a safetensors file.
    #[arg(long, value_name = "FILE")]
    weights: Option<PathBuf>,
    /// Stages of a flattened layer that figure4 multiplies out: one of 5x5 makes filters of 5x5, two make filters of 9x9.
    #[arg(long, default_value_t = 1)]
    stages: usize,
    /// The data set that table2 trains on: MNIST and others in its format, EMNIST, or CIFAR-10.
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Passes over the training images of table2.
    #[arg(long, default_value_t = 5)]
    epochs: usize,
    /// Only so many training images in table2, from the first.
    #[arg(long)]
    limit: Option<usize>,
    /// Learning rate at the start, in table2.
    #[arg(long, default_value_t = 5e-3)]
    learning_rate: f32,
    /// Train this layer on images of the first size, and tell how much memory that took: a process of its own for figure6.
    #[arg(long, value_enum, hide = true)]
    held_by: Option<Kind>,
}

#[derive(Clone, Copy, ValueEnum)]
enum Part {
    /// Parameters of the layers.
    Table1,
    /// Accuracy, images a second and memory of both networks on --data, trained alike.
    Table2,
    /// The first layer's filters in --weights.
    Figure4,
    /// The share of the parameters that is left, by the growth in channels.
    Figure5,
    /// Memory of a layer by image size: by formulas, and as measured in training.
    Figure6,
    /// Speed-up of a layer by image size, forward and backward.
    Figure7,
}

impl Flattened {
    pub(crate) fn run(&self, output: &Output) -> anyhow::Result<()> {
        ensure!(self.batch != Some(0) && self.stages > 0, "--batch and --stages must be at least 1");
        ensure!(!self.sizes.contains(&0), "--sizes must be at least 1");
        if let Some(kind) = self.held_by {
            return figure6::hold(output, self, kind);
        }
        let folder = &self.output;
        std::fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
        match self.part {
            Part::Table1 => table1::run(output, folder),
            Part::Table2 => table2::run(output, self),
            Part::Figure4 => figure4::run(output, folder, (self.weights()?, self.stages)),
            Part::Figure5 => figure5::run(output, folder),
            Part::Figure6 => figure6::run(output, self),
            Part::Figure7 => figure7::run(output, self),
        }
    }

    fn weights(&self) -> anyhow::Result<&Path> {
        match &self.weights {
            Some(path) => Ok(path),
            None => bail!("figure4 shows trained filters; pass --weights FILE.safetensors"),
        }
    }

    /// The words for a child process that works on the same backend.
    fn backend_words(&self) -> Vec<String> {
        let threads = self.threads.map(|threads| format!("--threads={threads}"));
        [format!("--backend={}", self.backend)].into_iter().chain(threads).collect()
    }
}
