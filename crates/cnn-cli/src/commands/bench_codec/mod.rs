//! `cnn bench codec`: how long the codecs of gradients take, beside the memory's bandwidth, and how large their errors are, as Table
//! 1 of "8-bit approximations for parallelism in deep learning" (Dettmers 2016) has them.

mod training;

use std::collections::BTreeMap;
use std::hint::black_box;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, bail, ensure};
use clap::Args;
use cnn::Ocl;
use cnn::opencl::OclCodec;
use cnn::train::codec::{self, Codec, Scaling};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rayon::{ThreadPool, ThreadPoolBuilder};
use serde::Serialize;

use crate::output::{Output, table};

/// Times the codecs of gradients and measures their errors, as a paper on 8-bit approximations (2016) does.
#[derive(Args)]
pub(crate) struct Codecs {
    /// Numbers of each distribution that errors are measured on.
    #[arg(long, default_value_t = 25_000_000)]
    numbers: usize,
    /// Numbers that are encoded and decoded at a time.
    #[arg(long, default_value_t = 64_000_000)]
    timed: usize,
    /// Threads; all that the machine runs at once otherwise.
    #[arg(long)]
    threads: Option<usize>,
    /// Runs of which the fastest counts.
    #[arg(long, default_value_t = 5)]
    reps: usize,
    /// Which codecs; all otherwise.
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    types: Vec<String>,
    /// What the eight-bit types divide by: tensor or block, the largest magnitude of all numbers or of 2,048; or a power of ten, such as 1.
    /// Each type as in the paper otherwise.
    #[arg(long, allow_hyphen_values = true)]
    scaling: Option<Scaling>,
    /// Where the eight-bit types are encoded: cpu, or an OpenCL device, as ocl or ocl:N. Times there include copies to it and back.
    #[arg(long, default_value = "cpu")]
    backend: String,
    /// A data set in the format of MNIST: train on it for an epoch, and measure errors on gradients and activations too.
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Seed of the numbers.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

/// A distribution of the paper's table.
struct Distribution {
    name: &'static str,
    /// `None` is U(0, 1), else it is normal.
    deviation: Option<f32>,
    /// How many powers of ten the paper's exponent offset is larger by.
    offset: i8,
}

const DISTRIBUTIONS: [Distribution; 4] = [
    Distribution { name: "U(0,1)", deviation: None, offset: 0 },
    Distribution { name: "N(0,1)", deviation: Some(1.0), offset: 0 },
    Distribution { name: "N(0,10^2)", deviation: Some(10.0), offset: 1 },
    Distribution { name: "N(0,0.2^2)", deviation: Some(0.2), offset: 0 },
];

#[derive(Serialize)]
struct Row {
    name: String,
    encode_ns: f64,
    decode_ns: f64,
    encode_bandwidth_fraction: f64,
    decode_bandwidth_fraction: f64,
    /// The lower of the two.
    bandwidth_fraction: f64,
    relative_error_percent: BTreeMap<&'static str, f64>,
    mean_absolute_error: BTreeMap<&'static str, f64>,
}

impl Codecs {
    pub(crate) fn run(&self, output: &Output) -> anyhow::Result<()> {
        let counts = [self.numbers, self.timed, self.reps, self.threads.unwrap_or(1)];
        ensure!(!counts.contains(&0), "--numbers, --timed, --reps and --threads must be at least 1");
        let device = self.device()?;
        let names: Vec<String> = match self.types.is_empty() {
            true => codec::NAMES
                .into_iter()
                .filter(|name| device.is_none() || codec::table(name).is_some())
                .map(str::to_string)
                .collect(),
            false => self.types.clone(),
        };
        // Before the long work: names that there are.
        names.iter().try_for_each(|name| self.codec(device.as_ref(), name, 0).map(|_| ()))?;
        let pool = ThreadPoolBuilder::new().num_threads(self.threads.unwrap_or(0)).build()?;
        let mut timing = Timing::new(&pool, self)?;
        output.say(format!(
            "{} threads; {:.1} GB/s copying {} numbers",
            pool.current_num_threads(),
            timing.bandwidth,
            self.timed
        ));
        let mut rows = names
            .iter()
            .map(|name| timing.row(name, self.codec(device.as_ref(), name, 0)?.as_ref()))
            .collect::<anyhow::Result<Vec<_>>>()?;
        let bandwidth = timing.bandwidth;
        drop(timing);
        for distribution in &DISTRIBUTIONS {
            let values = sample(distribution.deviation, self.numbers, self.seed)?;
            for row in &mut rows {
                let codec = self.codec(device.as_ref(), &row.name, distribution.offset)?;
                let [absolute, relative] = errors(&pool, codec.as_ref(), &values)?;
                row.relative_error_percent.insert(distribution.name, 100.0 * relative);
                row.mean_absolute_error.insert(distribution.name, absolute);
            }
        }
        show(output, &rows);
        let training = match &self.data {
            Some(folder) => training::rows(output, &pool, (folder, self.seed))?,
            None => Vec::new(),
        };
        output.finish(&serde_json::json!({
            "backend": self.backend,
            "threads": pool.current_num_threads(),
            "numbers": self.numbers,
            "timed_numbers": self.timed,
            "bandwidth_gb_per_s": bandwidth,
            "types": rows,
            "training": training,
        }))
    }

