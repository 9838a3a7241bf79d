//! The processes that `mpirun` started, of which this is one.

use anyhow::Context;
use cnn::train::parallel::Transport;

/// How many there are: none where `mpirun`, of Open MPI, did not start this one.
pub(crate) fn started() -> anyhow::Result<Option<usize>> {
    count("OMPI_COMM_WORLD_SIZE")
}

/// How many of them share this machine.
pub(crate) fn on_this_machine() -> anyhow::Result<usize> {
    Ok(count("OMPI_COMM_WORLD_LOCAL_SIZE")?.unwrap_or(1))
}

/// What `mpirun` left under this name, which is from 1 up.
fn count(variable: &str) -> anyhow::Result<Option<usize>> {
    let Some(count) = std::env::var_os(variable) else { return Ok(None) };
    let number = count.to_str().and_then(|count| count.parse().ok()).filter(|&number| number > 0);
    Ok(Some(number.with_context(|| format!("{variable} is {count:?}, which is no number of processes"))?))
}

/// Does `work` as one of them. Where it fails, all of them end.
#[cfg(feature = "mpi")]
pub(crate) fn run<T>(work: impl FnOnce(Box<dyn Transport>) -> anyhow::Result<T>) -> anyhow::Result<T> {
    let (processes, mpi) = cnn::train::parallel::Processes::join()?;
    match work(Box::new(mpi)) {
        Ok(done) => {
            processes.leave()?;
            Ok(done)
        }
        Err(error) => {
            crate::complain(&error.context(format!("rank {}", processes.rank())));
            processes.abort(2)
        }
    }
}

/// Says how to build the program that can.
#[cfg(not(feature = "mpi"))]
pub(crate) fn run<T>(_work: impl FnOnce(Box<dyn Transport>) -> anyhow::Result<T>) -> anyhow::Result<T> {
    anyhow::bail!(
        "mpirun started this program, which was built without MPI: install Open MPI and libclang, and build it with \
         `cargo build --release -p cnn-cli --features mpi`"
    )
}
