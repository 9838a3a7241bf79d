//! A backend written outside the library: it compiles on another one and counts what it is asked for.
//!
//! `cargo run --release --example own_backend`

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use cnn::{Backend, CompileOptions, DeviceInfo, Network, Plan, PlanReport, Profile, Recipe, Session};
use cnn::{CoreError as Error, Reference, Tensor, Trainer, Weights, models};

#[derive(Debug, Default)]
struct Counting {
    inner: Reference,
    images: Arc<AtomicUsize>,
}

struct CountingPlan(Arc<dyn Plan>, Arc<AtomicUsize>);
struct CountingSession(Box<dyn Session>, Arc<AtomicUsize>);

impl Backend for Counting {
    fn name(&self) -> &str {
        "counting"
    }
    fn device(&self) -> &DeviceInfo {
        self.inner.device()
    }
    fn compile(&self, net: &Network, weights: &Weights, options: &CompileOptions) -> Result<Arc<dyn Plan>, Error> {
        Ok(Arc::new(CountingPlan(self.inner.compile(net, weights, options)?, self.images.clone())))
    }
    fn compile_training(&self, _: &Network, _: &Weights, _: &Recipe) -> Result<Box<dyn Trainer>, Error> {
        Err(Error::Backend { backend: "counting".to_string(), reason: "it only runs".to_string() })
    }
}

impl Plan for CountingPlan {
    fn session(&self) -> Result<Box<dyn Session>, Error> {
        Ok(Box::new(CountingSession(self.0.session()?, self.1.clone())))
    }
    fn report(&self) -> &PlanReport {
        self.0.report()
    }
}

impl Session for CountingSession {
    fn run(&mut self, input: &Tensor) -> Result<Tensor, Error> {
        self.1.fetch_add(input.batch(), Ordering::Relaxed);
        self.0.run(input)
    }
    fn profile(&mut self, input: &Tensor) -> Result<Profile, Error> {
        self.1.fetch_add(input.batch(), Ordering::Relaxed);
        self.0.profile(input)
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let counting = Arc::new(Counting::default());
    let backend: Arc<dyn Backend> = counting.clone(); // as any other from here on
    let network = models::find("lenet5")?.network()?;
    let plan = backend.compile(&network, &Weights::random(&network, 0)?, &CompileOptions::default())?;
    plan.session()?.run(&Tensor::zeros([3, 1, 32, 32])?)?;
    println!("{} ran {} images", backend.name(), counting.images.load(Ordering::Relaxed));
    Ok(())
}