    /// The codec, its exponent offset where the paper has it for N(0, 1), plus `more`.
    fn codec(&self, device: Option<&Ocl>, name: &str, more: i8) -> anyhow::Result<Arc<dyn Codec>> {
        if codec::table(name).is_none() && device.is_none() {
            return Ok(codec::find(name)?);
        }
        let scaling = self.scaling_of(name, more);
        Ok(match device {
            Some(device) => OclCodec::find(device, name, scaling)?,
            None => codec::find_scaled(name, scaling)?,
        })
    }

    /// What an eight-bit type divides by, an exponent offset larger by `more`.
    fn scaling_of(&self, name: &str, more: i8) -> Scaling {
        match (self.scaling, name) {
            (Some(scaling), _) => scaling,
            // From 0 on, so that N(0, 10^2) has the paper's 10^2.
            (None, codec::mantissa::NAME) => Scaling::Offset(2 * more),
            (None, codec::static_tree::NAME) => Scaling::Offset(1 + more),
            (None, _) => Scaling::Tensor,
        }
    }

    /// The OpenCL device that `--backend` asks for.
    fn device(&self) -> anyhow::Result<Option<Ocl>> {
        match self.backend.split_once(':').unwrap_or((&self.backend, "")) {
            ("cpu", "") => Ok(None),
            ("ocl", selector) => Ok(Some(Ocl::new(selector)?)),
            _ => bail!("codecs run on cpu, ocl and ocl:N, not on {:?}", self.backend),
        }
    }

    /// How often encoding reads each number: to find the largest of all takes a pass of its own.
    fn reads(&self, name: &str) -> f64 {
        match codec::table(name).is_some() && self.scaling_of(name, 0) == Scaling::Tensor {
            true => 2.0,
            false => 1.0,
        }
    }
}

/// The arrays that are worked on, and the memory's bandwidth.
struct Timing<'a> {
    pool: &'a ThreadPool,
    command: &'a Codecs,
    values: Vec<f32>,
    back: Vec<f32>,
    bytes: Vec<u8>,
    bandwidth: f64,
}

impl<'a> Timing<'a> {
    fn new(pool: &'a ThreadPool, command: &'a Codecs) -> anyhow::Result<Self> {
        let some = sample(Some(1.0), command.timed.min(1 << 20), command.seed)?;
        let mut values = room(command.timed)?;
        values.chunks_mut(some.len()).for_each(|part| part.copy_from_slice(&some[..part.len()]));
        let mut back = room(command.timed)?;
        let seconds = fastest(command.reps, || {
            copy(pool, &values, &mut back);
            Ok(())
        })?;
        let bandwidth = 8.0 * command.timed as f64 / seconds / 1e9;
        Ok(Timing { pool, command, values, back, bytes: Vec::new(), bandwidth })
    }

    fn row(&mut self, name: &str, codec: &dyn Codec) -> anyhow::Result<Row> {
        let Timing { pool, command, values, back, bytes, bandwidth } = self;
        let encoding = fastest(command.reps, || Ok(codec.encode(pool, values, bytes)?))?;
        let decoding = fastest(command.reps, || Ok(codec.decode(pool, bytes, back)?))?;
        let count = values.len() as f64;
        let encoded = bytes.len() as f64 / count;
        let [encode_ns, decode_ns] = [encoding, decoding].map(|seconds| 1e9 * seconds / count);
        let encode_bandwidth_fraction = (4.0 * command.reads(name) + encoded) / encode_ns / *bandwidth;
        let decode_bandwidth_fraction = (4.0 + encoded) / decode_ns / *bandwidth;
        Ok(Row {
            name: name.to_string(),
            encode_ns,
            decode_ns,
            encode_bandwidth_fraction,
            decode_bandwidth_fraction,
            bandwidth_fraction: encode_bandwidth_fraction.min(decode_bandwidth_fraction),
            relative_error_percent: BTreeMap::new(),
            mean_absolute_error: BTreeMap::new(),
        })
    }
}

