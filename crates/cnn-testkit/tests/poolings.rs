//! Poolings of the literature: values worked out by hand, what is drawn, and what holds of any plane.

use cnn_core::layers::{
    AvgPool2d, Call, Gradients, LpPool2d, MaxPool2d, MixedPool2d, Mode, SpatialPyramidPool, StochasticPool2d, View,
};
use cnn_core::{Layer, Network, Shape};
use cnn_testkit::{assert_close, uniform};
use proptest::prelude::*;

/// As `f` wants it: the layer's call on a batch of images of this shape.
fn with_call<R>(layer: &Layer, shape: [usize; 3], input: &[f32], mode: Mode, f: impl FnOnce(&Call<'_>) -> R) -> R {
    let shape = Shape::from(shape);
    let output_shape = layer.operation().output_shape(&[&shape]).unwrap();
    let (batch, inputs) = (input.len() / shape.elements(), [View { shape: &shape, data: input }]);
    f(&Call { batch, inputs: &inputs, output_shape: &output_shape, parameters: &[], mode })
}

fn forward(layer: impl Into<Layer>, shape: [usize; 3], input: &[f32], mode: Mode) -> Vec<f32> {
    let layer = layer.into();
    with_call(&layer, shape, input, mode, |call| {
        let mut output = vec![f32::NAN; call.batch * call.output_shape.elements()];
        layer.operation().forward(call, &mut output);
        output
    })
}

/// The gradient of the sum of all outputs.
fn backward(layer: impl Into<Layer>, shape: [usize; 3], input: &[f32], mode: Mode) -> Vec<f32> {
    let layer = layer.into();
    let output = forward(layer.clone(), shape, input, mode);
    let mut gradient = vec![0.0; input.len()];
    with_call(&layer, shape, input, mode, |call| {
        let mut gradients = Gradients { inputs: &mut [&mut gradient], parameters: &mut [] };
        layer.operation().backward(call, &output, &vec![1.0; output.len()], &mut gradients);
    });
    gradient
}

fn training(seed: u64) -> Mode {
    Mode::Training { seed, first_sample: 0 }
}

/// Why a layer refuses a shape, in words.
fn refusal(layer: impl Into<Layer>, shape: impl Into<Shape>) -> String {
    layer.into().operation().output_shape(&[&shape.into()]).unwrap_err().0
}

#[test]
fn lp_norms_by_hand() {
    let lp = |p| LpPool2d::new(p, [1, 3]);
    let input = [1.0, -6.0, 8.0, 0.0, 3.0, -4.0, 0.0, 0.0, 0.0];
    assert_eq!(forward(lp(1.0), [1, 1, 9], &input, Mode::Inference), [15.0, 7.0, 0.0]);
    assert_close("p 2", &forward(lp(2.0), [1, 1, 9], &input, Mode::Inference), &[101f32.sqrt(), 5.0, 0.0], 1e-7);
    // 1 + 216 + 512 is 9 cubed.
    assert_close("p 3", &forward(lp(3.0), [1, 1, 9], &input, Mode::Inference), &[9.0, 91f32.cbrt(), 0.0], 1e-7);
    assert_eq!(backward(lp(1.0), [1, 1, 9], &input, training(1)), [1.0, -1.0, 1.0, 0.0, 1.0, -1.0, 0.0, 0.0, 0.0]);
    let squares = backward(lp(2.0), [1, 1, 9], &input, training(1));
    assert_close("slopes of p 2", &squares[3..], &[0.0, 0.6, -0.8, 0.0, 0.0, 0.0], 1e-7);
    let cubes = backward(lp(3.0), [1, 1, 9], &input, training(1));
    assert_close("slopes of p 3", &cubes[..3], &[1.0 / 81.0, -36.0 / 81.0, 64.0 / 81.0], 1e-7);
}

#[test]
fn lp_norms_at_the_border_and_beyond_the_numbers() {
    // Windows at 0..1, 1..3 and 3..5, of which the last hangs over.
    let lp = LpPool2d::new(2.0, [1, 2]).padding([0, 1]);
    assert_eq!(forward(lp.clone(), [1, 1, 4], &[-2.0, 3.0, 4.0, 7.0], Mode::Inference), [2.0, 5.0, 7.0]);
    let ceil = LpPool2d::new(2.0, [1, 2]).ceil();
    assert_eq!(forward(ceil, [1, 1, 3], &[3.0, 4.0, -6.0], Mode::Inference), [5.0, 6.0]);
    let outside = LpPool2d::new(2.0, [1, 1]).padding([0, 1]);
    assert_eq!(forward(outside, [1, 1, 1], &[-2.0], Mode::Inference), [0.0, 2.0, 0.0]);

    let whole = |p| LpPool2d::new(p, [1, 4]);
    let large = forward(whole(4.0), [1, 1, 4], &[1e30, -1e30, 1e30, 1e30], Mode::Inference);
    assert_close("fourth powers of 1e30", &large, &[2f32.sqrt() * 1e30], 1e-7);
    let small = forward(whole(200.0), [1, 1, 4], &[1e-30, 0.0, 0.0, 0.0], Mode::Inference);
    assert_close("200th powers of 1e-30", &small, &[1e-30], 1e-7);
    let infinite = forward(whole(2.0), [1, 1, 4], &[1.0, f32::NEG_INFINITY, 0.0, 1.0], Mode::Inference);
    assert_eq!(infinite, [f32::INFINITY]);
    assert!(forward(whole(2.0), [1, 1, 4], &[1.0, f32::NAN, f32::INFINITY, 1.0], Mode::Inference)[0].is_nan());
}

#[test]
fn a_mean_of_stochastic_pooling_by_hand() {
    let (pool, input) = (StochasticPool2d::new([2, 2]), [1.0, 2.0, 0.0, -1.0, 3.0, -5.0, -2.0, 0.0]);
    // (1 + 4 + 9) / 6, and nothing that is positive.
    assert_close("mean", &forward(pool.clone(), [1, 2, 4], &input, Mode::Inference), &[7.0 / 3.0, 0.0], 1e-7);
    let slopes = [-1.0 / 18.0, 5.0 / 18.0, 0.0, 0.0, 11.0 / 18.0, 0.0, 0.0, 0.0];
    assert_close("slopes", &backward(pool.clone(), [1, 2, 4], &input, Mode::Inference), &slopes, 1e-7);
    for seed in 0..20 {
        assert_eq!(forward(pool.clone(), [1, 2, 4], &input, training(seed))[1], 0.0);
        assert_eq!(backward(pool.clone(), [1, 2, 4], &input, training(seed))[2..4], [0.0; 2]);
    }
}

/// Values with their probabilities, within five standard deviations.
#[test]
fn stochastic_pooling_draws_in_proportion() {
    const WINDOWS: usize = 20_000;
    let input = [1.0, -4.0, 3.0, 0.0, 6.0].repeat(WINDOWS);
    let output = forward(StochasticPool2d::new([1, 5]), [WINDOWS, 1, 5], &input, training(3));
    for (value, probability) in [(1.0, 0.1), (3.0, 0.3), (6.0, 0.6)] {
        let share = output.iter().filter(|&&v| v == value).count() as f64 / WINDOWS as f64;
        let deviation = (probability * (1.0 - probability) / WINDOWS as f64).sqrt();
        assert!((share - probability).abs() < 5.0 * deviation, "{value}: {share}");
    }
    assert!(output.iter().all(|v| [1.0, 3.0, 6.0].contains(v)));
    // The gradient goes where the value came from.
    let gradient = backward(StochasticPool2d::new([1, 5]), [WINDOWS, 1, 5], &input, training(3));
    for ((values, slopes), drawn) in input.chunks(5).zip(gradient.chunks(5)).zip(&output) {
        let want: Vec<f32> = values.iter().map(|value| f32::from(u8::from(value == drawn))).collect();
        assert_eq!(slopes, want);
    }
}

#[test]
fn nan_and_infinity_come_out_of_stochastic_pooling() {
    let pool = StochasticPool2d::new([1, 3]);
    for mode in [Mode::Inference, training(1), training(2)] {
        let output = |input: [f32; 3]| forward(pool.clone(), [1, 1, 3], &input, mode)[0];
        assert!(output([1.0, f32::NAN, f32::INFINITY]).is_nan());
        assert_eq!(output([1.0, f32::INFINITY, 2.0]), f32::INFINITY);
        assert!(output([1.0, f32::NEG_INFINITY, 1.0]) == 1.0);
    }
}

#[test]
fn mixed_pooling_draws_once_a_channel() {
    const CHANNELS: usize = 10_000;
    let input = [1.0, 2.0, 3.0, 6.0, 4.0, 8.0].repeat(CHANNELS);
    let (maxima, means) = ([3.0, 8.0], [2.0, 6.0]);
    let pool = MixedPool2d::new([1, 3]);
    for (pool, chance) in [(pool.clone(), 0.5), (pool.clone().chance_of_maximum(0.2), 0.2)] {
        let output = forward(pool.clone(), [CHANNELS, 1, 6], &input, training(5));
        let gradient = backward(pool, [CHANNELS, 1, 6], &input, training(5));
        let mut count = 0;
        for (values, slopes) in output.chunks(2).zip(gradient.chunks(6)) {
            let is_maximum = values == maxima;
            assert!(is_maximum || values == means, "{values:?}");
            let third = 1.0 / 3.0;
            assert_eq!(slopes, if is_maximum { [0.0, 0.0, 1.0, 0.0, 0.0, 1.0] } else { [third; 6] });
            count += usize::from(is_maximum);
        }
        let (share, deviation) = (count as f64 / CHANNELS as f64, (0.25 / CHANNELS as f64).sqrt());
        assert!((share - chance).abs() < 5.0 * deviation, "{share} of {chance}");
    }
}

#[test]
fn inference_of_mixed_pooling_by_hand() {
    let input = [1.0, 2.0, 3.0, 6.0, 4.0, 8.0];
    let output = |pool: MixedPool2d| forward(pool, [1, 1, 6], &input, Mode::Inference);
    let pool = MixedPool2d::new([1, 3]);
    assert_eq!(output(pool.clone()), [2.5, 7.0]);
    assert_eq!(output(pool.clone().chance_of_maximum(0.25)), [2.25, 6.5]);
    assert_eq!(output(pool.clone().likelier_in_inference()), [3.0, 8.0]);
    assert_eq!(output(pool.clone().chance_of_maximum(0.25).likelier_in_inference()), [2.0, 6.0]);
    // Padding is no part of the mean, and an infinity none of what has no weight.
    let padded = pool.clone().padding([0, 1]).chance_of_maximum(0.0);
    assert_eq!(forward(padded, [1, 1, 4], &[2.0, 4.0, 1.0, 1.0], Mode::Inference), [3.0, 1.0]);
    let infinite = forward(pool.chance_of_maximum(0.0), [1, 1, 3], &[1.0, f32::INFINITY, 1.0], Mode::Inference);
    assert_eq!(infinite, [f32::INFINITY]);
}

/// Each sample draws by its place in the batch, so that parts of a batch draw what the whole does, and steps draw anew.
#[test]
fn parts_of_a_batch_draw_as_the_whole() {
    let input = uniform(8, 6 * 40 * 4 * 4).into_iter().map(f32::abs).collect::<Vec<_>>();
    for layer in [Layer::from(StochasticPool2d::new(2)), MixedPool2d::new(2).into()] {
        let run = |input: &[f32], seed, first_sample| {
            forward(layer.clone(), [40, 4, 4], input, Mode::Training { seed, first_sample })
        };
        let whole = run(&input, 1, 0);
        let parts = [(0, 1), (1, 4), (4, 6)].map(|(from, to)| run(&input[from * 640..to * 640], 1, from));
        assert_eq!(parts.concat(), whole);
        assert_ne!(run(&input, 2, 0), whole);
        let same = input[..640].repeat(2);
        let twice = run(&same, 1, 0);
        assert_ne!(twice[..160], twice[160..], "samples draw the same");
    }
}

#[test]
fn a_pyramid_by_hand() {
    let input: Vec<f32> = (1..10).map(|v| v as f32).chain((1..10).map(|v| -v as f32)).collect();
    let pyramid = SpatialPyramidPool::new([2, 1]);
    // Bins of two rows and columns that share the middle: level by level, in each the channels.
    let maxima = [5.0, 6.0, 8.0, 9.0, -1.0, -2.0, -4.0, -5.0, 9.0, -1.0];
    assert_eq!(forward(pyramid.clone(), [2, 3, 3], &input, Mode::Inference), maxima);
    let means = [3.0, 4.0, 6.0, 7.0, -3.0, -4.0, -6.0, -7.0, 5.0, -5.0];
    assert_eq!(forward(pyramid.clone().mean(), [2, 3, 3], &input, Mode::Inference), means);
    let slopes = [0.0, 0.0, 0.0, 0.0, 1.0, 1.0, 0.0, 1.0, 2.0, 2.0, 1.0, 0.0, 1.0, 1.0, 0.0, 0.0, 0.0, 0.0];
    assert_eq!(backward(pyramid.clone(), [2, 3, 3], &input, training(1)), slopes);
    // The middle is in all four bins, an edge in two, a corner in one; and the whole plane's share of a ninth.
    let [corner, edge, middle] = [0.25, 0.5, 1.0].map(|bins| bins + 1.0 / 9.0);
    let slopes = [corner, edge, corner, edge, middle, edge, corner, edge, corner].repeat(2);
    assert_close("slopes of means", &backward(pyramid.clone().mean(), [2, 3, 3], &input, training(1)), &slopes, 1e-7);
    // A batch is its samples one after the other.
    let twice = forward(pyramid.clone(), [1, 3, 3], &input, Mode::Inference);
    assert_eq!(twice, [5.0, 6.0, 8.0, 9.0, 9.0, -1.0, -2.0, -4.0, -5.0, -1.0]);
    assert_eq!(forward(pyramid, [1, 1, 2], &[3.0, 4.0], Mode::Inference), [3.0, 4.0, 3.0, 4.0, 4.0]);
}

/// The same classifier reads pictures of any size.
#[test]
fn a_pyramid_is_as_long_for_any_plane() {
    for side in [1, 3, 7, 13] {
        let mut net = Network::builder("pyramid", [3, side, side + 2]);
        net.push("pyramid", SpatialPyramidPool::new([4, 2, 1])).unwrap();
        assert_eq!(net.finish().unwrap().output_shape()[..], [63]);
    }
}

#[test]
fn what_does_not_fit_says_so() {
    for p in [0.0, 0.99, -2.0, f32::NAN, f32::INFINITY] {
        assert_eq!(refusal(LpPool2d::new(p, 2), [1, 4, 4]), format!("p {p} is not a number from 1 on"));
    }
    assert!(refusal(LpPool2d::new(2.0, 5), [1, 4, 4]).contains("kernel 5x5"));
    assert_eq!(refusal(StochasticPool2d::new(0), [1, 4, 4]), "kernel is 0");
    assert_eq!(refusal(StochasticPool2d::new(2), [4]), "takes an image of shape [C, H, W]");
    for chance in [-0.1, 1.1, f32::NAN] {
        let pool = MixedPool2d::new(2).chance_of_maximum(chance);
        assert_eq!(refusal(pool, [1, 4, 4]), format!("chance {chance} is not in [0, 1]"));
    }
    assert!(refusal(MixedPool2d::new(1).padding(1), [1, 4, 4]).contains("padding"));
    assert_eq!(refusal(SpatialPyramidPool::new([]), [1, 4, 4]), "has no levels");
    assert!(refusal(SpatialPyramidPool::new([2, 0]), [1, 4, 4]).starts_with("level 0 is not"));
    assert!(refusal(SpatialPyramidPool::new([usize::MAX]), [1, 4, 4]).starts_with("level"));
    assert!(refusal(SpatialPyramidPool::new([1]), [16]).contains("[C, H, W]"));
    let mut net = Network::builder("large", [1 << 20, 4, 4]);
    let error = net.push("pyramid", SpatialPyramidPool::new(vec![1 << 16; 1 << 10])).unwrap_err().to_string();
    assert!(error.contains("pyramid") && error.contains("more than"), "{error}");
}

/// Planes of two channels with values in [-1, 1), as rows, columns and a seed.
fn planes() -> impl Strategy<Value = ([usize; 3], Vec<f32>)> {
    (1usize..8, 1usize..8, any::<u64>()).prop_map(|(h, w, seed)| ([2, h, w], uniform(seed, 2 * h * w)))
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(100) })]

    /// Between the largest absolute value and as many times it as the p-th root of the number of places; the sum at 1.
    #[test]
    fn norms_lie_between_maximum_and_sum((shape, input) in planes(), p in 1f32..400.0) {
        let absolute: Vec<f32> = input.iter().map(|v| v.abs()).collect();
        let size = [shape[1], shape[2]];
        let run = |layer: Layer, input: &[f32]| forward(layer, shape, input, Mode::Inference);
        let maxima = run(MaxPool2d::new(size).into(), &absolute);
        let norms = run(LpPool2d::new(p, size).into(), &input);
        let root = ((size[0] * size[1]) as f32).powf(1.0 / p);
        for (norm, maximum) in norms.iter().zip(&maxima) {
            prop_assert!(norm >= maximum && *norm <= maximum * root * 1.000_01, "{norm} {maximum} {root}");
        }
        let sums: Vec<f32> = absolute.chunks(size[0] * size[1]).map(|plane| plane.iter().sum()).collect();
        assert_close("sums", &run(LpPool2d::new(1.0, size).into(), &input), &sums, 1e-6);
    }

    /// What is drawn is one of the window's positive values or 0, and their mean lies between them.
    #[test]
    fn stochastic_pooling_stays_in_its_window((shape, input) in planes(), seed in any::<u64>()) {
        let pool = StochasticPool2d::new([shape[1], shape[2]]);
        let drawn = forward(pool.clone(), shape, &input, training(seed));
        let means = forward(pool, shape, &input, Mode::Inference);
        for (plane, (drawn, mean)) in input.chunks(shape[1] * shape[2]).zip(drawn.iter().zip(means)) {
            let positive: Vec<f32> = plane.iter().copied().filter(|&v| v > 0.0).collect();
            if positive.is_empty() {
                prop_assert_eq!((*drawn, mean), (0.0, 0.0));
            } else {
                prop_assert!(positive.contains(drawn));
                let least = positive.iter().copied().fold(f32::INFINITY, f32::min);
                let most = positive.iter().copied().fold(0.0, f32::max);
                prop_assert!(least <= mean && mean <= most, "{} {} {}", least, mean, most);
            }
        }
    }

    /// What is drawn of mixed pooling is max or average pooling, channel by channel.
    #[test]
    fn mixed_pooling_is_one_of_both((shape, input) in planes(), seed in any::<u64>()) {
        let run = |layer: Layer, mode| forward(layer, shape, &input, mode);
        let maxima = run(MaxPool2d::new(2).stride(1).padding(1).into(), Mode::Inference);
        let means = run(AvgPool2d::new(2).stride(1).padding(1).without_padding_in_mean().into(), Mode::Inference);
        let mixed = MixedPool2d::new(2).stride(1).padding(1);
        let places = maxima.len() / 2;
        let drawn = run(mixed.clone().into(), training(seed));
        for ((drawn, maxima), means) in drawn.chunks(places).zip(maxima.chunks(places)).zip(means.chunks(places)) {
            prop_assert!(drawn == maxima || drawn == means);
        }
        for ((value, maximum), mean) in run(mixed.into(), Mode::Inference).iter().zip(&maxima).zip(&means) {
            prop_assert!(mean <= value && value <= maximum);
        }
    }

    /// One bin is the whole plane, as many bins as rows and columns are its places.
    #[test]
    fn pyramids_of_one_bin_and_of_all((shape, input) in planes()) {
        let run = |layer: Layer| forward(layer, shape, &input, Mode::Inference);
        let size = [shape[1], shape[2]];
        let one = SpatialPyramidPool::new([1]);
        prop_assert_eq!(run(one.clone().into()), run(MaxPool2d::new(size).into()));
        assert_close("mean", &run(one.mean().into()), &run(AvgPool2d::new(size).into()), 1e-7);
        if size[0] == size[1] {
            prop_assert_eq!(run(SpatialPyramidPool::new([size[0]]).into()), input.clone());
        }
    }
}
