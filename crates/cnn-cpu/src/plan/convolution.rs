//! Which row of the convolution table a layer gets: the one that the model of the machine, or its clock, thinks fastest, of
//! those that take the layer and its weights.

use std::sync::Arc;
use std::time::{Duration, Instant};

use cnn_core::backend::Candidate;
use cnn_core::choose::{Refusal, choose, heed_wish};
use cnn_core::layers::Conv2d;
use cnn_core::lowering::{Chosen, Layout};
use cnn_core::passes;
use cnn_core::{Result, Shape};

use super::compiler::Compiler;
use crate::ops::{Io, Kernel, Prepared, conv2d};
use crate::threads::{Crew, enter};

impl Compiler<'_> {
    pub(super) fn convolution(&self, step: &passes::Step, conv: &Conv2d, layout: Layout) -> Result<Choice> {
        let network = self.program.network;
        let (layer, input) = (&network.nodes()[step.node].name, network.input_shapes(step.node)[0]);
        let misfit = |reason| network.layer_error(step.node, reason);
        let problem = conv2d::Problem::new(conv, input, self.machine).map_err(misfit)?;
        let (pool, residual) = (step.pool.is_some(), step.residual.is_some());
        let problem = conv2d::Problem { layout, pool, residual, tolerance: self.options.tolerance, ..problem };
        let (weight, bias) = self.parameters(step)?;
        let parameters = conv2d::Parameters { weight: &weight, bias: bias.as_deref(), activation: step.activation };
        let mut ranked = conv2d::ranked(&problem, self.options.batch, (self.ceilings)());
        if self.options.timed {
            self.time(&problem, parameters, &mut ranked);
        }
        let chosen = self.first_that_fits(layer, &problem, parameters, ranked)?;
        for parameter in network.parameters_of(step.node) {
            self.weights.release(&parameter.name, 0..parameter.shape.elements());
        }
        Ok(chosen)
    }

    /// The wish of the options, else the first of `ranked`, that takes the problem and then its weights.
    fn first_that_fits(
        &self,
        layer: &str,
        problem: &conv2d::Problem,
        parameters: conv2d::Parameters<'_>,
        mut ranked: Vec<Ranked>,
    ) -> Result<Choice> {
        let wish = self.options.algorithm.as_deref();
        let finite = ranked.iter().filter(|(_, seconds)| seconds.is_finite());
        let candidate =
            |&(row, seconds): &Ranked| Candidate { algorithm: name(row), time: Duration::from_secs_f64(seconds) };
        let considered: Vec<Candidate> = finite.map(candidate).collect();
        let mut unfit: Vec<Refusal> = Vec::new();
        loop {
            let rows: Vec<_> = ranked.iter().map(|&(row, _)| row).collect();
            let choice = choose("conv2d", &rows, problem, layer, wish)?;
            let algorithm = name(choice.row);
            match conv2d::prepare(choice.row, problem, parameters) {
                Ok(prepared) => {
                    let refused = unfit.into_iter().chain(choice.refused).collect::<Vec<_>>();
                    heed_wish("cpu", layer, self.options, &refused)?;
                    let macs = choice.row.work(problem, 1).macs as u64;
                    return Ok(Chosen { prepared, algorithm, refused, considered, macs });
                }
                Err(reason) => {
                    ranked.retain(|&(row, _)| name(row) != algorithm);
                    unfit.push(Refusal { algorithm, reason });
                }
            }
        }
    }

    /// Puts the clock's times in place of the model's, for the rows that the model does not think hopeless; the others, and
    /// those that refuse these weights, go last.
    fn time(&self, problem: &conv2d::Problem, parameters: conv2d::Parameters<'_>, ranked: &mut [Ranked]) {
        const HOPELESS: f64 = 4.0;
        let accepting = ranked.iter().map(|&(_, seconds)| seconds).filter(|seconds| seconds.is_finite());
        let limit = HOPELESS * accepting.fold(f64::INFINITY, f64::min);
        for (row, seconds) in ranked.iter_mut().filter(|(_, seconds)| seconds.is_finite()) {
            let prepared = (*seconds <= limit).then(|| conv2d::prepare(*row, problem, parameters).ok()).flatten();
            let measured = prepared.map(|prepared| time(&prepared, problem, self.options.batch, self.pool));
            *seconds = measured.unwrap_or(f64::INFINITY);
        }
        ranked.sort_by(|(_, a), (_, b)| a.total_cmp(b));
    }
}

/// What a convolution gets.
type Choice = Chosen<Box<dyn Kernel>>;

/// A row, and the seconds that it should take.
type Ranked = (&'static dyn conv2d::Algorithm, f64);

/// Its name in reports.
fn name(row: &dyn conv2d::Algorithm) -> String {
    format!("conv2d/{}", row.name())
}

/// The fastest of a few runs of a convolution, in seconds.
fn time(prepared: &Prepared, problem: &conv2d::Problem, batch: usize, pool: &Arc<rayon::ThreadPool>) -> f64 {
    const RUNS: usize = 4;
    let kernel = &prepared.kernel;
    let divisor = if prepared.pooled { 2 } else { 1 };
    let [height, width] = problem.plane.output().map(|extent| extent / divisor);
    let input = Shape::from([problem.in_channels, problem.plane.rows.input, problem.plane.columns.input]);
    let output = Shape::from([problem.conv.out_channels, height, width]);
    let x = vec![0.5; batch * prepared.input.elements(&input)];
    let mut y = vec![0.0; batch * prepared.output.elements(&output)];
    let residual = vec![0.5; if problem.residual { y.len() } else { 0 }];
    let inputs = &[&x[..], &residual][..if problem.residual { 2 } else { 1 }];
    let threads = pool.current_num_threads();
    let mut workspace = vec![0.0; kernel.workspace_length(batch, threads)];
    let crew = Crew::new(threads, kernel.scratch_length());
    enter(pool, &crew, u64::MAX, |workers| {
        let runs = (0..RUNS).map(|_| {
            let start = Instant::now();
            let io = Io { batch, inputs, output: &mut y, workspace: &mut workspace };
            kernel.run(io, workers);
            start.elapsed().as_secs_f64()
        });
        runs.fold(f64::INFINITY, f64::min)
    })
}
