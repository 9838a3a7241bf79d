//! What every backend has to do, checked against the reference.

use std::sync::atomic::{AtomicUsize, Ordering};

use cnn_core::backend::{GradientSink, KeepGradients};
use cnn_core::layers::{Init, Linear, Role, Softmax};
use cnn_core::{Backend, CompileOptions, Error, Network, Recipe, Reference, Tensor, Weights};

use crate::shared_batches::{gradients_that_a_sink_settles, gradients_that_are_scaled, parts_of_a_batch};
use crate::{assert_close, cases, difference, uniform, whole_networks};

/// Runs the whole suite on a backend.
///
/// # Panics
/// Where the backend does not do as the reference does, with all cases that failed.
pub fn check(backend: &dyn Backend) {
    check_inference(backend);
    shared_plan(backend);
    training(backend);
}

/// What one thread sees of inference.
///
/// # Panics
/// As [`check`] does.
pub fn check_inference(backend: &dyn Backend) {
    inference(backend);
    any_batch(backend);
    not_a_number(backend);
    errors(backend);
}

/// Weights with nothing special about them: running means and variances, slopes and biases are drawn too.
pub fn random_weights(network: &Network, seed: u64) -> Weights {
    let mut weights = Weights::new();
    for (i, p) in network.parameters().enumerate() {
        let scale = match p.init {
            Init::Spread { fan_in, .. } => (6.0 / fan_in as f32).sqrt(),
            Init::Constant(_) => 0.5,
        };
        let values = uniform(seed + i as u64, p.shape.elements());
        let positive = p.role == Role::State;
        let value = |v: f32| if positive { v.abs() + 0.5 } else { v * scale };
        let tensor = Tensor::new(p.shape, values.into_iter().map(value).collect()).expect("lengths agree");
        weights.insert(p.name, tensor);
    }
    weights
}

/// A batch of inputs in [-1, 1).
pub fn random_input(network: &Network, batch: usize, seed: u64) -> Tensor {
    let shape = network.input_shape().with_batch(batch);
    Tensor::new(shape.clone(), uniform(seed, shape.elements())).expect("lengths agree")
}

fn run(
    backend: &dyn Backend,
    (network, weights): (&Network, &Weights),
    input: &Tensor,
    options: &CompileOptions,
) -> Result<Vec<f32>, Error> {
    let options = options.clone().batch(input.batch());
    let output = backend.compile(network, weights, &options)?.session()?.run(input)?;
    Ok(output.to_f32().into_owned())
}

/// What the reference makes of it.
fn reference(network: &Network, weights: &Weights, input: &Tensor) -> Vec<f32> {
    let options = CompileOptions::default();
    run(&Reference::new(), (network, weights), input, &options).expect("the reference runs all")
}

/// All networks of the suite with the tolerance of each.
fn networks() -> Vec<(Network, usize, f64)> {
    let of_case = |case: &crate::Case| (case.network().expect("cases fit"), case.batch, case.tolerance);
    let mut networks: Vec<_> = cases().iter().map(of_case).collect();
    networks.extend(whole_networks().expect("they fit").into_iter().map(|network| (network, 3, 3e-6)));
    networks
}

/// Every case and whole network gives the reference's results: closely where no algorithm may add an error of its own,
/// and within what the options tolerate otherwise.
pub fn inference(backend: &dyn Backend) {
    let mut failures = Vec::new();
    let default = CompileOptions::default();
    let exact = default.clone().tolerance(0.0);
    for (network, batch, tolerance) in networks() {
        let (weights, input) = (random_weights(&network, 7), random_input(&network, batch, 8));
        let want = reference(&network, &weights, &input);
        for (options, tolerance) in [(&exact, tolerance), (&default, tolerance.max(f64::from(default.tolerance)))] {
            match run(backend, (&network, &weights), &input, options) {
                Err(error) => failures.push(format!("{}: {error}", network.name())),
                Ok(got) => match difference(&got, &want) {
                    Some(d) if d.relative_rms <= tolerance => {}
                    found => failures.push(format!("{}: {found:?}, tolerance {tolerance:e}", network.name())),
                },
            }
        }
    }
    assert!(failures.is_empty(), "{} differs from the reference:\n{}", backend.name(), failures.join("\n"));
}

