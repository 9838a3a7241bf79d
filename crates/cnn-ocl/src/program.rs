//! Programs: a source with definitions, compiled for a device, and kept on disk from process to process.

#![allow(unsafe_code)]

use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::PathBuf;

use cnn_core::{Error, Result};
use opencl3::kernel::Kernel;
use opencl3::program::Program as ClProgram;

use crate::driver::{Driver, failed};

/// A file of kernels.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Source {
    /// Its name in errors.
    pub(crate) name: &'static str,
    pub(crate) text: &'static str,
}

/// What every file begins with.
const PRELUDE: &str = include_str!("ops/prelude.cl");

/// The options of every compilation. Definitions stand in the text instead: drivers' own caches have been seen to look at
/// nothing else.
const OPTIONS: &str = "-cl-std=CL1.2";

/// The text that the compiler sees.
pub(crate) fn complete<'a>(source: Source, defines: impl Iterator<Item = (&'a str, i64)>) -> String {
    let mut text = String::new();
    for (name, value) in defines {
        text.push_str(&format!("#define {name} {value}\n"));
    }
    text.push_str(PRELUDE);
    text.push_str(source.text);
    text
}

#[derive(Debug)]
pub(crate) struct Program {
    program: ClProgram,
    name: &'static str,
}

impl Program {
    pub(crate) fn build(driver: &Driver, name: &'static str, text: &str) -> Result<Self> {
        let cached = CachedBinary::of(driver, name, text);
        if let Some(program) = cached.as_ref().and_then(|cached| cached.load(driver)) {
            return Ok(Program { program, name });
        }
        let what = format!("kernels `{name}`");
        let mut program = ClProgram::create_from_source(&driver.context, text).map_err(|e| failed(&what, &e))?;
        let device = driver.context.default_device();
        if let Err(error) = program.build(&[device], OPTIONS) {
            let log = program.get_build_log(device).unwrap_or_default();
            let reason = format!("kernels `{name}` do not compile: {error}\n{}", log.trim());
            return Err(Error::Backend { backend: "ocl".to_string(), reason });
        }
        if let Some(cached) = cached {
            cached.store(&program);
        }
        Ok(Program { program, name })
    }

    /// A kernel object of its own, with arguments of its own.
    pub(crate) fn kernel(&self, function: &str) -> Result<Kernel> {
        Kernel::create(&self.program, function).map_err(|e| failed(&format!("kernel `{}/{function}`", self.name), &e))
    }
}

fn hash(bytes: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    bytes.hash(&mut hasher);
    hasher.finish()
}

/// The place on disk of a compiled program. Its file begins with all that it depends on, which is compared, and a checksum:
/// drivers have been seen to abort the process over a binary that is cut off.
struct CachedBinary {
    path: PathBuf,
    key: String,
}

impl CachedBinary {
    fn of(driver: &Driver, name: &str, text: &str) -> Option<Self> {
        let info = &driver.found.info;
        let key = format!("{}\n{}\n{OPTIONS}\n{text}\n", info.name, info.driver);
        let path = driver.cache.as_ref()?.join(format!("{name}-{:016x}.clbin", hash(key.as_bytes())));
        Some(CachedBinary { path, key })
    }

    fn load(&self, driver: &Driver) -> Option<ClProgram> {
        let bytes = std::fs::read(&self.path).ok()?;
        let (checksum, binary) = bytes.strip_prefix(self.key.as_bytes())?.split_first_chunk()?;
        if *checksum != hash(binary).to_le_bytes() {
            tracing::warn!("{} is damaged: the program is compiled again", self.path.display());
            return None;
        }
        let devices = [driver.context.default_device()];
        // SAFETY: one binary for one device of the context; the driver checks what is in it.
        let mut program = unsafe { ClProgram::create_from_binary(&driver.context, &devices, &[binary]) }.ok()?;
        program.build(&devices, "").ok()?;
        Some(program)
    }

    /// A cache that cannot be written never fails a run.
    fn store(&self, program: &ClProgram) {
        // ARM's driver compiles when a kernel is made, so the binary is asked for after that.
        let kernels = opencl3::kernel::create_program_kernels(program);
        let binary = program.get_binaries().ok().and_then(|binaries| binaries.into_iter().next());
        drop(kernels);
        let Some(binary) = binary.filter(|binary| !binary.is_empty()) else { return };
        let write = || -> std::io::Result<()> {
            let folder = self.path.parent().unwrap_or(std::path::Path::new("."));
            std::fs::create_dir_all(folder)?;
            // Two processes may write at the same time: each its own file, moved into place whole.
            let part = self.path.with_extension(format!("{}.part", std::process::id()));
            std::fs::write(&part, [self.key.as_bytes(), &hash(&binary).to_le_bytes(), &binary].concat())?;
            std::fs::rename(&part, &self.path)
        };
        if let Err(error) = write() {
            tracing::warn!("the compiled program is not kept: {}: {error}", self.path.display());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Ocl;

    #[test]
    fn kernels_that_do_not_compile_are_named_with_the_compilers_words() {
        let ocl = Ocl::new("").expect("an OpenCL device");
        let broken = Source { name: "broken", text: "kernel void f(global float *x) { *x = no_such_name; }" };
        let error = ocl.driver().program(broken, &[]).unwrap_err().to_string();
        assert!(error.contains("`broken` do not compile") && error.contains("no_such_name"), "{error}");
    }
}
