//! Direct convolution over planar values, a work-item an output pixel, row by row: the baseline of the ladder, with work-groups
//! of the driver's choice or of tuned sizes (Loukadakis et al. 2018, sections 4.1 and 4.2). The row that takes anything.

use std::sync::Arc;

use cnn_core::Result;
use cnn_core::choose::Row;
use cnn_core::layers::Activation;

use super::{Algorithm, Parameters, Prepared, Problem, Work, window};
use crate::buffer::Buffer;
use crate::driver::Driver;
use crate::kernel::Argument::{Float, Input, Memory, Output};
use crate::kernel::{Kernel, Launch};
use crate::ops::activation_code;
use crate::program::Source;

const SOURCE: Source = Source { name: "conv2d/direct", text: include_str!("direct.cl") };

/// The row whose work-groups the driver chooses.
#[derive(Debug)]
pub struct Direct;

/// The row of tuned work-groups, which are the driver's where the device gains nothing from others.
#[derive(Debug)]
pub struct WorkGroup;

impl Row<Problem> for Direct {
    fn name(&self) -> &'static str {
        "direct"
    }

    fn accepts(&self, _problem: &Problem) -> Result<(), String> {
        Ok(())
    }
}

impl Row<Problem> for WorkGroup {
    fn name(&self) -> &'static str {
        "work_group"
    }

    fn accepts(&self, _problem: &Problem) -> Result<(), String> {
        Ok(())
    }
}

#[allow(private_interfaces)]
impl Algorithm for Direct {
    fn work(&self, problem: &Problem, batch: usize) -> Work {
        // Slower than what the tuned groups promise, so that those are taken.
        let Work { macs, floats } = WorkGroup.work(problem, batch);
        Work { macs: 1.1 * macs, floats }
    }

    fn prepare(&self, driver: &Driver, problem: &Problem, parameters: Parameters<'_>) -> Result<Prepared> {
        Ok(Prepared::planar(Box::new(DirectKernel::new(driver, problem, parameters, None)?)))
    }
}

#[allow(private_interfaces)]
impl Algorithm for WorkGroup {
    /// Scalar products, each with two loads.
    fn work(&self, problem: &Problem, batch: usize) -> Work {
        Work { macs: 2.0 * problem.tuning.lanes as f64 * problem.macs(batch), floats: problem.floats(batch) }
    }

    fn prepare(&self, driver: &Driver, problem: &Problem, parameters: Parameters<'_>) -> Result<Prepared> {
        let group = driver.tuning.work_group.map(|[across, down]| [across, down, 1]);
        let kernel = DirectKernel::new(driver, problem, parameters, group)?;
        Ok(Prepared::planar(Box::new(kernel)))
    }
}

struct DirectKernel {
    problem: Problem,
    weights: Arc<Buffer>,
    bias: Arc<Buffer>,
    activation: Option<Activation>,
    group: Option<[usize; 3]>,
}

impl DirectKernel {
    fn new(driver: &Driver, problem: &Problem, parameters: Parameters<'_>, group: Option<[usize; 3]>) -> Result<Self> {
        let [weights, bias] = parameters.as_they_are(driver, problem.conv.out_channels)?;
        Ok(DirectKernel { problem: problem.clone(), weights, bias, activation: parameters.activation, group })
    }
}

impl Kernel for DirectKernel {
    fn launches(&self, driver: &Driver, batch: usize) -> Result<Vec<Launch>> {
        let (conv, rows, columns) = (&self.problem.conv, &self.problem.plane.rows, &self.problem.plane.columns);
        let (code, parameter) = activation_code(self.activation);
        let program = driver.program(SOURCE, &[("ACTIVATION", code)])?;
        let items = [columns.output, rows.output, conv.out_channels * batch];
        let mut launch = Launch::new(&program, "direct", items);
        launch.group = self.group;
        Ok(vec![
            launch
                .with([Input(0), Memory(self.weights.clone()), Memory(self.bias.clone()), Output])
                .ints([self.problem.in_channels, rows.input, columns.input])
                .ints([conv.out_channels, rows.output, columns.output, conv.groups])
                .ints(window(rows))
                .ints(window(columns))
                .ints([rows.before, columns.before])
                .with([Float(parameter)]),
        ])
    }

    fn weight_bytes(&self) -> usize {
        size_of::<f32>() * (self.weights.length() + self.bias.length())
    }
}
