//! `cnn bench exchange`: how long workers take to sum gradients, by size and codec, as Figure 2 of "8-bit approximations for parallelism
//! in deep learning" (Dettmers 2016) has it for transfers between two GPUs. Over threads, or over the processes that `mpirun` started.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, anyhow, ensure};
use clap::Args;
use cnn::train::codec::{self, Codec};
use cnn::train::parallel::{Exchange, ExchangeTime, Link, Transport, threads};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rayon::{ThreadPool, ThreadPoolBuilder};
use serde::Serialize;

use crate::chart::{Scale, chart};
use crate::output::{Output, table};
use crate::processes;
use crate::sheet::{Sheet, cell};

/// Times the exchange of gradients between workers, by size and codec: Figure 2 of a paper on 8-bit approximations (2016). Started
/// by mpirun the workers are its processes.
#[derive(Args)]
pub(crate) struct Exchanges {
    /// Workers, which are threads; without mpirun.
    #[arg(long, default_value_t = 2)]
    workers: usize,
    /// Threads that each worker encodes and decodes with.
    #[arg(long, default_value_t = 1)]
    threads: usize,
    /// How many numbers are exchanged.
    #[arg(long, value_name = "COUNT", value_delimiter = ',', default_values_t = [1_000, 5_000, 20_000, 50_000, 100_000, 300_000, 1_000_000, 3_000_000, 10_000_000])]
    sizes: Vec<usize>,
    /// Which codecs; all otherwise.
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    types: Vec<String>,
    /// Exchanges of each size and codec whose median counts, after two that do not.
    #[arg(long, default_value_t = 15)]
    reps: usize,
    /// The folder that figure2.csv and figure2.svg are written to.
    #[arg(long, value_name = "FOLDER", default_value = ".")]
    figures: PathBuf,
}

/// Of a codec, by size.
#[derive(Debug, Serialize)]
struct Row {
    name: String,
    /// Of the encoded numbers that a worker sends, and receives, in an exchange between two.
    bytes: Vec<usize>,
    median_ms: Vec<f64>,
    min_ms: Vec<f64>,
    /// By itself, a number of the largest size.
    encode_ns: f64,
    decode_ns: f64,
}

impl Row {
    /// The codec's share of what [`ExchangeTime`] predicts from; links are those of `like`.
    fn time(&self, sizes: &[usize], like: ExchangeTime) -> ExchangeTime {
        // Of the largest size, where what comes with the numbers counts least.
        let largest = self.bytes.iter().zip(sizes).max_by_key(|(_, size)| **size);
        let bytes = largest.map_or(0.0, |(&bytes, &size)| bytes as f64 / size as f64);
        ExchangeTime { bytes, encode: 1e-9 * self.encode_ns, decode: 1e-9 * self.decode_ns, ..like }
    }
}

impl Exchanges {
    pub(crate) fn run(&self, output: &Output) -> anyhow::Result<()> {
        let counts = [self.workers, self.threads, self.reps];
        ensure!(!counts.contains(&0), "--workers, --threads and --reps must be at least 1");
        ensure!(!self.sizes.is_empty() && !self.sizes.contains(&0), "--sizes are from 1 up");
        let codecs = self.codecs()?;
        if processes::started()?.is_some() {
            return processes::run(|mpi| {
                let (output, workers) = (output.of_rank(mpi.rank()), mpi.workers());
                let rows = self.rows(mpi, &codecs)?;
                match output.is_silent() {
                    true => Ok(()),
                    false => self.show(&output, ("processes", workers), &rows),
                }
            });
        }
        self.show(output, ("threads", self.workers), &self.rows_on_threads(&codecs)?)
    }

    /// What the first of the workers measures.
    fn rows_on_threads(&self, codecs: &[Arc<dyn Codec>]) -> anyhow::Result<Vec<Row>> {
        let mut rows = std::thread::scope(|scope| {
            let start = |end| scope.spawn(|| self.rows(Box::new(end), codecs));
            let workers: Vec<_> = threads(self.workers).into_iter().map(start).collect();
            let rows = workers.into_iter().map(|worker| worker.join().map_err(|_| anyhow!("a worker panicked"))?);
            rows.collect::<anyhow::Result<Vec<_>>>()
        })?;
        Ok(rows.swap_remove(0))
    }

