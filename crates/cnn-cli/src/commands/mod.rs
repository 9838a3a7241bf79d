//! One file a command.

pub(crate) mod bench;
mod bench_accuracy;
mod bench_codec;
mod bench_exchange;
mod bench_scaling;
mod bench_training;
mod child;
pub(crate) mod classify;
pub(crate) mod compress;
pub(crate) mod devices;
mod flattened;
pub(crate) mod inspect;
mod ladder;
mod parallel;
pub(crate) mod test;
pub(crate) mod train;
pub(crate) mod tune;
