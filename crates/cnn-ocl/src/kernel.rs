//! What runs a step of a plan.

use std::sync::Arc;

use cnn_core::{Layer, Result, Shape};

use crate::buffer::Buffer;
use crate::driver::Driver;
use crate::program::Program;

/// A step with its algorithm chosen and its weights on the device.
pub(crate) trait Kernel: Send + Sync {
    /// What is enqueued for a batch, in this order.
    fn launches(&self, driver: &Driver, batch: usize) -> Result<Vec<Launch>>;

    /// Floats of each workspace that the launches name.
    fn workspaces(&self, _driver: &Driver, _batch: usize) -> Vec<usize> {
        Vec::new()
    }

    /// Bytes of weights on the device.
    fn weight_bytes(&self) -> usize {
        0
    }

    /// Where the step runs on the host instead: a user's own layer.
    fn on_host(&self) -> Option<&HostLayer> {
        None
    }
}

/// A layer without kernels, with what its plain loops need.
#[derive(Debug)]
pub(crate) struct HostLayer {
    pub(crate) layer: Layer,
    pub(crate) inputs: Vec<Shape>,
    pub(crate) output: Shape,
    pub(crate) parameters: Vec<Vec<f32>>,
}

impl Kernel for HostLayer {
    fn launches(&self, _driver: &Driver, _batch: usize) -> Result<Vec<Launch>> {
        Ok(Vec::new())
    }

    fn on_host(&self) -> Option<&HostLayer> {
        Some(self)
    }
}

/// A kernel function over a grid of work-items, or a product by CLBlast.
#[derive(Debug, Clone)]
pub(crate) struct Launch {
    pub(crate) work: Work,
    pub(crate) arguments: Vec<Argument>,
    /// Work-items that have something to do.
    pub(crate) items: [usize; 3],
    /// Work-items of a group; the driver chooses where there is none. Grids are rounded up to whole groups, so kernels look
    /// whether their item has something to do.
    pub(crate) group: Option<[usize; 3]>,
}

/// What a launch runs.
#[derive(Debug, Clone)]
pub(crate) enum Work {
    /// A function of a program.
    Function(Arc<Program>, &'static str),
    /// A product whose three matrices are the arguments.
    #[cfg(feature = "clblast")]
    Gemm(crate::gemm::clblast::Gemm),
}

/// An argument of a kernel function.
#[derive(Debug, Clone)]
pub(crate) enum Argument {
    /// One of the step's inputs.
    Input(usize),
    /// The step's output.
    Output,
    /// One of the step's workspaces.
    Workspace(usize),
    /// Memory of the plan, such as its weights.
    Memory(Arc<Buffer>),
    /// A number.
    Int(i32),
    /// A number.
    Float(f32),
    /// An `int2`.
    Ints2([i32; 2]),
    /// An `int4`.
    Ints4([i32; 4]),
    /// A `float2`.
    Floats2([f32; 2]),
    /// A `float4`.
    Floats4([f32; 4]),
    /// A `ulong`.
    Long(u64),
}

impl Launch {
    pub(crate) fn new(program: &Arc<Program>, function: &'static str, items: [usize; 3]) -> Self {
        Launch { work: Work::Function(program.clone(), function), arguments: Vec::new(), items, group: None }
    }

    /// A product by CLBlast.
    #[cfg(feature = "clblast")]
    pub(crate) fn gemm(gemm: crate::gemm::clblast::Gemm, matrices: [Argument; 3]) -> Self {
        Launch { work: Work::Gemm(gemm), arguments: matrices.into(), items: [1; 3], group: None }
    }

    pub(crate) fn group(mut self, group: [usize; 3]) -> Self {
        self.group = Some(group);
        self
    }

    /// Adds arguments.
    pub(crate) fn with(mut self, arguments: impl IntoIterator<Item = Argument>) -> Self {
        self.arguments.extend(arguments);
        self
    }

    /// Adds whole numbers.
    pub(crate) fn ints(self, numbers: impl IntoIterator<Item = usize>) -> Self {
        self.with(numbers.into_iter().map(|number| Argument::Int(number as i32)))
    }
}
