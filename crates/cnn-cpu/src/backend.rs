//! The backend object: a thread pool and what is known of the processor.

use std::sync::{Arc, OnceLock};

use cnn_core::backend::{Backend, Ceilings, CompileOptions, DeviceInfo, Plan, Recipe, Trainer};
use cnn_core::{Error, Network, Result, Weights};

use crate::machine::Machine;
use crate::plan::compile;
use crate::simd::Instructions;
use crate::train::trainer;

/// The multicore CPU backend. Cloning shares the thread pool.
#[derive(Debug, Clone)]
pub struct Cpu {
    device: DeviceInfo,
    pool: Arc<rayon::ThreadPool>,
    machine: Machine,
    ceilings: Arc<OnceLock<Ceilings>>,
}

impl Cpu {
    /// A pool of as many threads as there are physical cores. Errors where threads cannot be started.
    pub fn new() -> Result<Self> {
        let allowed = std::thread::available_parallelism().map_or(1, usize::from);
        Self::with_threads(num_cpus::get_physical().min(allowed))
    }

    /// A pool of `threads`, at least one. Errors where they cannot be started.
    pub fn with_threads(threads: usize) -> Result<Self> {
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads.max(1))
            .thread_name(|i| format!("cnn-cpu-{i}"))
            .build()
            .map_err(|e| Error::Other(Box::new(e)))?;
        Ok(Self::with_pool(Arc::new(pool)))
    }

    /// Works on a pool of the caller's.
    pub fn with_pool(pool: Arc<rayon::ThreadPool>) -> Self {
        let mut device = DeviceInfo::named(processor_name());
        device.driver = format!("cnn-cpu {}", env!("CARGO_PKG_VERSION"));
        device.memory = total_memory();
        device.threads = pool.current_num_threads();
        let machine = Machine::new(Instructions::detect());
        device.features = vec![machine.instructions().name().to_string()];
        Cpu { device, pool, machine, ceilings: Arc::default() }
    }

    /// Runs on other instructions than the fastest, to compare them.
    pub fn with_instructions(mut self, instructions: Instructions) -> Self {
        self.machine = Machine::new(instructions);
        self.ceilings = Arc::default();
        self.device.features = vec![instructions.name().to_string()];
        self
    }
}

impl Cpu {
    fn measured(&self) -> Ceilings {
        *self.ceilings.get_or_init(|| self.machine.measure(&self.pool))
    }

    /// What trainers work with.
    pub(crate) fn threads_and_machine(&self) -> (Arc<rayon::ThreadPool>, Machine) {
        (self.pool.clone(), self.machine)
    }
}

impl Backend for Cpu {
    fn name(&self) -> &str {
        "cpu"
    }

    fn device(&self) -> &DeviceInfo {
        &self.device
    }

    fn ceilings(&self) -> Option<Ceilings> {
        Some(self.measured())
    }

    fn compile(&self, network: &Network, weights: &Weights, options: &CompileOptions) -> Result<Arc<dyn Plan>> {
        let ceilings = || self.machine.one_core(&self.pool);
        let machine = (&self.pool, &self.machine);
        // Packing weights uses the pool's threads.
        Ok(Arc::new(self.pool.install(|| compile(network, weights, options, machine, &ceilings))?))
    }

    fn compile_training(&self, network: &Network, weights: &Weights, recipe: &Recipe) -> Result<Box<dyn Trainer>> {
        trainer(network, weights, recipe, self.threads_and_machine())
    }
}

/// The value of the first line `key : value` or `key: value` of a file under `/proc`.
fn proc_value(path: &str, key: &str) -> Option<String> {
    let text = std::fs::read_to_string(path).ok()?;
    let line = text.lines().find(|line| line.starts_with(key))?;
    Some(line.split_once(':')?.1.trim().to_string())
}

fn processor_name() -> String {
    proc_value("/proc/cpuinfo", "model name").unwrap_or_else(|| std::env::consts::ARCH.to_string())
}

fn total_memory() -> u64 {
    let kib = proc_value("/proc/meminfo", "MemTotal");
    kib.and_then(|text| text.split(' ').next()?.parse::<u64>().ok()).map_or(0, |kib| kib << 10)
}
