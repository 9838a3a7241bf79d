//! The one list of backends.

use std::path::PathBuf;
use std::sync::Arc;

use cnn_core::{Backend, DeviceInfo, Reference};
use cnn_cpu::Cpu;
use cnn_ocl::Ocl;

use crate::Split;

/// Why there is no backend of a name.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No backend has this name.
    #[error("unknown backend `{name}`{origin}; known are auto, {known}")]
    Unknown {
        /// The name.
        name: String,
        /// Where it came from, if not from the caller.
        origin: &'static str,
        /// Names that would have been right.
        known: String,
    },
    /// The backend is there, but this machine cannot run it.
    #[error("backend `{name}`: {cause}")]
    Unavailable {
        /// The name.
        name: String,
        /// Why, and how to mend it.
        cause: String,
    },
}

/// What every backend can be told when it is made.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct BackendOptions {
    /// Threads of the host that work at a time; `None` for one a physical core.
    pub threads: Option<usize>,
    /// A folder in which `ocl` keeps compiled kernels from process to process, and finds what was tuned for its devices
    /// (`tuning.toml`); `None` for none.
    pub cache: Option<PathBuf>,
}

impl BackendOptions {
    /// Works with this many threads of the host.
    pub fn threads(mut self, threads: impl Into<Option<usize>>) -> Self {
        self.threads = threads.into();
        self
    }

    /// Keeps compiled kernels in this folder.
    pub fn cache(mut self, folder: impl Into<Option<PathBuf>>) -> Self {
        self.cache = folder.into();
        self
    }
}

/// A backend that this library brings.
#[derive(Debug)]
pub struct BackendEntry {
    /// What [`backend`] takes.
    pub name: &'static str,
    /// What it is, in a line.
    pub summary: &'static str,
    /// The second argument says which of its devices; nothing for the first.
    create: fn(&BackendOptions, &str) -> cnn_core::Result<Arc<dyn Backend>>,
    /// Its devices, where it may have several.
    devices: Option<fn() -> cnn_core::Result<Vec<DeviceInfo>>>,
}

impl BackendEntry {
    /// Makes the backend, on its first device. Errors where this machine cannot run it.
    pub fn create(&self, options: &BackendOptions) -> Result<Arc<dyn Backend>, Error> {
        self.create_on("", options)
    }

    /// Every device that it can run on, with the name that [`backend`] takes. Errors where this machine has none.
    pub fn devices(&self) -> Result<Vec<(String, DeviceInfo)>, Error> {
        let Some(devices) = self.devices else {
            let backend = self.create(&BackendOptions::default())?;
            return Ok(vec![(self.name.to_string(), backend.device().clone())]);
        };
        let devices = devices().map_err(|cause| self.unavailable("", cause))?;
        Ok(devices.into_iter().enumerate().map(|(i, device)| (format!("{}:{i}", self.name), device)).collect())
    }

    fn create_on(&self, device: &str, options: &BackendOptions) -> Result<Arc<dyn Backend>, Error> {
        (self.create)(options, device).map_err(|cause| self.unavailable(device, cause))
    }

    fn unavailable(&self, device: &str, cause: cnn_core::Error) -> Error {
        let name = if device.is_empty() { self.name.to_string() } else { format!("{}:{device}", self.name) };
        // The cause says `backend ..` itself.
        match cause {
            cnn_core::Error::Backend { reason, .. } => Error::Unavailable { name, cause: reason },
            cause => Error::Unavailable { name, cause: cause.to_string() },
        }
    }
}

/// The fastest first.
const BACKENDS: &[BackendEntry] = &[
    BackendEntry {
        name: "cpu",
        summary: "all cores, SIMD",
        create: |options, _| {
            Ok(match options.threads {
                Some(threads) => Arc::new(Cpu::with_threads(threads)?),
                None => Arc::new(Cpu::new()?),
            })
        },
        devices: None,
    },
    BackendEntry {
        name: "ocl",
        summary: "OpenCL",
        create: |options, device| {
            let builder = match &options.cache {
                Some(folder) => Ocl::builder().cache(folder).tuning_file(folder.join("tuning.toml")),
                None => Ocl::builder(),
            };
            Ok(Arc::new(builder.build(device)?))
        },
        devices: Some(|| Ok(cnn_ocl::device::devices()?.into_iter().map(|found| found.info).collect())),
    },
    BackendEntry {
        name: "reference",
        summary: "the plain loops that define every layer, one thread",
        create: |_, _| Ok(Arc::new(Reference::new())),
        devices: None,
    },
];

/// All backends that this library brings, the fastest first, whether or not this machine can run them.
pub fn backends() -> &'static [BackendEntry] {
    BACKENDS
}

/// A backend by name: `auto` for the fastest that this machine can run, or one of [`backends()`]; `ocl:1` and `ocl:mali`
/// choose a device by its number or a part of its name, and `cpu+ocl:0` is a [`Split`] over several. The environment variable `CNN_BACKEND` replaces `auto`.
pub fn backend(name: &str) -> Result<Arc<dyn Backend>, Error> {
    backend_with(name, &BackendOptions::default())
}

/// As [`backend`], with options.
pub fn backend_with(name: &str, options: &BackendOptions) -> Result<Arc<dyn Backend>, Error> {
    match (name, std::env::var("CNN_BACKEND")) {
        ("auto", Ok(name)) if name != "auto" => create(&name, " (from CNN_BACKEND)", options),
        ("auto", _) => fastest(options),
        _ => create(name, "", options),
    }
}

fn create(name: &str, origin: &'static str, options: &BackendOptions) -> Result<Arc<dyn Backend>, Error> {
    if name.contains('+') {
        let parts = name.split('+').map(|part| create(part, origin, options)).collect::<Result<Vec<_>, _>>()?;
        let unavailable =
            |cause: cnn_core::Error| Error::Unavailable { name: name.to_string(), cause: cause.to_string() };
        return Ok(Arc::new(Split::new(parts).map_err(unavailable)?));
    }
    let (kind, device) = name.split_once(':').unwrap_or((name, ""));
    let fits = |entry: &&BackendEntry| entry.name == kind && (entry.devices.is_some() || kind == name);
    let entry = BACKENDS.iter().find(fits).ok_or_else(|| {
        let known = BACKENDS.iter().map(|entry| entry.name).collect::<Vec<_>>().join(", ");
        Error::Unknown { name: name.to_string(), origin, known }
    })?;
    entry.create_on(device, options)
}

fn fastest(options: &BackendOptions) -> Result<Arc<dyn Backend>, Error> {
    let [first, rest @ ..] = BACKENDS else { return create("auto", "", options) };
    rest.iter().fold(first.create(options), |found, next| found.or_else(|_| next.create(options)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn backends_are_found_by_name() {
        for entry in backends() {
            assert_eq!(backend(entry.name).unwrap().name(), entry.name);
            for (name, device) in entry.devices().unwrap() {
                assert_eq!(backend(&name).unwrap().device(), &device);
            }
        }
        for unknown in ["gpu", "cpu:1", "ocl1"] {
            let error = backend(unknown).unwrap_err().to_string();
            assert_eq!(error, format!("unknown backend `{unknown}`; known are auto, cpu, ocl, reference"));
        }
        let error = backend("ocl:no such device").unwrap_err().to_string();
        assert!(
            error.starts_with("backend `ocl:no such device`: no OpenCL device `no such device`; found are 0 "),
            "{error}"
        );
        let cpu = backend_with("cpu", &BackendOptions::default().threads(3)).unwrap();
        assert_eq!(cpu.device().threads, 3);
    }
}
