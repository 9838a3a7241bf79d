//! `cnn bench flattened`: the tables and figures of "Flattened convolutional neural networks for feedforward acceleration" (Jin,
//! Dundar and Culurciello 2015), as this machine has them. One file a part.

mod figure5;
mod figure7;
mod layer;
mod sheet;
mod table1;
mod turns;

use std::path::PathBuf;

use anyhow::{Context, ensure};
use clap::{Args, ValueEnum};

use crate::output::Output;

/// Makes the tables and figures of the paper on flattened networks (2015) for this machine: CSV files, and figures as SVG.
#[derive(Args)]
pub(crate) struct Flattened {
    /// Which of them.
    #[arg(long, value_enum, default_value = "figure7")]
    part: Part,
    /// The folder that files are written to.
    #[arg(long, value_name = "FOLDER", default_value = "flattened")]
    output: PathBuf,
    /// Of what is timed: auto, cpu, ocl, ocl:N for the device of this number, ocl:NAME for one whose name has this in
    /// it, or reference.
    #[arg(long, default_value = "auto")]
    backend: String,
    /// Threads of the cpu backend; the physical cores otherwise.
    #[arg(long)]
    threads: Option<usize>,
    /// Images at a time: 128 for figure7 unless told otherwise.
    #[arg(long)]
    batch: Option<usize>,
    /// Rows and columns of the images of figure7.
    #[arg(long, value_name = "PIXELS", value_delimiter = ',', default_values_t = [16, 32, 48, 64, 80])]
    sizes: Vec<usize>,
}

#[derive(Clone, Copy, ValueEnum)]
enum Part {
    /// Parameters of the layers.
    Table1,
    /// The share of the parameters that is left, by the growth in channels.
    Figure5,
    /// Speed-up of a layer by image size, forward and backward.
    Figure7,
}

impl Flattened {
    pub(crate) fn run(&self, output: &Output) -> anyhow::Result<()> {
        ensure!(self.batch != Some(0), "--batch must be at least 1");
        ensure!(!self.sizes.contains(&0), "--sizes must be at least 1");
        let folder = &self.output;
        std::fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
        match self.part {
            Part::Table1 => table1::run(output, folder),
            Part::Figure5 => figure5::run(output, folder),
            Part::Figure7 => figure7::run(output, self),
        }
    }
}
