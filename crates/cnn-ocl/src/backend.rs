//! The backend object: a device and what is known of it.

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use cnn_core::backend::{Backend, Ceilings, CompileOptions, DeviceInfo, Plan, Recipe, Trainer};
use cnn_core::{Network, Result, Weights};

use crate::ceilings;
use crate::device::{self, Found};
use crate::driver::Driver;
use crate::plan;
use crate::train::OclTrainer;
use crate::tuning::Tuning;

/// The OpenCL backend, on one device. Cloning shares its context and compiled programs.
#[derive(Debug, Clone)]
pub struct Ocl {
    driver: Arc<Driver>,
    ceilings: Arc<OnceLock<Option<Ceilings>>>,
}

impl Ocl {
    /// On the device that `selector` names: a number, a part of a name, or nothing for the first, GPUs before the processor.
    /// Errors where there is none, with the fix.
    pub fn new(selector: &str) -> Result<Self> {
        OclBuilder::default().build(selector)
    }

    /// Settings before the device is opened.
    pub fn builder() -> OclBuilder {
        OclBuilder::default()
    }

    pub(crate) fn driver(&self) -> &Arc<Driver> {
        &self.driver
    }

    /// The parameters of its kernels.
    pub fn tuning(&self) -> &Tuning {
        &self.driver.tuning
    }

    /// The same device with other parameters. Errors where no kernels can be made with them.
    pub fn with_tuning(&self, tuning: Tuning) -> Result<Self> {
        let Driver { found, cache, .. } = &*self.driver;
        let tuning = tuning.checked().map_err(device::unavailable)?;
        let driver = Driver::new(found.clone(), tuning, cache.clone())?;
        Ok(Ocl { driver: Arc::new(driver), ceilings: Arc::default() })
    }

    /// What the device does at most with these parameters.
    pub fn measure(&self) -> Result<Ceilings> {
        ceilings::measure(&self.driver)
    }

    /// The device.
    pub fn found(&self) -> &Found {
        &self.driver.found
    }
}

/// What an [`Ocl`] is made with.
#[derive(Debug, Clone, Default)]
pub struct OclBuilder {
    cache: Option<PathBuf>,
    tuning: Option<Tuning>,
    file: Option<PathBuf>,
}

impl OclBuilder {
    /// Keeps compiled programs in this folder, which is made where it is missing.
    pub fn cache(mut self, folder: impl AsRef<Path>) -> Self {
        self.cache = Some(folder.as_ref().to_path_buf());
        self
    }

    /// Uses these parameters instead of those known for the device.
    pub fn tuning(mut self, tuning: Tuning) -> Self {
        self.tuning = Some(tuning);
        self
    }

    /// Looks for the device's parameters in this file, which [`tune`](crate::tuning::tune) made, before the shipped ones. A file
    /// that cannot be read is warned of.
    pub fn tuning_file(mut self, path: impl AsRef<Path>) -> Self {
        self.file = Some(path.as_ref().to_path_buf());
        self
    }

    /// Opens the device. Errors as [`Ocl::new`] does, and where no kernels can be made with the parameters.
    pub fn build(self, selector: &str) -> Result<Ocl> {
        let found = device::find(selector)?;
        let of_file = || Tuning::of_file(self.file.as_deref()?, &found.traits);
        let tuning = self.tuning.or_else(of_file).unwrap_or_else(|| Tuning::of(&found.traits));
        let tuning = tuning.checked().map_err(device::unavailable)?;
        Ok(Ocl { driver: Arc::new(Driver::new(found, tuning, self.cache)?), ceilings: Arc::default() })
    }
}

impl Backend for Ocl {
    fn name(&self) -> &str {
        "ocl"
    }

    fn device(&self) -> &DeviceInfo {
        &self.driver.found.info
    }

    fn ceilings(&self) -> Option<Ceilings> {
        *self.ceilings.get_or_init(|| {
            let measured = self.measure();
            measured.inspect_err(|error| tracing::warn!("the device's ceilings are not known: {error}")).ok()
        })
    }

    fn compile(&self, network: &Network, weights: &Weights, options: &CompileOptions) -> Result<Arc<dyn Plan>> {
        Ok(Arc::new(plan::compile(network, weights, options, &self.driver)?))
    }

    fn compile_training(&self, network: &Network, weights: &Weights, recipe: &Recipe) -> Result<Box<dyn Trainer>> {
        Ok(Box::new(OclTrainer::new(network, weights, recipe, &self.driver)?))
    }
}