/// One session takes any batch, smaller and larger, and a sample's result does not depend on its neighbours.
fn any_batch(backend: &dyn Backend) {
    for network in whole_networks().expect("they fit") {
        let weights = random_weights(&network, 3);
        let plan = backend.compile(&network, &weights, &CompileOptions::default()).expect("compiles");
        let mut session = plan.session().expect("a session");
        let five = random_input(&network, 5, 4);
        let all = session.run(&five).expect("runs");
        let (sample, out) = (network.input_shape().elements(), network.output_shape().elements());
        for n in [4, 0] {
            let values = five.to_f32()[n * sample..(n + 1) * sample].to_vec();
            let one = Tensor::new(network.input_shape().with_batch(1), values).expect("lengths agree");
            let alone = session.run(&one).expect("runs");
            assert_close(network.name(), &alone.to_f32(), &all.to_f32()[n * out..(n + 1) * out], 1e-6);
        }
        assert_eq!(session.run(&five).expect("runs"), all, "{}: a second run differs", network.name());
        let profile = session.profile(&five).expect("profiles");
        assert_eq!(profile.output, all);
        assert_eq!(profile.steps.len(), plan.report().steps.len());
    }
}

/// NaN and infinity in the input come out where the reference has them; algorithms that transform their input may spread
/// them further, and never lose them.
fn not_a_number(backend: &dyn Backend) {
    for (network, batch, _) in networks() {
        let weights = random_weights(&network, 1);
        let mut input = random_input(&network, batch, 2);
        let values = input.as_f32_mut().expect("f32");
        let last = values.len() - 1;
        (values[0], values[last]) = (f32::NAN, f32::INFINITY);
        let want = reference(&network, &weights, &input);
        let default = CompileOptions::default();
        let run = |options: &CompileOptions| run(backend, (&network, &weights), &input, options).expect("runs");
        let elsewhere = |(got, want): (&f32, &f32)| {
            got.is_nan() != want.is_nan() || (want.is_infinite() || got.is_infinite()) && got != want
        };
        let got = run(&default.clone().tolerance(0.0));
        let place = got.iter().zip(&want).position(elsewhere);
        assert_eq!(place, None, "{}: NaN or infinity elsewhere", network.name());
        let lost = run(&default).iter().zip(&want).position(|(got, want)| got.is_finite() && !want.is_finite());
        assert_eq!(lost, None, "{}: NaN or infinity lost", network.name());
    }
}

/// What does not fit is an error that tells, and the session still works after it.
fn errors(backend: &dyn Backend) {
    let network = &whole_networks().expect("they fit")[0];
    let weights = random_weights(network, 1);
    let options = CompileOptions::default();
    let mut missing = weights.clone();
    missing.remove("conv2.bias");
    let error = backend.compile(network, &missing, &options).err().map(|e| e.to_string()).unwrap_or_default();
    assert!(error.contains("conv2.bias"), "{error}");
    let mut unknown = weights.clone();
    unknown.insert("conv9.bias", Tensor::zeros([1]).expect("memory"));
    assert!(backend.compile(network, &unknown, &options).is_err());
    let options_unknown = CompileOptions::default().algorithm("no such algorithm");
    assert!(backend.compile(network, &weights, &options_unknown).is_err());

    let mut session = backend.compile(network, &weights, &options).expect("compiles").session().expect("a session");
    for shape in [vec![1, 3, 12, 13], vec![3, 12, 12], vec![0, 3, 12, 12], vec![]] {
        let input = Tensor::zeros(shape).expect("memory");
        assert!(matches!(session.run(&input), Err(Error::Shape { .. })), "{input:?}");
    }
    let bytes = Tensor::from_u8([1, 3, 12, 12], vec![0; 432]).expect("lengths agree");
    assert!(matches!(session.run(&bytes), Err(Error::ElementType { .. })));
    session.run(&random_input(network, 1, 1)).expect("still runs");
}

