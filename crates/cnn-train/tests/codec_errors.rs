//! The errors of the eight-bit types against Table 1 of Dettmers, "8-bit approximations for parallelism in deep learning"
//! (2016).

use cnn_train::codec::{self, CodeTable, EightBit, Scaling};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

const NUMBERS: usize = 300_000;

/// U(0, 1), N(0, 1), N(0, 10^2) and N(0, 0.2^2), by their standard deviations.
const DISTRIBUTIONS: [Option<f64>; 4] = [None, Some(1.0), Some(10.0), Some(0.2)];

fn sample(deviation: Option<f64>) -> Vec<f32> {
    let mut random = ChaCha8Rng::seed_from_u64(7);
    let mut uniform = || (f64::from(random.next_u32()) + 0.5) / 4_294_967_296.0;
    let mut draw = || match deviation {
        None => uniform(),
        Some(deviation) => {
            let (radius, angle) = ((-2.0 * uniform().ln()).sqrt(), std::f64::consts::TAU * uniform());
            deviation * radius * angle.cos()
        }
    };
    (0..NUMBERS).map(|_| draw() as f32).collect()
}

fn percent(values: &[f32], approximation: impl Iterator<Item = f32>) -> f64 {
    let errors = values.iter().zip(approximation).map(|(&value, near)| f64::from((near - value) / value).abs());
    100.0 * errors.sum::<f64>() / values.len() as f64
}

fn by_codec(table: &CodeTable, scaling: Scaling, values: &[f32]) -> f64 {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
    let codec = EightBit::new(table.clone(), scaling).unwrap();
    let (mut bytes, mut back) = (Vec::new(), vec![0.0; values.len()]);
    use codec::Codec;
    codec.encode(&pool, values, &mut bytes).unwrap();
    codec.decode(&pool, &bytes, &mut back).unwrap();
    percent(values, back.into_iter())
}

#[test]
fn the_dynamic_tree_is_at_least_as_good_as_in_the_paper() {
    let table = codec::table("dynamic-tree").unwrap();
    for (deviation, paper) in DISTRIBUTIONS.into_iter().zip([1.39, 2.46, 2.49, 2.45]) {
        let percent = by_codec(&table, Scaling::Tensor, &sample(deviation));
        assert!(percent > 0.5 && percent <= paper, "{deviation:?}: {percent}");
    }
}

#[test]
fn no_type_is_worse_than_in_the_paper() {
    // In hundredths of a percent.
    for (name, paper, offset) in [
        ("linear", [216, 647, 644, 615], None),
        ("mantissa", [722, 689, 719, 826], Some([0, 0, 2, 0])),
        ("static-tree", [482, 630, 628, 658], Some([1, 1, 2, 1])),
    ] {
        let table = codec::table(name).unwrap();
        for (i, deviation) in DISTRIBUTIONS.into_iter().enumerate() {
            let scaling = offset.map_or(Scaling::Tensor, |offsets| Scaling::Offset(offsets[i]));
            let percent = by_codec(&table, scaling, &sample(deviation));
            let paper = f64::from(paper[i]) / 100.0;
            assert!(percent <= paper && percent > paper / 1.6, "{name} {deviation:?}: {percent}");
        }
    }
}

/// What the documentation of the mantissa says of the paper's row: its errors are those of a search that halves its steps
/// from 32 to 1, starting at the table's 64th magnitude, and never compares with the last place that it comes to, so that every
/// second interval is cut off instead of rounded.
#[test]
fn the_paper_s_search_gives_the_paper_s_errors_of_the_mantissa() {
    let magnitudes: Vec<f64> = {
        let mut all: Vec<f64> = codec::table("mantissa").unwrap().values()[..128].iter().map(|&v| v.into()).collect();
        all.sort_by(f64::total_cmp);
        all
    };
    let search = |value: f64| {
        let (mut place, mut lower, mut upper) = (63, 0, 127);
        for step in [32, 16, 8, 4, 2, 1] {
            match value > magnitudes[place] {
                true => (lower, place) = (place, place + step),
                false => (upper, place) = (place, place - step),
            }
        }
        let other = if lower == place { upper } else { lower };
        // Signed: a place below the value always wins against one below it.
        match lower == place {
            true if (magnitudes[place] - value).abs() < magnitudes[other] - value => magnitudes[place],
            false if magnitudes[place] - value < (magnitudes[other] - value).abs() => magnitudes[place],
            _ => magnitudes[other],
        }
    };
    let paper = [7.22, 6.89, 7.19, 8.26];
    for ((deviation, scale), paper) in DISTRIBUTIONS.into_iter().zip([1.0, 1.0, 100.0, 1.0]).zip(paper) {
        let values = sample(deviation);
        let near = values.iter().map(|&v| (f64::from(v.signum()) * scale * search(f64::from(v.abs()) / scale)) as f32);
        let percent = percent(&values, near);
        assert!((percent / paper - 1.0).abs() < 0.01, "{deviation:?}: {percent}");
    }
}