/// Memory for so many numbers.
fn room(count: usize) -> anyhow::Result<Vec<f32>> {
    let mut room = Vec::new();
    room.try_reserve_exact(count).with_context(|| format!("no memory for {count} numbers"))?;
    room.resize(count, 0.0);
    Ok(room)
}

/// Each thread copies a part.
fn copy(pool: &ThreadPool, from: &[f32], to: &mut [f32]) {
    let part = from.len().div_ceil(pool.current_num_threads());
    pool.scope(|scope| {
        for (to, from) in to.chunks_mut(part).zip(from.chunks(part)) {
            scope.spawn(move |_| black_box(to).copy_from_slice(from));
        }
    });
}

/// Seconds of the fastest run, the first of which does not count.
fn fastest(reps: usize, mut work: impl FnMut() -> anyhow::Result<()>) -> anyhow::Result<f64> {
    work()?;
    let mut fastest = f64::INFINITY;
    for _ in 0..reps {
        let start = Instant::now();
        work()?;
        fastest = fastest.min(start.elapsed().as_secs_f64());
    }
    Ok(fastest)
}

/// Numbers of a distribution; normal ones by the transformation of Box and Muller.
fn sample(deviation: Option<f32>, count: usize, seed: u64) -> anyhow::Result<Vec<f32>> {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    // Never 0, nor 1.
    let mut uniform = || (f64::from(random.next_u32()) + 0.5) / (f64::from(u32::MAX) + 1.0);
    let mut values = room(count)?;
    for pair in values.chunks_mut(2) {
        let (a, b) = (uniform(), uniform());
        let both = match deviation {
            None => [a, b],
            Some(deviation) => {
                let (radius, angle) = (f64::from(deviation) * (-2.0 * a.ln()).sqrt(), std::f64::consts::TAU * b);
                [radius * angle.cos(), radius * angle.sin()]
            }
        };
        pair.iter_mut().zip(both).for_each(|(value, drawn)| *value = drawn as f32);
    }
    Ok(values)
}

/// The mean of |difference|, and of |difference / number| over numbers that are not 0.
fn errors(pool: &ThreadPool, codec: &dyn Codec, values: &[f32]) -> anyhow::Result<[f64; 2]> {
    let (mut bytes, mut back) = (Vec::new(), room(values.len())?);
    codec.encode(pool, values, &mut bytes)?;
    codec.decode(pool, &bytes, &mut back)?;
    let (mut absolute, mut relative, mut counted) = (0.0, 0.0, 0u64);
    for (&value, &back) in values.iter().zip(&back) {
        let (value, difference) = (f64::from(value), (f64::from(back) - f64::from(value)).abs());
        absolute += difference;
        if value != 0.0 {
            relative += difference / value.abs();
            counted += 1;
        }
    }
    Ok([absolute / values.len() as f64, relative / counted.max(1) as f64])
}

fn show(output: &Output, rows: &[Row]) {
    let times = ["", "encode, ns", "decode, ns", "of bandwidth, %", "of bandwidth, %"];
    let header: Vec<&str> = times.into_iter().chain(DISTRIBUTIONS.iter().map(|at| at.name)).collect();
    let mut shown = table(&header, 1..header.len());
    for row in rows {
        let times = [row.encode_ns, row.decode_ns].map(|ns| format!("{ns:.3}"));
        let shares = [row.encode_bandwidth_fraction, row.decode_bandwidth_fraction];
        let shares = shares.map(|share| format!("{:.0}", 100.0 * share));
        let errors = DISTRIBUTIONS.iter().map(|at| format!("{:.3} %", row.relative_error_percent[at.name]));
        shown.add_row(std::iter::once(row.name.clone()).chain(times).chain(shares).chain(errors));
    }
    output.say(shown.trim_fmt());
}
