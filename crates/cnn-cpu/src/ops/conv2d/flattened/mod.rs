//! Flattened convolution (Jin et al. 2015): lateral, vertical and horizontal filters one after the other over bands of rows that
//! stay in the second cache. A piece of work is a sample, or a part of its rows; each convolution of the chain makes the rows
//! that the next one needs for its own, and keeps the last of them for the next band. Main memory sees the input and the
//! output alone.

mod filters;
mod lateral;
mod rows;
mod separable;

use std::ops::Range;

use cnn_core::backend::Ceilings;
use smallvec::SmallVec;

use super::{Algorithm, Depthwise, Parameters, Pointwise, Problem, rounded};
use crate::machine::Machine;
use crate::ops::{Io, Kernel, Prepared, Work};
use crate::simd::{Simd, fence, with_simd};
use crate::threads::{Block, Workers};
use filters::{Filters, Taps};
use lateral::Lateral;
use rows::{Ring, Source, Target};

/// Its name in reports.
pub const NAME: &str = "conv2d/flattened";

/// Bytes of an output that the last cache of a processor does not keep until somebody reads it: written past the caches, so that
/// none of it is read first.
const STREAMED: usize = 64 << 20;

/// The longest chain.
const MOST_LINKS: usize = 12;

/// What a convolution is in a chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Lateral,
    Vertical,
    Horizontal,
}

impl Part {
    fn of(problem: &Problem) -> Result<Self, String> {
        let axes = [problem.plane.rows, problem.plane.columns];
        if axes.iter().any(|axis| axis.stride != 1 || axis.dilation != 1 || axis.input != axis.output) {
            return Err("a stride, a dilation, or an output of another size than the input".to_string());
        }
        let a_filter_a_channel = problem.group_in() == 1 && problem.group_out() == 1;
        match axes.map(|axis| axis.kernel) {
            [1, 1] if problem.conv.groups == 1 => Ok(Part::Lateral),
            [_, 1] if a_filter_a_channel => Ok(Part::Vertical),
            [1, _] if a_filter_a_channel => Ok(Part::Horizontal),
            [rows, columns] => Err(format!("a {rows}x{columns} window in {} groups", problem.conv.groups)),
        }
    }
}

/// A part of the chain that runs over a band before the next one does.
struct Link {
    work: Kind,
    /// Blocks of channels that it writes.
    blocks: usize,
    /// Rows that it reads above and below the one that it writes.
    reach: [usize; 2],
}

enum Kind {
    Lateral(Lateral),
    Filters(Filters),
}

/// How much of a chain runs at a time.
#[derive(Debug, Clone)]
struct Bands {
    /// Rows that each link makes before the next one has its turn.
    rows: usize,
    /// For each link but the last: blocks of channels, and the rows of its output that are kept, which is what the next one sees.
    kept: SmallVec<[(usize, usize); MOST_LINKS]>,
    /// Floats of a row of a block.
    line: usize,
}

impl Bands {
    /// Floats of all that is kept.
    fn length(&self) -> usize {
        self.kept.iter().map(|(blocks, rows)| blocks * rows * self.line).sum()
    }

    /// How the rows that a link writes are kept.
    fn ring(&self, link: usize) -> Ring {
        Ring { rows: self.kept[link].1, line: self.line }
    }

    /// Of so many rows, for links that write so many blocks and reach so far.
    fn new(links: &[(usize, [usize; 2])], rows: usize, line: usize) -> Self {
        let kept = links.iter().zip(links.iter().skip(1));
        let kept = kept.map(|((blocks, _), (_, [above, below]))| (*blocks, rows + above + below)).collect();
        Bands { rows, kept, line }
    }

    /// The highest that leave room in the second cache for the rows that are read and written.
    fn fitting(links: &[(usize, [usize; 2])], [height, line]: [usize; 2], l2: usize) -> Result<Self, String> {
        const LEAST: usize = 2;
        let budget = l2 / 4 * 3 / size_of::<f32>();
        let fits = |rows: &usize| Bands::new(links, *rows, line).length() <= budget;
        match (1..=height).rev().find(fits) {
            Some(rows) if rows >= LEAST.min(height) => Ok(Bands::new(links, rows, line)),
            _ => Err("rows of the chain do not fit the second cache".to_string()),
        }
    }
}

/// What the links write and how far they reach: a vertical filter and the horizontal one behind it are one link.
fn outline(problems: &[Problem]) -> Result<Vec<(Part, usize, [usize; 2])>, String> {
    let mut links: Vec<(Part, usize, [usize; 2])> = Vec::new();
    for problem in problems {
        let part = Part::of(problem)?;
        let blocks = problem.conv.out_channels.div_ceil(problem.machine.instructions().lanes());
        let reach = [problem.plane.rows.before, problem.plane.rows.after];
        match (links.last_mut(), part) {
            (Some((last @ Part::Vertical, ..)), Part::Horizontal) => *last = part,
            _ => links.push((part, blocks, reach)),
        }
    }
    Ok(links)
}

