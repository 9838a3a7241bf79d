//! A backend written outside the library: it compiles on another one and counts the images that it runs.
//!
//! `cargo run --release --example own_backend`

use std::sync::{Arc, atomic::AtomicUsize, atomic::Ordering};

use cnn::{Backend, CompileOptions, DeviceInfo, Network, Plan, PlanReport, Profile, Recipe, Session};
use cnn::{CoreError as Error, Reference, Tensor, Trainer, Weights, models};

static IMAGES: AtomicUsize = AtomicUsize::new(0);

#[derive(Debug)]
struct Counting(Reference);
struct CountingPlan(Arc<dyn Plan>);
struct CountingSession(Box<dyn Session>);

impl Backend for Counting {
    fn name(&self) -> &str {
        "counting"
    }
    fn device(&self) -> &DeviceInfo {
        self.0.device()
    }
    fn compile(&self, net: &Network, weights: &Weights, options: &CompileOptions) -> Result<Arc<dyn Plan>, Error> {
        Ok(Arc::new(CountingPlan(self.0.compile(net, weights, options)?)))
    }
    fn compile_training(&self, _: &Network, _: &Weights, _: &Recipe) -> Result<Box<dyn Trainer>, Error> {
        Err(Error::Backend { backend: "counting".to_string(), reason: "it only runs".to_string() })
    }
}

impl Plan for CountingPlan {
    fn session(&self) -> Result<Box<dyn Session>, Error> {
        Ok(Box::new(CountingSession(self.0.session()?)))
    }
    fn report(&self) -> &PlanReport {
        self.0.report()
    }
}

impl Session for CountingSession {
    fn run(&mut self, input: &Tensor) -> Result<Tensor, Error> {
        IMAGES.fetch_add(input.batch(), Ordering::Relaxed);
        self.0.run(input)
    }
    fn profile(&mut self, input: &Tensor) -> Result<Profile, Error> {
        self.0.profile(input)
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let backend: Arc<dyn Backend> = Arc::new(Counting(Reference::new())); // as any other from here on
    let network = models::find("lenet5")?.network()?;
    let plan = backend.compile(&network, &Weights::random(&network, 0)?, &CompileOptions::default())?;
    plan.session()?.run(&Tensor::zeros([3, 1, 32, 32])?)?;
    println!("{} ran {} images", backend.name(), IMAGES.load(Ordering::Relaxed));
    Ok(())
}
