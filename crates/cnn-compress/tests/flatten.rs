//! Flattened networks against the dense ones, on the plain loops.

use cnn_compress::{Error, FlattenOptions, Flattened, Outcome, Terms, flatten, rebuild};
use cnn_core::layers::{Activation, Add, Conv2d, GlobalAvgPool};
use cnn_core::{Backend, CompileOptions, Network, Reference, Tensor, ValueId, Weights};
use cnn_testkit::uniform;
use proptest::prelude::*;

/// All terms that there may be, whatever they cost.
fn exact() -> FlattenOptions {
    FlattenOptions { terms: Terms::Fixed(usize::MAX), dearer: true, ..Default::default() }
}

fn fixed(rank: usize) -> FlattenOptions {
    FlattenOptions { terms: Terms::Fixed(rank), dearer: true, ..Default::default() }
}

fn one(input: [usize; 3], conv: Conv2d) -> (Network, Weights) {
    let mut net = Network::builder("n", input);
    net.push("conv", conv).unwrap();
    let network = net.finish().unwrap();
    let weights = Weights::random(&network, 1).unwrap();
    (network, weights)
}

fn output(network: &Network, weights: &Weights, batch: usize) -> Vec<f32> {
    let shape = network.input_shape().with_batch(batch);
    let input = Tensor::new(shape.clone(), uniform(9, shape.elements())).unwrap();
    let plan = Reference::new().compile(network, weights, &CompileOptions::default()).unwrap();
    plan.session().unwrap().run(&input).unwrap().to_f32().into_owned()
}

/// The largest difference, by the largest value.
fn apart(dense: &[f32], flat: &[f32]) -> f32 {
    let largest = dense.iter().fold(1e-3f32, |m, v| m.max(v.abs()));
    dense.iter().zip(flat).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max) / largest
}

fn outcome(flat: &Flattened, layer: &str) -> Outcome {
    flat.layers.iter().find(|report| report.layer == layer).unwrap().outcome.clone()
}

fn reason(outcome: Outcome) -> String {
    match outcome {
        Outcome::Left { reason } => reason,
        flattened => panic!("{flattened:?}"),
    }
}

#[test]
fn all_terms_are_the_dense_layer_at_every_geometry() {
    for conv in [
        Conv2d::new(4, 3),
        Conv2d::new(4, 3).padding(1).without_bias(),
        Conv2d::new(5, [3, 5]).stride([2, 1]).padding([1, 0, 2, 3]),
        Conv2d::new(2, [5, 3]).stride([1, 3]).dilation([1, 2]).padding(2),
        Conv2d::new(6, [1, 5]).stride([2, 2]).padding([1, 2]),
        Conv2d::new(6, [4, 1]).stride([3, 1]).padding([0, 1, 2, 0]).dilation([2, 1]),
    ] {
        for channels in [1, 3] {
            let (network, weights) = one([channels, 11, 9], conv.clone());
            let flat = flatten(&network, &weights, &exact()).unwrap();
            assert_eq!(flat.network.output_shape(), network.output_shape());
            let apart = apart(&output(&network, &weights, 2), &output(&flat.network, &flat.weights, 2));
            assert!(apart < 1e-4, "{conv:?} of {channels} channels: {apart:e}");
        }
    }
}

#[test]
fn fewer_terms_lose_more() {
    let (network, weights) = one([6, 9, 9], Conv2d::new(8, 3).padding(1));
    let errors: Vec<f64> = [1, 4, 12, 30, 54]
        .into_iter()
        .map(|rank| match outcome(&flatten(&network, &weights, &fixed(rank)).unwrap(), "conv") {
            Outcome::Flattened { error, rank: found, .. } if found == rank => error,
            other => panic!("{other:?}"),
        })
        .collect();
    assert!(errors.windows(2).all(|pair| pair[1] < pair[0]) && errors[4] < 1e-6, "{errors:?}");
}

#[test]
fn the_fewest_terms_within_a_bound_are_found() {
    let (network, weights) = one([8, 9, 9], Conv2d::new(8, 3).padding(1));
    for bound in [0.7, 0.3, 0.05] {
        let options = FlattenOptions { terms: Terms::Error(bound), dearer: true, ..Default::default() };
        let flat = flatten(&network, &weights, &options).unwrap();
        let Outcome::Flattened { rank, error, cost, layers } = outcome(&flat, "conv") else { panic!() };
        assert!(error <= bound + 1e-6 && rank < 72, "{error} at rank {rank}");
        assert_eq!((cost.parameters, cost.flops), (flat.network.parameter_count(), flat.network.flops()));
        assert_eq!(layers, ["conv.0.lateral", "conv.0.vertical", "conv.0.horizontal", "conv.1.lateral"]);
        let fewer = outcome(&flatten(&network, &weights, &fixed(rank - 2)).unwrap(), "conv");
        assert!(matches!(fewer, Outcome::Flattened { error, .. } if error > bound), "{fewer:?}");
    }
}

