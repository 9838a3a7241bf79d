//! Concatenations: what the plain loops say, whatever the widths, and whether or not the parts are written where they belong.

use cnn_core::layers::{Activation, Add, Concat, Conv2d, MaxPool2d};
use cnn_core::{Backend, CompileOptions, Network, Reference, ValueId};
use cnn_cpu::Cpu;
use cnn_testkit::conformance::{random_input, random_weights};
use cnn_testkit::difference;
use proptest::prelude::*;

/// Checks a network against the plain loops.
fn check(network: &Network) {
    let weights = random_weights(network, 5);
    for (batch, threads) in [(1, 1), (1, 2), (3, 2)] {
        let input = random_input(network, batch, 6);
        let output = |backend: &dyn Backend| {
            let plan = backend.compile(network, &weights, &CompileOptions::default()).unwrap();
            let mut session = plan.session().unwrap();
            // The second run finds what the first one left behind.
            session.run(&input).unwrap();
            session.run(&input).unwrap()
        };
        let (want, got) = (output(&Reference::new()), output(&Cpu::with_threads(threads).unwrap()));
        let apart = difference(&got.to_f32(), &want.to_f32()).map_or(f64::INFINITY, |d| d.relative_rms);
        assert!(apart <= 2e-5, "{apart:e}, batch {batch}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]
    #[test]
    fn random_graphs_agree_with_the_plain_loops(
        input in (1usize..20, 2usize..8, 2usize..8),
        layers in prop::collection::vec((0usize..4, prop::sample::select(vec![3usize, 8, 16, 32, 33]), any::<[prop::sample::Index; 3]>()), 1..12),
    ) {
        let mut net = Network::builder("n", [input.0, input.1, input.2]);
        let mut values = vec![ValueId::INPUT];
        for (i, (kind, width, picks)) in layers.iter().enumerate() {
            let picks = picks.map(|pick| *pick.get(&values));
            let value = match kind {
                0 => net.push_with(format!("concat{i}"), Concat, &picks),
                1 => net.push_with(format!("pool{i}"), MaxPool2d::new(3).stride(1).padding(1), &picks[..1]),
                2 => net.push_with(format!("pointwise{i}"), Conv2d::new(*width, 1), &picks[..1]),
                _ => net.push_with(format!("window{i}"), Conv2d::new(*width, 3).padding(1), &picks[..1]),
            };
            values.push(value.unwrap());
        }
        let all: Vec<ValueId> = values.iter().rev().take(4).copied().chain([ValueId::INPUT]).collect();
        net.push_with("all", Concat, &all).unwrap();
        check(&net.finish().unwrap());
    }
}

fn conv(net: &mut cnn_core::NetworkBuilder, name: &str, channels: usize, from: ValueId) -> ValueId {
    net.push_with(name, Conv2d::new(channels, 1), &[from]).unwrap()
}

/// What the steps run by.
fn algorithms(network: &Network) -> Vec<String> {
    let plan = Cpu::with_threads(1).unwrap().compile(network, &random_weights(network, 1), &CompileOptions::default());
    plan.unwrap().report().steps.iter().map(|step| step.algorithm.clone()).collect()
}

#[test]
fn branches_meet_without_conversions() {
    let mut net = Network::builder("n", [16, 9, 7]);
    let squeeze = conv(&mut net, "squeeze", 16, ValueId::INPUT);
    let relu = net.push_with("relu", Activation::Relu, &[squeeze]).unwrap();
    let left = conv(&mut net, "left", 64, relu);
    let right = conv(&mut net, "right", 64, relu);
    net.push_with("concat", Concat, &[left, right]).unwrap();
    net.push("pool", MaxPool2d::new(3).stride(2)).unwrap();
    net.push("last", Conv2d::new(32, 1)).unwrap();
    let network = net.finish().unwrap();
    check(&network);
    let algorithms = algorithms(&network);
    assert!(algorithms.iter().any(|name| name == "concat/blocked"), "{algorithms:?}");
    assert_eq!(algorithms.iter().filter(|name| name.starts_with("layout/")).count(), 2, "{algorithms:?}");
}

#[test]
fn a_part_of_a_part_is_written_where_it_belongs() {
    let mut net = Network::builder("n", [16, 6, 5]);
    let stem = conv(&mut net, "stem", 32, ValueId::INPUT);
    let [a, b] = ["a", "b"].map(|name| conv(&mut net, name, 32, stem));
    let inner = net.push_with("inner", Concat, &[a, b]).unwrap();
    let c = conv(&mut net, "c", 16, inner);
    let outer = net.push_with("outer", Concat, &[c, inner]).unwrap();
    // Reads a part when the whole is there.
    let d = conv(&mut net, "d", 16, a);
    let e = conv(&mut net, "e", 16, outer);
    net.push_with("sum", Add, &[d, e]).unwrap();
    check(&net.finish().unwrap());
}

#[test]
fn a_value_in_two_concatenations_or_twice_in_one_is_copied() {
    let mut net = Network::builder("n", [16, 6, 5]);
    let [a, b] = ["a", "b"].map(|name| conv(&mut net, name, 32, ValueId::INPUT));
    let twice = net.push_with("twice", Concat, &[a, a]).unwrap();
    let both = net.push_with("both", Concat, &[a, b]).unwrap();
    net.push_with("all", Concat, &[both, twice, ValueId::INPUT]).unwrap();
    check(&net.finish().unwrap());
}
