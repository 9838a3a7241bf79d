//! The one list of backends.

use std::sync::Arc;

use cnn_core::{Backend, Reference};
use cnn_cpu::Cpu;

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
        cause: cnn_core::Error,
    },
}

/// What every backend can be told when it is made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct BackendOptions {
    /// Threads of the host that work at a time; `None` for one a physical core.
    pub threads: Option<usize>,
}

impl BackendOptions {
    /// Works with this many threads of the host.
    pub fn threads(mut self, threads: impl Into<Option<usize>>) -> Self {
        self.threads = threads.into();
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
    create: fn(&BackendOptions) -> cnn_core::Result<Arc<dyn Backend>>,
}

impl BackendEntry {
    /// Makes the backend. Errors where this machine cannot run it.
    pub fn create(&self, options: &BackendOptions) -> Result<Arc<dyn Backend>, Error> {
        (self.create)(options).map_err(|cause| Error::Unavailable { name: self.name.to_string(), cause })
    }
}

/// The fastest first.
const BACKENDS: &[BackendEntry] = &[
    BackendEntry {
        name: "cpu",
        summary: "all cores, SIMD",
        create: |options| {
            Ok(match options.threads {
                Some(threads) => Arc::new(Cpu::with_threads(threads)?),
                None => Arc::new(Cpu::new()?),
            })
        },
    },
    BackendEntry {
        name: "reference",
        summary: "the plain loops that define every layer, one thread",
        create: |_| Ok(Arc::new(Reference::new())),
    },
];

/// All backends that this library brings, the fastest first, whether or not this machine can run them.
pub fn backends() -> &'static [BackendEntry] {
    BACKENDS
}

/// A backend by name: `auto` for the fastest that this machine can run, or one of [`backends()`]. The environment
/// variable `CNN_BACKEND` replaces `auto`.
pub fn backend(name: &str) -> Result<Arc<dyn Backend>, Error> {
    backend_with(name, &BackendOptions::default())
}

/// As [`backend`], with options.
pub fn backend_with(name: &str, options: &BackendOptions) -> Result<Arc<dyn Backend>, Error> {
    match (name, std::env::var("CNN_BACKEND")) {
        ("auto", Ok(name)) if name != "auto" => find(&name, " (from CNN_BACKEND)")?.create(options),
        ("auto", _) => fastest(options),
        _ => find(name, "")?.create(options),
    }
}

fn find(name: &str, origin: &'static str) -> Result<&'static BackendEntry, Error> {
    BACKENDS.iter().find(|entry| entry.name == name).ok_or_else(|| {
        let known = BACKENDS.iter().map(|entry| entry.name).collect::<Vec<_>>().join(", ");
        Error::Unknown { name: name.to_string(), origin, known }
    })
}

fn fastest(options: &BackendOptions) -> Result<Arc<dyn Backend>, Error> {
    let [first, rest @ ..] = BACKENDS else { return find("auto", "")?.create(options) };
    rest.iter().fold(first.create(options), |found, next| found.or_else(|_| next.create(options)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn backends_are_found_by_name() {
        for entry in backends() {
            assert_eq!(backend(entry.name).unwrap().name(), entry.name);
        }
        let error = backend("gpu").unwrap_err().to_string();
        assert_eq!(error, "unknown backend `gpu`; known are auto, cpu, reference");
        let cpu = backend_with("cpu", &BackendOptions::default().threads(3)).unwrap();
        assert_eq!(cpu.device().threads, 3);
    }
}
