//! One device with its context, its compiled programs and a queue for transfers.

use std::collections::HashMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use cnn_core::{Error, Result};
use opencl3::command_queue::CommandQueue;
use opencl3::context::Context;
use opencl3::error_codes::ClError;

use crate::device::{Found, Traits};
use crate::format::Format;
use crate::program::{self, Program, Source};
use crate::tuning::Tuning;
use crate::{launch, self_test};

/// Shared by a backend, its plans and their sessions. Cloning shares all but the format.
#[derive(Clone)]
pub(crate) struct Driver {
    pub(crate) found: Found,
    pub(crate) context: Arc<Context>,
    /// For transfers that belong to no session.
    pub(crate) queue: Arc<CommandQueue>,
    pub(crate) tuning: Tuning,
    /// What its programs are compiled for.
    pub(crate) format: Format,
    /// Where compiled programs are kept from process to process.
    pub(crate) cache: Option<PathBuf>,
    programs: Arc<Mutex<HashMap<String, Arc<Program>>>>,
    half_arithmetic: Arc<OnceLock<std::result::Result<(), String>>>,
}

impl fmt::Debug for Driver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Driver").field("device", &self.found.info).finish_non_exhaustive()
    }
}

impl Driver {
    pub(crate) fn new(found: Found, tuning: Tuning, cache: Option<PathBuf>) -> Result<Self> {
        let context = Context::from_device(&found.device).map_err(|e| failed("making a context", &e))?;
        let queue = launch::queue(&context, false)?;
        Ok(Driver {
            found,
            context: Arc::new(context),
            queue: Arc::new(queue),
            tuning,
            format: Format::default(),
            cache,
            programs: Arc::default(),
            half_arithmetic: Arc::default(),
        })
    }

    /// The same with kernels for another format.
    pub(crate) fn with_format(&self, format: Format) -> Self {
        Driver { format, ..self.clone() }
    }

    /// Whether the device computes in half precision and does it right, tried at the first call; otherwise why not.
    pub(crate) fn half_arithmetic(&self) -> std::result::Result<(), String> {
        self.half_arithmetic.get_or_init(|| self_test::half_arithmetic(self)).clone()
    }

    pub(crate) fn traits(&self) -> &Traits {
        &self.found.traits
    }

    /// The program of a source with these definitions, compiled at the first call.
    pub(crate) fn program(&self, source: Source, defines: &[(&str, i64)]) -> Result<Arc<Program>> {
        let text = program::complete(source, defines.iter().copied().chain(self.format.defines()));
        let mut programs = self.programs.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(program) = programs.get(&text) {
            return Ok(program.clone());
        }
        let program = Arc::new(Program::build(self, source.name, &text)?);
        programs.insert(text, program.clone());
        Ok(program)
    }
}

/// What the driver refused to do.
pub(crate) fn failed(what: &str, error: &ClError) -> Error {
    Error::Backend { backend: "ocl".to_string(), reason: format!("{what}: {error}") }
}