#[test]
fn layers_are_left_where_nothing_is_won() {
    let (network, weights) = one([8, 9, 9], Conv2d::new(8, 3).padding(1));
    let tight = FlattenOptions { terms: Terms::Error(1e-3), ..Default::default() };
    let flat = flatten(&network, &weights, &tight).unwrap();
    let found = reason(outcome(&flat, "conv"));
    assert!(found.starts_with("an error of 0.001 takes as many multiply-adds; 26 terms"), "{found}");
    assert_eq!(format!("{:?}", flat.network.nodes()), format!("{:?}", network.nodes()));
    let many = FlattenOptions { dearer: false, ..fixed(40) };
    let found = reason(outcome(&flatten(&network, &weights, &many).unwrap(), "conv"));
    assert_eq!(found, "40 terms take as many multiply-adds; 26 would take fewer");
    for (conv, expected) in [(Conv2d::new(8, 3).groups(4), "has 4 groups"), (Conv2d::new(8, 1), "is 1x1")] {
        let (network, weights) = one([8, 9, 9], conv);
        assert_eq!(reason(outcome(&flatten(&network, &weights, &exact()).unwrap(), "conv")), expected);
    }
    let (network, weights) = one([1, 9, 9], Conv2d::new(1, [1, 2]));
    let found = reason(outcome(&flatten(&network, &weights, &FlattenOptions::default()).unwrap(), "conv"));
    assert_eq!(found, "a single term takes as many multiply-adds");
}

/// A block with a branch around two convolutions.
fn residual() -> (Network, Weights) {
    let mut net = Network::builder("residual", [3, 8, 8]);
    let stem = net.push("stem", Conv2d::new(6, 3).padding(1)).unwrap();
    net.push("a", Conv2d::new(6, 3).padding(1).without_bias()).unwrap();
    net.push("relu", Activation::Relu).unwrap();
    let branch = net.push("b", Conv2d::new(6, 3).padding(1)).unwrap();
    net.push_with("add", Add, &[stem, branch]).unwrap();
    net.push_with("side", Conv2d::new(6, 1), &[ValueId::INPUT]).unwrap();
    let side = net.push("side.relu", Activation::Relu).unwrap();
    net.push_with("add2", Add, &[side, stem, branch]).unwrap();
    net.push("pool", GlobalAvgPool).unwrap();
    let network = net.finish().unwrap();
    let mut weights = Weights::random(&network, 2).unwrap();
    weights.metadata_mut().insert("made".to_string(), "by chance".to_string());
    (network, weights)
}

#[test]
fn branches_and_all_other_weights_stay() {
    let (network, weights) = residual();
    let options = FlattenOptions { layers: Some(vec!["a".to_string(), "b".to_string()]), ..exact() };
    let flat = flatten(&network, &weights, &options).unwrap();
    assert!(apart(&output(&network, &weights, 3), &output(&flat.network, &flat.weights, 3)) < 1e-4);
    assert_eq!(reason(outcome(&flat, "stem")), "not among the layers asked for");
    assert_eq!((flat.network.name(), flat.weights.metadata()), (network.name(), weights.metadata()));
    for name in ["stem.weight", "stem.bias", "side.weight", "side.bias"] {
        assert_eq!(flat.weights.get(name).unwrap().bytes, weights.get(name).unwrap().bytes, "{name}");
    }
    assert_eq!(flat.weights.get("b.1.lateral.bias").unwrap().bytes, weights.get("b.bias").unwrap().bytes);
    assert_eq!(flat.network.nodes().len(), network.nodes().len() + 6);
    flat.weights.check(&flat.network).unwrap();
}

#[test]
fn a_network_is_rebuilt_from_its_weights_alone() {
    let (network, weights) = residual();
    let flat = flatten(&network, &weights, &fixed(5)).unwrap();
    let rebuilt = rebuild(&network, &flat.weights).unwrap();
    assert_eq!(format!("{:?}", rebuilt.nodes()), format!("{:?}", flat.network.nodes()));
    assert_eq!(format!("{:?}", rebuild(&network, &weights).unwrap().nodes()), format!("{:?}", network.nodes()));
    // Flattening what is flat already finds nothing more to do.
    let again = flatten(&flat.network, &flat.weights, &fixed(2)).unwrap();
    assert!(again.layers.iter().all(|report| matches!(report.outcome, Outcome::Left { .. })));

    let mut hostile = flat.weights.clone();
    hostile.insert("a.0.lateral.weight", Tensor::zeros([4, 6, 1, 1]).unwrap());
    let error = hostile.check(&rebuild(&network, &hostile).unwrap()).unwrap_err().to_string();
    assert!(error.contains("`a.0.vertical.weight`"), "{error}");
    for shape in [vec![], vec![0, 6, 1, 1], vec![usize::MAX, 0, 1, 1]] {
        let mut hostile = flat.weights.clone();
        let bytes = std::sync::Arc::new(Vec::new());
        if hostile.insert_bytes("a.0.lateral.weight", shape.into(), cnn_core::DType::F32, bytes, 0..0).is_ok() {
            rebuild(&network, &hostile).unwrap_err();
        }
    }
    hostile.remove("a.0.lateral.weight");
    let error = hostile.check(&rebuild(&network, &hostile).unwrap()).unwrap_err().to_string();
    assert!(error.contains("lack `a.weight`"), "{error}");
}

