//! Sums behind convolutions run inside them: by every row of the table, and what the plain loops say in networks of many joins.

use cnn_core::layers::{Activation, Add, BatchNorm2d, Conv2d, MaxPool2d};
use cnn_core::{Backend, CompileOptions, Network, Plan, Reference, Tensor, ValueId, Weights};
use cnn_cpu::Cpu;
use cnn_cpu::ops::conv2d::TABLE;
use cnn_cpu::simd::Instructions;
use cnn_testkit::conformance::{random_input, random_weights};
use cnn_testkit::difference;

const INPUT: ValueId = ValueId::INPUT;

/// What surrounds a convolution and its sum.
#[derive(Debug, Clone, Copy)]
struct Setting {
    norm: bool,
    activation: Option<Activation>,
    /// Whether the input is added, where it has the output's shape, and not a branch of it.
    input: bool,
    batch: usize,
    threads: usize,
}

const SETTINGS: [Setting; 4] = [
    Setting { norm: false, activation: None, input: false, batch: 3, threads: 2 },
    Setting { norm: true, activation: Some(Activation::Relu), input: true, batch: 1, threads: 2 },
    Setting { norm: true, activation: None, input: true, batch: 3, threads: 1 },
    Setting { norm: false, activation: Some(Activation::Tanh), input: false, batch: 1, threads: 1 },
];

/// Convolutions with idle lanes, of which every row takes some.
fn convolutions() -> Vec<([usize; 3], Conv2d)> {
    vec![
        ([20, 21, 23], Conv2d::new(20, 3).padding(1)),
        ([20, 21, 23], Conv2d::new(37, 3).padding(1).stride(2)),
        ([33, 26, 25], Conv2d::new(33, 1)),
        ([20, 9, 7], Conv2d::new(20, 3).padding(1).groups(20)),
        ([20, 9, 7], Conv2d::new(20, [5, 1]).padding([2, 0])),
        ([3, 12, 40], Conv2d::new(3, 3).padding(1)),
        ([19, 5, 5], Conv2d::new(24, 5)),
        // Sums in parts.
        ([600, 4, 5], Conv2d::new(40, 1)),
        ([90, 6, 5], Conv2d::new(90, 3).padding(1)),
    ]
}

/// The convolution, then the sum with the input or with a branch, whose activation keeps it from taking the sum.
fn network((input, conv): &([usize; 3], Conv2d), setting: Setting) -> Network {
    let mut net = Network::builder("n", *input);
    let mut branch = INPUT;
    let same = conv.out_channels == input[0] && conv.window.stride == [1, 1];
    if !(setting.input && same) {
        net.push("branch", Conv2d { groups: 1, ..conv.clone() }).unwrap();
        branch = net.push("branch relu", Activation::Relu).unwrap();
    }
    let mut made = net.push_with("conv", conv.clone(), &[INPUT]).unwrap();
    if setting.norm {
        made = net.push("norm", BatchNorm2d::new()).unwrap();
    }
    net.push_with("sum", Add, &[branch, made]).unwrap();
    if let Some(activation) = setting.activation {
        net.push("activation", activation).unwrap();
    }
    net.finish().unwrap()
}

fn reference(network: &Network, weights: &Weights, input: &Tensor) -> Tensor {
    let plan = Reference::new().compile(network, weights, &CompileOptions::default()).unwrap();
    plan.session().unwrap().run(input).unwrap()
}

/// The layer and the fused layers of each step.
fn steps(plan: &dyn Plan) -> Vec<String> {
    let steps = plan.report().steps.iter().filter(|step| step.kind != "Layout");
    steps.map(|step| [&step.layer].into_iter().chain(&step.fused).cloned().collect::<Vec<_>>().join(" ")).collect()
}

fn apart(plan: &dyn Plan, input: &Tensor, want: &Tensor) -> f64 {
    let got = plan.session().unwrap().run(input).unwrap();
    difference(&got.to_f32(), &want.to_f32()).map_or(f64::INFINITY, |d| d.relative_rms)
}

#[test]
fn every_row_adds_residuals() {
    let mut accepted = vec![0; TABLE.len()];
    for instructions in Instructions::supported() {
        let cpus = [1, 2].map(|threads| Cpu::with_threads(threads).unwrap().with_instructions(instructions));
        for convolution in convolutions() {
            for setting in SETTINGS {
                let network = network(&convolution, setting);
                let (weights, input) = (random_weights(&network, 5), random_input(&network, setting.batch, 6));
                let want = reference(&network, &weights, &input);
                for (row, accepted) in TABLE.iter().zip(&mut accepted) {
                    let options = CompileOptions::default().algorithm(row.name());
                    let plan = cpus[setting.threads - 1].compile(&network, &weights, &options).unwrap();
                    let step = plan.report().steps.iter().find(|step| step.layer == "conv").unwrap();
                    *accepted += usize::from(step.algorithm == format!("conv2d/{}", row.name()));
                    assert!(step.fused.contains(&"sum".to_string()), "{:?}", step.fused);
                    let apart = apart(plan.as_ref(), &input, &want);
                    assert!(apart <= 1e-5, "{convolution:?} {setting:?} by {}: {apart:e}", row.name());
                }
            }
        }
    }
    assert!(accepted.iter().all(|&count| count >= 4), "{accepted:?}");
}