    fn codecs(&self) -> anyhow::Result<Vec<Arc<dyn Codec>>> {
        let names = match self.types.is_empty() {
            true => codec::NAMES.map(str::to_string).into(),
            false => self.types.clone(),
        };
        names.iter().map(|name| Ok(codec::find(name)?)).collect()
    }

    /// What this worker measures; all do the same at the same time.
    fn rows(&self, transport: Box<dyn Transport>, codecs: &[Arc<dyn Codec>]) -> anyhow::Result<Vec<Row>> {
        let pool = Arc::new(ThreadPoolBuilder::new().num_threads(self.threads).build()?);
        let largest = self.sizes.iter().copied().max().unwrap_or(0);
        let gradients = gradients(largest, transport.rank() as u64)?;
        let mut link = Link::new(transport);
        codecs.iter().map(|codec| self.row(&mut link, codec, &pool, &gradients)).collect()
    }

    fn row(
        &self,
        link: &mut Link,
        codec: &Arc<dyn Codec>,
        pool: &Arc<ThreadPool>,
        gradients: &[f32],
    ) -> anyhow::Result<Row> {
        let name = codec.name().to_string();
        let (encode_ns, decode_ns) = coding_ns(codec.as_ref(), pool, gradients, self.reps)?;
        let mut row = Row { name, bytes: Vec::new(), median_ms: Vec::new(), min_ms: Vec::new(), encode_ns, decode_ns };
        // As in training: one bit does not do without.
        let feedback = codec.name() == codec::one_bit::NAME;
        let mut exchange = Exchange::new(Arc::clone(codec), feedback, Arc::clone(pool));
        for (bucket, &size) in self.sizes.iter().enumerate() {
            let mut times = Vec::with_capacity(self.reps);
            let mut values = Vec::with_capacity(size);
            for rep in 0..self.reps + 2 {
                values.clear();
                values.extend_from_slice(&gradients[..size]);
                let start = Instant::now();
                exchange.sum(link, bucket, &mut values)?;
                if rep >= 2 {
                    times.push(1e3 * start.elapsed().as_secs_f64());
                }
            }
            times.sort_by(f64::total_cmp);
            row.bytes.push(codec.encoded_bytes(size));
            row.median_ms.push(times[times.len() / 2]);
            row.min_ms.push(times[0]);
        }
        Ok(row)
    }

    /// The links that the smallest and the largest exchange of one codec speak of.
    fn link(&self, workers: usize, row: &Row) -> Option<ExchangeTime> {
        let unknown = ExchangeTime { bytes: 0.0, encode: 0.0, decode: 0.0, bandwidth: 1.0, latency: 0.0 };
        let measured = self.sizes.iter().zip(&row.median_ms).map(|(&size, ms)| (size as f64, 1e-3 * ms));
        let few = measured.clone().min_by(|a, b| a.0.total_cmp(&b.0))?;
        let many = measured.max_by(|a, b| a.0.total_cmp(&b.0))?;
        row.time(&self.sizes, unknown).fitted(workers, [few, many])
    }