/// Threads that share a plan, each with a session of its own, get the same answers.
pub fn shared_plan(backend: &dyn Backend) {
    let network = &whole_networks().expect("they fit")[1];
    let plan = backend.compile(network, &random_weights(network, 5), &CompileOptions::default()).expect("compiles");
    let inputs: Vec<Tensor> = (0..4).map(|i| random_input(network, 2, i)).collect();
    let mut session = plan.session().expect("a session");
    let want: Vec<Tensor> = inputs.iter().map(|input| session.run(input).expect("runs")).collect();
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let mut session = plan.session().expect("a session");
                for _ in 0..10 {
                    let got: Vec<Tensor> = inputs.iter().map(|input| session.run(input).expect("runs")).collect();
                    assert_eq!(got, want);
                }
            });
        }
    });
}

/// Collects every gradient under its name.
#[derive(Default)]
pub(crate) struct Collect(pub(crate) Vec<(String, Vec<f32>)>);

impl GradientSink for Collect {
    fn ready(&mut self, name: &str, gradient: &mut [f32]) -> cnn_core::Result<()> {
        self.0.push((name.to_string(), gradient.to_vec()));
        Ok(())
    }
}

/// Gradients, losses and two steps of training agree with the reference's, for every case and whole network.
pub fn training(backend: &dyn Backend) {
    let mut networks: Vec<Network> = cases().iter().map(|case| case.classifier().expect("cases fit")).collect();
    networks.extend(whole_networks().expect("they fit"));
    training_of(backend, networks);
    gradients_that_a_sink_settles(backend);
    gradients_that_are_scaled(backend);
    parts_of_a_batch(backend);
    labels_that_do_not_fit(backend);
    outputs_that_are_no_classes(backend);
}

/// As [`training`], for the whole networks and the cases that hold what those lack: where the rest would take too long.
pub fn training_of_few(backend: &dyn Backend) {
    const LACKING: [&str; 6] = [
        "conv dilated and strided",
        "conv in two groups",
        "max pool overlapping",
        "concat of vectors",
        "softmax of images",
        "leaky relu",
    ];
    let lacking = cases().into_iter().filter(|case| LACKING.contains(&case.name.as_str()));
    let mut networks: Vec<Network> = lacking.map(|case| case.classifier().expect("cases fit")).collect();
    assert_eq!(networks.len(), LACKING.len());
    networks.extend(whole_networks().expect("they fit"));
    training_of(backend, networks);
    gradients_that_a_sink_settles(backend);
    gradients_that_are_scaled(backend);
    parts_of_a_batch(backend);
}

fn training_of(backend: &dyn Backend, networks: Vec<Network>) {
    for network in networks {
        let weights = random_weights(&network, 11);
        let classes = network.output_shape().elements() as u32;
        let (images, labels) = (random_input(&network, 5, 12), [0, 1, 2, 1, 0].map(|label| label % classes));
        let recipe = Recipe::default().seed(9);
        let mut got = backend.compile_training(&network, &weights, &recipe).expect("compiles");
        let mut want = Reference::new().compile_training(&network, &weights, &recipe).expect("compiles");
        let (mut got_gradients, mut want_gradients) = (Collect::default(), Collect::default());
        let got_stats = got.gradients(&images, &labels, &mut got_gradients).expect("runs");
        let want_stats = want.gradients(&images, &labels, &mut want_gradients).expect("runs");
        assert!((got_stats.loss - want_stats.loss).abs() < 1e-5 * want_stats.loss.max(1.0), "{}", network.name());
        assert_eq!(got_stats.correct, want_stats.correct, "{}", network.name());
        for ((got_name, got), (want_name, want)) in got_gradients.0.iter().zip(&want_gradients.0) {
            assert_eq!(got_name, want_name, "{}", network.name());
            // A bias before a batch norm has no effect: its gradient is rounding alone.
            if want.iter().any(|g| g.abs() > 1e-6) {
                assert_close(&format!("{} d{got_name}", network.name()), got, want, 5e-5);
            }
        }
        assert_eq!(got_gradients.0.len(), want_gradients.0.len());
        for trainer in [&mut got, &mut want] {
            trainer.update(0.05).expect("updates");
        }
        let (begun, pieces) = (AtomicUsize::new(0), 3);
        let piece = || begun.fetch_add(1, Ordering::Relaxed) < pieces;
        got.step_sharing(&images, &labels, 0.05, &piece).expect("runs");
        assert!(begun.into_inner() > pieces, "{}: the caller's work is left", network.name());
        want.step(&images, &labels, 0.05, &mut KeepGradients).expect("runs");
        let (got, want) = (got.weights().expect("weights"), want.weights().expect("weights"));
        for (name, view) in got.iter() {
            let want = want.get(name).expect("the same names").to_f32();
            assert_close(&format!("{} {name} after two steps", network.name()), &view.to_f32(), &want, 1e-4);
        }
    }
}