/// The bands of a chain, or why it is not run as one.
fn bands(problems: &[Problem]) -> Result<Bands, String> {
    let links = outline(problems)?;
    let has = |lateral: bool| links.iter().any(|(part, ..)| (*part == Part::Lateral) == lateral);
    if !has(true) || !has(false) {
        return Err("no lateral filter, or nothing else".to_string());
    }
    if links.len() > MOST_LINKS {
        return Err(format!("over {MOST_LINKS} convolutions"));
    }
    let first = &problems[0];
    let line = first.plane.columns.output * first.machine.instructions().lanes();
    let links: Vec<_> = links.into_iter().map(|(_, blocks, reach)| (blocks, reach)).collect();
    Bands::fitting(&links, [first.plane.rows.output, line], first.machine.caches.l2)
}

/// Whether a chain, without activations but behind the last, can run as one, or in one line why not.
pub fn accepts(problems: &[Problem]) -> Result<(), String> {
    bands(problems).map(|_| ())
}

/// The seconds that a batch should take on so many threads, of which each has its own rows of some sample: rows between two threads
/// are made twice.
pub fn seconds(problems: &[Problem], (batch, threads): (usize, usize), ceilings: Ceilings) -> f64 {
    let reach: usize = problems.iter().map(|problem| problem.plane.rows.before + problem.plane.rows.after).sum();
    let height = problems[0].plane.rows.output;
    let price = price(parts((batch, threads), [height, reach]), (batch, threads), [height, reach]);
    let mut all = Work::default();
    for problem in problems {
        let work = match Part::of(problem) {
            Ok(Part::Lateral) => Pointwise.work(problem, batch),
            _ => Depthwise.work(problem, batch),
        };
        all.macs += price * work.macs;
        all.weight_bytes += work.weight_bytes;
    }
    let (first, last) = (&problems[0], &problems[problems.len() - 1]);
    let channels = first.in_channels + last.conv.out_channels;
    all.moved_bytes = (size_of::<f32>() * batch * channels * first.out_plane()) as f64;
    all.seconds(rounded(ceilings))
}

/// Parts that the rows of a sample are cut into, for a chain that reaches over so many in all.
fn parts((batch, threads): (usize, usize), [height, reach]: [usize; 2]) -> usize {
    let price = |parts: &usize| price(*parts, (batch, threads), [height, reach]);
    (1..=threads.min(height)).min_by(|a, b| price(a).total_cmp(&price(b))).unwrap_or(1)
}

/// How much longer a batch takes than on threads that share the work evenly, and none of it twice.
fn price(parts: usize, (batch, threads): (usize, usize), [height, reach]: [usize; 2]) -> f64 {
    let again = 1.0 + (reach * (parts - 1)) as f64 / (2 * height) as f64;
    let pieces = (batch * parts).max(1);
    again * pieces.next_multiple_of(threads) as f64 / pieces as f64
}