#[test]
fn bad_options_and_weights_are_named() {
    let (network, weights) = residual();
    let error = |options: FlattenOptions| flatten(&network, &weights, &options).unwrap_err().to_string();
    for bound in [0.0, -1.0, 1.0, f64::NAN, f64::INFINITY] {
        let options = FlattenOptions { terms: Terms::Error(bound), ..Default::default() };
        assert_eq!(error(options), format!("error bound {bound} is not between 0 and 1"));
    }
    assert_eq!(error(fixed(0)), "a rank must be at least 1");
    assert!(error(FlattenOptions { change: f64::NAN, ..Default::default() }).contains("change NaN"));
    let options = FlattenOptions { layers: Some(vec!["relu".to_string()]), ..Default::default() };
    assert_eq!(error(options), "`residual` has no convolution `relu`; it has stem, a, b, side");
    let mut broken = weights.clone();
    let mut values = weights.get("b.weight").unwrap().to_f32().into_owned();
    for value in [f32::NAN, f32::NEG_INFINITY] {
        values[5] = value;
        broken.insert("b.weight", Tensor::new([6, 6, 3, 3], values.clone()).unwrap());
        let error = flatten(&network, &broken, &FlattenOptions::default()).unwrap_err().to_string();
        assert_eq!(error, format!("weight `b.weight` holds {value} at index 5"));
    }
    broken.remove("b.weight");
    assert!(matches!(flatten(&network, &broken, &FlattenOptions::default()), Err(Error::Core(_))));
    // No sweeps: the terms that it starts from.
    flatten(&network, &weights, &FlattenOptions { sweeps: 0, ..fixed(3) }).unwrap();
}

#[test]
fn nothing_but_zeros_is_flat_too() {
    let (network, mut weights) = one([8, 9, 9], Conv2d::new(8, 3).padding(1));
    weights.insert("conv.weight", Tensor::zeros([8, 8, 3, 3]).unwrap());
    let flat = flatten(&network, &weights, &FlattenOptions::default()).unwrap();
    assert!(matches!(outcome(&flat, "conv"), Outcome::Flattened { rank: 1, error: 0.0, .. }));
    assert!(output(&flat.network, &flat.weights, 1).iter().all(|&v| v == 0.0));
}

#[test]
fn lenet5_still_reads_the_ten_digits() {
    let model = cnn_models::find("lenet5").unwrap();
    let (network, weights) = (model.network().unwrap(), model.shipped_weights().unwrap().unwrap());
    let flat = flatten(&network, &weights, &FlattenOptions::default()).unwrap();
    assert!(flat.layers.iter().any(|report| matches!(report.outcome, Outcome::Flattened { .. })), "{:?}", flat.layers);
    let plan = Reference::new().compile(&flat.network, &flat.weights, &CompileOptions::default()).unwrap();
    let mut session = plan.session().unwrap();
    for (class, picture) in cnn_models::digits() {
        let input = model.preprocess().bytes(picture).unwrap();
        assert_eq!(session.run(&input).unwrap().argmax(), [class]);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn any_small_convolution_is_flattened_or_left(
        (f, c, kh, kw) in (1usize..6, 1usize..6, 1usize..5, 1usize..5),
        (stride, dilation, padding) in (1usize..4, 1usize..3, 0usize..3),
        rank in 1usize..40,
        seed in 0u64..1000,
    ) {
        let conv = Conv2d::new(f, [kh, kw]).stride(stride).dilation(dilation).padding(padding);
        let mut net = Network::builder("n", [c, 10, 9]);
        net.push("conv", conv).unwrap();
        let network = net.finish().unwrap();
        let weights = Weights::random(&network, seed).unwrap();
        for options in [fixed(rank), exact(), FlattenOptions::default()] {
            let flat = flatten(&network, &weights, &options).unwrap();
            prop_assert_eq!(flat.network.output_shape(), network.output_shape());
            flat.weights.check(&flat.network).unwrap();
            if let Outcome::Flattened { error, cost, .. } = outcome(&flat, "conv") {
                let apart = apart(&output(&network, &weights, 1), &output(&flat.network, &flat.weights, 1));
                prop_assert!(error > 1e-5 || apart < 1e-4, "{error} {apart}");
                prop_assert!(options.dearer || cost.flops < network.flops());
            }
        }
    }
}