/// How a backend trains a network, after its loss and gradients were found to be those of the plain loops, and the same bits when they
/// are made again. For layers in a row that are linear, which may cancel much of what they add up.
pub fn gradients_of_chains(backend: &dyn Backend, network: &Network, batch: usize) -> String {
    let (weights, images) = (random_weights(network, 5), random_input(network, batch, 6));
    let classes = network.output_shape().elements() as u32;
    let labels: Vec<u32> = (0..batch as u32).map(|i| i % classes).collect();
    let mut trainer = backend.compile_training(network, &weights, &Recipe::default()).expect("compiles");
    let mut plain = Reference::new().compile_training(network, &weights, &Recipe::default()).expect("compiles");
    let (mut got, mut again, mut want) = (Collect::default(), Collect::default(), Collect::default());
    let got_stats = trainer.gradients(&images, &labels, &mut got).expect("runs");
    trainer.gradients(&images, &labels, &mut again).expect("runs");
    let want_stats = plain.gradients(&images, &labels, &mut want).expect("runs");
    assert!((got_stats.loss - want_stats.loss).abs() < 1e-4 * want_stats.loss.max(1.0));
    assert_eq!(got.0, again.0);
    assert_eq!(got.0.len(), want.0.len());
    for ((got_name, got), (want_name, want)) in got.0.iter().zip(&want.0) {
        assert_eq!(got_name, want_name);
        if want.iter().any(|gradient| gradient.abs() > 1e-5) {
            assert_close(&format!("d{got_name}"), got, want, 2e-4);
        }
    }
    trainer.method()
}

/// A softmax may close the network without following the last layer; one over pixels has no classes to learn.
fn outputs_that_are_no_classes(backend: &dyn Backend) {
    let mut net = Network::builder("a branch that leads nowhere", [4]);
    let logits = net.push("fc", Linear::new(3)).expect("fits");
    net.push("nowhere", Linear::new(2)).expect("fits");
    net.push_with("softmax", Softmax, &[logits]).expect("fits");
    let network = net.finish().expect("fits");
    let weights = random_weights(&network, 1);
    let mut trainer = backend.compile_training(&network, &weights, &Recipe::default()).expect("compiles");
    // Again, in memory that the first time has used.
    for _ in 0..2 {
        let mut gradients = Collect::default();
        trainer.gradients(&random_input(&network, 2, 1), &[2, 0], &mut gradients).expect("runs");
        for (name, gradient) in &gradients.0 {
            assert_eq!(gradient.iter().any(|&g| g != 0.0), name.starts_with("fc"), "{name} {gradient:?}");
        }
    }

    let mut net = Network::builder("pixels", [3, 2, 2]);
    net.push("softmax", Softmax).expect("fits");
    let network = net.finish().expect("fits");
    assert!(backend.compile_training(&network, &Weights::new(), &Recipe::default()).is_err());
}

fn labels_that_do_not_fit(backend: &dyn Backend) {
    let network = &whole_networks().expect("they fit")[0];
    let mut trainer =
        backend.compile_training(network, &random_weights(network, 1), &Recipe::default()).expect("compiles");
    let images = random_input(network, 2, 1);
    for labels in [&[0][..], &[0, 5], &[0, u32::MAX]] {
        let result = trainer.gradients(&images, labels, &mut KeepGradients);
        assert!(matches!(result, Err(Error::Labels { .. })), "{labels:?}");
    }
    trainer.gradients(&images, &[4, 0], &mut KeepGradients).expect("still runs");
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_reference_conforms_to_itself() {
        super::check(&cnn_core::Reference::new());
    }
}
