//! Trainings in which workers share layers: model-parallel and hybrid ones.

mod fit;
mod hybrid;
mod model;
mod ocl;
mod workers;