/// Winograd by frequency takes some images of a batch at a time.
#[test]
fn images_of_a_large_batch_meet_their_own_residuals() {
    let convolution = ([176, 80, 80], Conv2d::new(1, 3).padding(1));
    let network = network(&convolution, SETTINGS[0]);
    let (weights, input) = (random_weights(&network, 5), random_input(&network, 2, 6));
    let (want, cpu) = (reference(&network, &weights, &input), Cpu::with_threads(2).unwrap());
    for row in ["winograd_f4", "winograd_f6"] {
        let options = CompileOptions::default().algorithm(row).strict();
        let apart = apart(cpu.compile(&network, &weights, &options).unwrap().as_ref(), &input, &want);
        assert!(apart <= 1e-5, "{row}: {apart:e}");
    }
}

/// A projection shortcut, sums of three and of a value with itself, what two read, and joins far from what they add.
fn joins() -> Network {
    let mut net = Network::builder("joins", [20, 13, 11]);
    let wide = |channels: usize| Conv2d::new(channels, 3).padding(1);
    net.push("a", wide(20)).unwrap();
    let norm = net.push("a norm", BatchNorm2d::new()).unwrap();
    net.push_with("a sum", Add, &[norm, INPUT]).unwrap();
    let block = net.push("a relu", Activation::Relu).unwrap();
    // Both sides of the sum are convolutions.
    net.push("b1", wide(36).stride(2)).unwrap();
    net.push("b1 relu6", Activation::Relu6).unwrap();
    let b = net.push("b2", wide(36)).unwrap();
    let shortcut = net.push_with("b shortcut", Conv2d::new(36, 1).stride(2), &[block]).unwrap();
    let b_sum = net.push_with("b sum", Add, &[b, shortcut]).unwrap();
    // The residual is made after the convolution, and read again later.
    let early = net.push_with("c", wide(36), &[b_sum]).unwrap();
    let pool = net.push_with("c pool", MaxPool2d::new(3).stride(1).padding(1), &[b_sum]).unwrap();
    let tanh = net.push("c tanh", Activation::Tanh).unwrap();
    let c_sum = net.push_with("c sum", Add, &[early, pool]).unwrap();
    net.push_with("d", wide(36), &[c_sum]).unwrap();
    let d_sum = net.push("d relu", Activation::Relu).unwrap();
    let three = net.push_with("d sum", Add, &[d_sum, tanh, pool]).unwrap();
    let twice = net.push_with("e", wide(36), &[three]).unwrap();
    let double = net.push_with("e sum", Add, &[twice, twice]).unwrap();
    let shared = net.push_with("f", wide(36), &[double]).unwrap();
    let f_sum = net.push_with("f sum", Add, &[shared, double]).unwrap();
    net.push_with("f again", Add, &[f_sum, shared]).unwrap();
    net.push("g", wide(36)).unwrap();
    let g = net.push("g norm", BatchNorm2d::new()).unwrap();
    let g_sum = net.push_with("g sum", Add, &[f_sum, g]).unwrap();
    net.push("h", Conv2d::new(36, 1)).unwrap();
    let h = net.push("h norm", BatchNorm2d::new()).unwrap();
    net.push_with("h sum", Add, &[h, g_sum]).unwrap();
    net.finish().unwrap()
}

#[test]
fn all_joins_agree_with_the_plain_loops() {
    let network = joins();
    let weights = random_weights(&network, 1);
    let cpus = [1, 2].map(|threads| Cpu::with_threads(threads).unwrap());
    let names = TABLE.iter().map(|row| Some(row.name())).chain([None]);
    for (name, batch) in names.flat_map(|name| [(name, 1), (name, 3)]) {
        let mut options = CompileOptions::default();
        options.algorithm = name.map(str::to_string);
        let input = random_input(&network, batch, 2);
        let want = reference(&network, &weights, &input);
        for cpu in &cpus {
            let plan = cpu.compile(&network, &weights, &options).unwrap();
            let apart = apart(plan.as_ref(), &input, &want);
            assert!(apart <= 1e-5, "{name:?}, batch {batch}: {apart:e}");
            let expected = [
                "a a norm a sum a relu",
                "b1 b1 relu6",
                "b2",
                "b shortcut b sum",
                "c pool",
                "c tanh",
                "c c sum",
                "d d relu",
                "d sum",
                "e",
                "e sum",
                "f",
                "f sum",
                "f again",
                "g g norm g sum",
                "h h norm h sum",
            ];
            assert_eq!(steps(plan.as_ref()), expected);
        }
    }
}

#[test]
fn a_timed_plan_adds_residuals() {
    let network = joins();
    let (weights, input) = (random_weights(&network, 1), random_input(&network, 2, 2));
    let plan = Cpu::with_threads(2).unwrap().compile(&network, &weights, &CompileOptions::default().timed()).unwrap();
    assert!(steps(plan.as_ref()).contains(&"b shortcut b sum".to_string()));
    let apart = apart(plan.as_ref(), &input, &reference(&network, &weights, &input));
    assert!(apart <= 1e-5, "{apart:e}");
}