/// The kernel of a chain, which [`accepts`] has taken, on so many threads.
pub fn prepare(problems: &[Problem], parameters: &[Parameters<'_>], threads: usize) -> Result<Prepared, String> {
    let bands = bands(problems)?;
    let machine = problems[0].machine;
    let plane = problems[0].plane;
    let mut links: Vec<Link> = Vec::new();
    for (problem, &parameters) in problems.iter().zip(parameters) {
        let part = Part::of(problem)?;
        let blocks = problem.conv.out_channels.div_ceil(machine.instructions().lanes());
        let reach = [problem.plane.rows.before, problem.plane.rows.after];
        let work = match (part, links.last_mut().map(|link| &mut link.work)) {
            (Part::Horizontal, Some(Kind::Filters(filters))) if !filters.has_horizontal() => {
                filters.along(Taps::new(problem, parameters), parameters.activation);
                continue;
            }
            (Part::Lateral, _) => {
                let in_plane = match links.len() {
                    0 => plane.rows.input * bands.line,
                    link => bands.ring(link - 1).plane(),
                };
                Kind::Lateral(Lateral::new(problem, parameters, in_plane))
            }
            (Part::Vertical, _) => Kind::Filters(Filters::down(Taps::new(problem, parameters), parameters.activation)),
            (Part::Horizontal, _) => {
                let mut filters = Filters::default();
                filters.along(Taps::new(problem, parameters), parameters.activation);
                Kind::Filters(filters)
            }
        };
        links.push(Link { work, blocks, reach });
    }
    let kernel = FlattenedKernel { machine, rows: plane.rows.output, links, bands, threads };
    Ok(Prepared::alike(Box::new(kernel), machine.blocked()))
}

struct FlattenedKernel {
    machine: Machine,
    /// Rows of a plane.
    rows: usize,
    links: Vec<Link>,
    bands: Bands,
    threads: usize,
}

impl Kernel for FlattenedKernel {
    fn run(&self, io: Io<'_>, workers: Workers<'_>) {
        with_simd!(self.machine.instructions(), s => self.convolve(s, io, workers));
    }

    fn weight_bytes(&self) -> usize {
        let bytes = |link: &Link| match &link.work {
            Kind::Lateral(lateral) => lateral.bytes(),
            Kind::Filters(filters) => filters.bytes(),
        };
        self.links.iter().map(bytes).sum()
    }

    fn scratch_length(&self) -> usize {
        self.bands.length() + self.filter_scratch()
    }
}

impl FlattenedKernel {
    fn filter_scratch(&self) -> usize {
        let length = |link: &Link| match &link.work {
            Kind::Lateral(_) => 0,
            Kind::Filters(filters) => filters.scratch_length(self.bands.line, self.machine.instructions().lanes()),
        };
        self.links.iter().map(length).max().unwrap_or(0)
    }

    fn convolve<S: Simd>(&self, s: S, io: Io<'_>, workers: Workers<'_>) {
        let blocks = self.links.last().map_or(1, |link| link.blocks);
        let input = io.inputs[0];
        let sample = input.len() / io.batch;
        let reach = self.links.iter().map(|link| link.reach.iter().sum::<usize>()).sum();
        let part = self.rows.div_ceil(parts((io.batch, self.threads), [self.rows, reach]));
        let extents = [io.batch * blocks, self.rows, self.bands.line];
        let streams = size_of_val(io.output) >= STREAMED;
        workers.for_each_block_of(io.output, extents, (blocks, [blocks, part, self.bands.line]), |mut block| {
            let input = &input[block.planes().start / blocks * sample..][..sample];
            workers.scratch(self.scratch_length(), |scratch| self.part(s, input, scratch, (&mut block, streams)));
            if streams {
                fence();
            }
        });
    }

    /// Some rows of a sample.
    fn part<S: Simd>(&self, s: S, input: &[f32], scratch: &mut [f32], (block, streams): (&mut Block<'_>, bool)) {
        let line = self.bands.line;
        let (mut kept, filter) = scratch.split_at_mut(self.bands.length());
        let mut buffers: SmallVec<[&mut [f32]; MOST_LINKS]> = SmallVec::new();
        for (blocks, rows) in &self.bands.kept {
            let (buffer, rest) = kept.split_at_mut(blocks * rows * line);
            buffers.push(buffer);
            kept = rest;
        }
        let Range { start, end } = block.rows();
        // By link, the row behind the last that is made.
        let mut made = self.firsts(start);
        let mut band = start;
        while band < end + self.reach() {
            band = (band + self.bands.rows).min(end + self.reach());
            let wanted = self.wanted(band);
            for (link, l) in self.links.iter().enumerate() {
                let rows = made[link]..wanted[link];
                if rows.is_empty() {
                    continue;
                }
                let (before, after) = buffers.split_at_mut(link);
                let source = match link {
                    0 => Source { data: input, ring: Ring { rows: self.rows, line } },
                    _ => Source { data: before[link - 1], ring: self.bands.ring(link - 1) },
                };
                let mut target = match after.first_mut() {
                    Some(buffer) => Target::Buffer(buffer, self.bands.ring(link)),
                    None => Target::Output(block, streams),
                };
                match &l.work {
                    Kind::Lateral(lateral) => lateral.run(s, source, rows, &mut target),
                    Kind::Filters(filters) => filters.run(s, (source, self.rows), rows, &mut target, filter),
                }
                made[link] = wanted[link];
            }
        }
    }

    /// The first row of each link under a row of the output.
    fn firsts(&self, row: usize) -> SmallVec<[usize; MOST_LINKS]> {
        let mut rows: SmallVec<[usize; MOST_LINKS]> = SmallVec::from_elem(row, self.links.len());
        for link in (1..self.links.len()).rev() {
            rows[link - 1] = rows[link].saturating_sub(self.links[link].reach[0]);
        }
        rows
    }

    /// Rows that the chain reaches over behind its first link.
    fn reach(&self) -> usize {
        self.links.iter().skip(1).map(|link| link.reach.iter().sum::<usize>()).sum()
    }

    /// The row of each link behind the last that is made when the first link has got to row `end` of what it makes, counted
    /// so that it begins at the output's first row: links that are further ahead begin earlier, so that none makes more than a band at a time.
    fn wanted(&self, end: usize) -> SmallVec<[usize; MOST_LINKS]> {
        let mut rows: SmallVec<[usize; MOST_LINKS]> = SmallVec::from_elem(end, self.links.len());
        for link in (1..self.links.len()).rev() {
            rows[link - 1] = rows[link] + self.links[link].reach[1];
        }
        rows.iter_mut().for_each(|row| *row = row.saturating_sub(self.reach()).min(self.rows));
        rows
    }
}
