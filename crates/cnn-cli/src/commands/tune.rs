//! `cnn tune`

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use clap::Args;
use cnn::opencl::{self, Outcome, Tried, Tuning};
use cnn::{Backend, CompileOptions, Ocl, Tensor, Weights};
use indicatif::{ProgressBar, ProgressStyle};

use crate::load;
use crate::output::Output;

/// Finds the best parameters of the OpenCL kernels on a device, and writes them to the user's file, where `ocl` finds them.
#[derive(Args)]
pub(crate) struct Tune {
    /// ocl, ocl:N or ocl:NAME.
    #[arg(long, default_value = "ocl")]
    backend: String,
    /// A network to run with the parameters before and after.
    #[arg(long)]
    model: Option<String>,
    /// Seconds that the search may take for each group of parameters.
    #[arg(long, default_value_t = 60)]
    limit: u64,
    /// Where to write; the user's file otherwise.
    #[arg(long, value_name = "FILE")]
    save: Option<PathBuf>,
}

impl Tune {
    pub(crate) fn run(&self, output: &Output) -> anyhow::Result<()> {
        let Some(device) = self.backend.strip_prefix("ocl").and_then(|rest| rest.strip_prefix(':').or(Some(rest)))
        else {
            bail!("`{}` has nothing to tune; name ocl, ocl:N or ocl:NAME", self.backend);
        };
        let file = self.save.clone().or_else(load::tuning_file).context("no home folder; name a file with --save")?;
        // Tuned from what is known of the device, not from an earlier search.
        let ocl = Ocl::builder().build(device)?;
        output.say(format!("{} ({})", ocl.device().name, ocl.found().traits.architecture));
        let before = self.model.as_deref().map(|model| time(&ocl, model)).transpose()?;
        let bar = ProgressBar::new(0).with_style(ProgressStyle::with_template("{wide_bar} {pos}/{len}  {msg}")?);
        let mut skipped = 0;
        let limit = Duration::from_secs(self.limit);
        let tuning = opencl::tune(&ocl, limit, |tried| {
            if tried.number == 0 {
                say(output, &bar, tried.subject.to_string());
            }
            bar.set_length(tried.candidates as u64);
            bar.set_position(tried.number as u64 + 1);
            match tried.outcome {
                Outcome::Timed(time) if tried.is_best => say(output, &bar, describe(tried, *time)),
                Outcome::Timed(_) => {}
                Outcome::Skipped(reason) => {
                    skipped += 1;
                    let reason = reason.lines().next().unwrap_or_default();
                    say(output, &bar, format!("  skipped: {}: {reason}", parameters(tried.tuning)));
                }
            }
        })?;
        bar.finish_and_clear();
        opencl::write_tuning(&file, &ocl, &tuning).with_context(|| file.display().to_string())?;
        output.say(format!("{skipped} candidates were skipped; the rest agrees with the reference"));
        output.say(format!("wrote {}", file.display()));
        let after = self.model.as_deref().map(|model| time(&ocl.with_tuning(tuning.clone())?, model)).transpose()?;
        if let (Some(model), Some(before), Some(after)) = (&self.model, before, after) {
            output.say(format!("{model}: {before:.3} ms before, {after:.3} ms after"));
        }
        output.finish(&serde_json::json!({
            "backend": "ocl",
            "device": ocl.device().name,
            "file": file,
            "tuning": tuning,
            "skipped": skipped,
            "ms_before": before,
            "ms_after": after,
        }))
    }
}

fn say(output: &Output, bar: &ProgressBar, line: String) {
    bar.suspend(|| output.say(line));
}

fn describe(tried: &Tried<'_>, time: Duration) -> String {
    let (number, all) = (tried.number + 1, tried.candidates);
    format!("  {:.3} ms  {}  ({number} of {all})", 1e3 * time.as_secs_f64(), parameters(tried.tuning))
}

fn parameters(tuning: &Tuning) -> String {
    let Tuning { lanes, rows, vectors, tile_group, work_group, linear_parts, winograd_bytes, .. } = tuning;
    let work_group = work_group.map_or("the driver's".to_string(), |group| format!("{group:?}"));
    format!(
        "lanes {lanes}, tile {rows} x {vectors}, group {tile_group:?}, work-group {work_group}, linear in \
         {linear_parts}, winograd {} MiB",
        winograd_bytes >> 20,
    )
}

/// The fastest of a few runs of a network with random weights, in milliseconds.
fn time(ocl: &Ocl, model: &str) -> anyhow::Result<f64> {
    const RUNS: usize = 5;
    let network = load::model(model)?.network()?;
    let weights = Weights::random(&network, 0)?;
    let mut session = ocl.compile(&network, &weights, &CompileOptions::default())?.session()?;
    let input = Tensor::zeros(network.input_shape().with_batch(1))?;
    let mut fastest = f64::INFINITY;
    for _ in 0..RUNS {
        let start = Instant::now();
        session.run(&input)?;
        fastest = fastest.min(1e3 * start.elapsed().as_secs_f64());
    }
    Ok(fastest)
}
