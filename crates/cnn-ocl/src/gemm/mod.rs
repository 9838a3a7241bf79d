//! Matrix products of other libraries.

pub(crate) mod clblast;