    fn show(&self, output: &Output, (kind, workers): (&str, usize), rows: &[Row]) -> anyhow::Result<()> {
        let header: Vec<&str> = std::iter::once("ms").chain(rows.iter().map(|row| row.name.as_str())).collect();
        let mut shown = table(&header, 1..header.len());
        let mut sheet = Sheet::new(&["numbers", "type", "bytes", "median_ms", "min_ms", "predicted_ms"]);
        let known = rows.iter().find(|row| row.name == codec::uncompressed::NAME).unwrap_or(&rows[0]);
        let link = self.link(workers, known);
        for (i, size) in self.sizes.iter().enumerate() {
            let cells = rows.iter().map(|row| format!("{:.3}", row.median_ms[i]));
            shown.add_row(std::iter::once(size.to_string()).chain(cells));
            for row in rows {
                let predicted = link.map(|link| 1e3 * row.time(&self.sizes, link).seconds(*size as f64, workers));
                let numbers = [Some(row.median_ms[i]), Some(row.min_ms[i]), predicted].map(cell);
                sheet.add([size.to_string(), row.name.clone(), row.bytes[i].to_string()].into_iter().chain(numbers));
            }
        }
        output.say(format!("{workers} workers, which are {kind}"));
        output.say(shown.trim_fmt());
        if let Some(ExchangeTime { bandwidth, latency, .. }) = link {
            let (mb, us) = (bandwidth / 1e6, 1e6 * latency);
            output.say(format!("as over links of {mb:.1} MB/s with a latency of {us:.0} us, after `{}`", known.name));
        }
        let path = self.figures.join("figure2.svg");
        let places: Vec<String> = self.sizes.iter().map(usize::to_string).collect();
        let lines: Vec<(&str, Vec<f64>)> = rows.iter().map(|row| (row.name.as_str(), row.median_ms.clone())).collect();
        let title = format!("Exchange between {workers} {kind}: milliseconds by numbers");
        chart(&path, &title, Scale::Logarithmic, &places, &lines).with_context(|| path.display().to_string())?;
        let files = [path, sheet.write(&self.figures, "figure2")?];
        output.finish(&serde_json::json!({
            "workers": workers,
            "transport": kind,
            "threads": self.threads,
            "reps": self.reps,
            "sizes": self.sizes,
            "bandwidth_mb_per_s": link.map(|link| link.bandwidth / 1e6),
            "latency_us": link.map(|link| 1e6 * link.latency),
            "types": rows,
            "files": files,
        }))
    }
}

/// An exchange that takes no time.
pub(super) const INSTANT: ExchangeTime =
    ExchangeTime { bytes: 0.0, encode: 0.0, decode: 0.0, bandwidth: f64::INFINITY, latency: 0.0 };

/// The link between two workers, as exchanges of a few numbers and of so many tell of it: threads, or this process, where `transport` leads
/// to the other one. One that takes no time that could be seen is infinitely fast.
pub(super) fn link(transport: Option<Box<dyn Transport>>, numbers: usize, reps: usize) -> anyhow::Result<ExchangeTime> {
    let (sizes, figures) = (vec![1000, numbers], PathBuf::new());
    let exchanges = Exchanges { workers: 2, threads: 1, sizes, types: Vec::new(), reps, figures };
    let codecs = [codec::find(codec::uncompressed::NAME)?];
    let rows = match transport {
        Some(transport) => exchanges.rows(transport, &codecs)?,
        None => exchanges.rows_on_threads(&codecs)?,
    };
    Ok(exchanges.link(2, &rows[0]).unwrap_or(INSTANT))
}

/// Nanoseconds to encode and to decode a number, medians.
pub(super) fn coding_ns(
    codec: &dyn Codec,
    pool: &ThreadPool,
    values: &[f32],
    reps: usize,
) -> anyhow::Result<(f64, f64)> {
    let (mut bytes, mut back) = (Vec::new(), vec![0.0; values.len()]);
    let (mut encoding, mut decoding) = (Vec::new(), Vec::new());
    // The first one does not count.
    for rep in 0..=reps {
        let start = Instant::now();
        codec.encode(pool, values, &mut bytes)?;
        let encoded = start.elapsed();
        codec.decode(pool, &bytes, &mut back)?;
        if rep > 0 {
            encoding.push(encoded.as_secs_f64());
            decoding.push((start.elapsed() - encoded).as_secs_f64());
        }
    }
    let median = |times: &mut Vec<f64>| {
        times.sort_by(f64::total_cmp);
        1e9 * times[times.len() / 2] / values.len() as f64
    };
    Ok((median(&mut encoding), median(&mut decoding)))
}

/// Numbers about as large as gradients are, both signs.
pub(super) fn gradients(count: usize, seed: u64) -> anyhow::Result<Vec<f32>> {
    let mut values = Vec::new();
    values.try_reserve_exact(count).with_context(|| format!("no memory for {count} numbers"))?;
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    values.extend((0..count).map(|_| (random.next_u32() as i32 >> 8) as f32 * 1e-9));
    Ok(values)
}
