//! LeNet-5 and VGG-16 on every backend. `cargo bench --bench backends [-- FILTER]`

use std::hint::black_box;
use std::time::Duration;

use cnn::{BackendOptions, CompileOptions, Tensor, Weights, backends, models};
use criterion::{BenchmarkId, Criterion};

fn inference(criterion: &mut Criterion) {
    for (name, batches) in [("lenet5", &[1, 64][..]), ("vgg16", &[1])] {
        let network = models::find(name).and_then(|model| model.network()).expect("a known model");
        let weights = Weights::random(&network, 0).expect("memory");
        let mut group = criterion.benchmark_group(name);
        group.sample_size(10).warm_up_time(Duration::from_secs(1));
        for &batch in batches {
            let shape = network.input_shape().with_batch(batch);
            let input = Tensor::new(shape.clone(), vec![0.5; shape.elements()]).expect("lengths agree");
            for entry in backends() {
                let Ok(backend) = entry.create(&BackendOptions::default()) else { continue };
                let plan = backend.compile(&network, &weights, &CompileOptions::default().batch(batch));
                let mut session = plan.and_then(|plan| plan.session()).expect("compiles");
                group.bench_function(BenchmarkId::new(entry.name, batch), |bencher| {
                    bencher.iter(|| session.run(black_box(&input)).expect("runs"));
                });
            }
        }
    }
}

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    inference(&mut criterion);
    criterion.final_summary();
}
