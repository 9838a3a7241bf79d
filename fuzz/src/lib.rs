//! What the fuzz targets do with their bytes. `tests/corpus.rs` does the same with every file of the corpora.

#![forbid(unsafe_code)]

mod messages;
mod networks;

pub use messages::message;
pub use networks::{build_and_run, network};

use cnn::compress::rebuild;
use cnn::models::onnx::{self, ImportOptions};
use cnn::models::{find, npy, weights_file};
use cnn::opencl::Tuning;
use cnn::train::codec::{self as codecs, Codec, EightBit, NAMES, Scaling};
use cnn::train::data::Dataset;
use cnn::train::data::cifar::{Kind, Records};
use cnn::train::data::idx::Idx;
use cnn_core::{Backend, CompileOptions, Reference, Tensor};

/// Reads a safetensors file, checks it against a network, looks at every tensor, and rebuilds a compressed network from it.
pub fn weights(bytes: &[u8]) {
    let Ok(weights) = weights_file::from_bytes(bytes.to_vec()) else { return };
    for (_, view) in weights.iter() {
        assert_eq!(view.to_f32().len(), view.shape.elements());
    }
    let network = find("lenet5").and_then(|model| model.network()).expect("a known model");
    let _ = weights.check(&network);
    if let Ok(rebuilt) = rebuild(&network, &weights) {
        let _ = weights.check(&rebuilt);
    }
    for node in 0..network.nodes().len() {
        let _ = weights.of_node(&network, node);
    }
}

/// Reads a NumPy array.
pub fn npy(bytes: &[u8]) {
    if let Ok(tensor) = npy::from_bytes(bytes) {
        assert_eq!(tensor.to_f32().len(), tensor.shape().elements());
    }
}

/// Imports an ONNX file with little work and memory allowed, and runs what is small.
pub fn onnx(bytes: &[u8]) {
    let options = ImportOptions::default().budget(1 << 16);
    let Ok(imported) = onnx::from_bytes(bytes.to_vec(), &options) else { return };
    let network = imported.network;
    imported.weights.check(&network).expect("the weights are the network's");
    let values: usize = network.values().map(|value| network.shape(value).elements()).fold(0, usize::saturating_add);
    if values > 1 << 16 || network.flops() > 1 << 22 {
        return;
    }
    let input = Tensor::zeros(network.input_shape().with_batch(2)).expect("it is small");
    let plan = Reference::new().compile(&network, &imported.weights, &CompileOptions::default());
    // A weight may be no number.
    let Ok(plan) = plan else { return };
    let output = plan.session().and_then(|mut session| session.run(&input)).expect("what is imported runs");
    assert_eq!(output.shape()[1..], network.output_shape()[..]);
}

/// Reads a file of tuned parameters, and looks a device up in it.
pub fn tuning(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Ok(Some(tuning)) = Tuning::of_text(text, "a device") {
        assert!(tuning.rows * tuning.vectors * tuning.lanes <= 1 << 12);
    }
}

/// Reads an IDX file.
pub fn idx(bytes: &[u8]) {
    if let Ok(idx) = Idx::from_bytes(bytes) {
        assert_eq!(idx.shape.iter().product::<usize>(), idx.data.len());
    }
}

/// Reads a file of CIFAR-10 and of CIFAR-100.
pub fn cifar(bytes: &[u8]) {
    for kind in [Kind::Ten, Kind::Fine, Kind::Coarse] {
        let Ok(Records { images, labels }) = Records::from_bytes(kind, bytes) else { continue };
        let data = Dataset::new([3, 32, 32], images, labels).expect("an image a label");
        data.check_classes(kind.classes()).expect("labels in range");
    }
}

/// Decodes a picture for both kinds of models.
pub fn picture(bytes: &[u8]) {
    for name in ["lenet5", "vgg16"] {
        let model = find(name).expect("a known model");
        if let Ok(input) = model.preprocess().bytes(bytes) {
            assert!(input.to_f32().iter().all(|v| v.is_finite()));
        }
    }
}

/// Decodes a message as each codec of gradients would: a count of two bytes, then what came. Then takes the bytes for numbers, and
/// compares the rows that encode them with each other.
pub fn codec(bytes: &[u8]) {
    let Some((count, message)) = bytes.split_first_chunk() else { return };
    let count = usize::from(u16::from_le_bytes(*count));
    let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().expect("a thread");
    for name in NAMES {
        let codec = codecs::find(name).expect("a known codec");
        let right = codec.encoded_bytes(count) == message.len();
        assert_eq!(codec.decode(&pool, message, &mut vec![0.0; count]).is_ok(), right);
    }
    let numbers = message.chunks_exact(4).map(|four| f32::from_le_bytes([four[0], four[1], four[2], four[3]]));
    let numbers: Vec<f32> = numbers.collect();
    for table in NAMES.iter().filter_map(|name| codecs::table(name)) {
        for scaling in [Scaling::Offset(0), Scaling::Block] {
            let rows = EightBit::rows(&table, scaling).expect("a scaling in range").into_iter();
            let mut encoded = rows.map(|(_, codec)| {
                let mut bytes = Vec::new();
                codec.encode(&pool, &numbers, &mut bytes).expect("a buffer of the right length");
                bytes
            });
            let first = encoded.next();
            assert!(encoded.all(|other| Some(other) == first));
        }
    }
}
