//! ONNX files made byte by byte: what has to be read, and what hostile ones must end with, an error in little time and memory.

use std::path::Path;

use cnn_core::{Backend, CompileOptions, Reference, Tensor};
use cnn_models::onnx::{ImportOptions, Imported, from_bytes, read};

/// A field with a number.
fn int(number: u64, value: u64) -> Vec<u8> {
    [varint(number << 3), varint(value)].concat()
}

/// A field with bytes: text, or a message.
fn bytes(number: u64, content: impl AsRef<[u8]>) -> Vec<u8> {
    let content = content.as_ref();
    [varint(number << 3 | 2), varint(content.len() as u64), content.to_vec()].concat()
}

fn varint(mut value: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while value >= 0x80 {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
    bytes
}

fn node(operator: &str, inputs: &[&str], outputs: &[&str], attributes: &[Vec<u8>]) -> Vec<u8> {
    let names = |number, names: &[&str]| names.iter().flat_map(|name| bytes(number, name)).collect::<Vec<u8>>();
    let attributes = attributes.iter().flat_map(|attribute| bytes(5, attribute)).collect();
    bytes(1, [names(1, inputs), names(2, outputs), bytes(4, operator), attributes].concat())
}

fn ints(name: &str, values: &[i64]) -> Vec<u8> {
    let values = values.iter().flat_map(|&v| int(8, v as u64)).collect();
    [bytes(1, name), int(20, 7), values].concat()
}

/// Floats, in raw bytes.
fn tensor(name: &str, dims: &[i64], values: &[f32]) -> Vec<u8> {
    let raw: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
    bytes(5, [shaped(name, dims, 1), bytes(9, raw)].concat())
}

fn numbers(name: &str, values: &[i64]) -> Vec<u8> {
    let packed: Vec<u8> = values.iter().flat_map(|&v| varint(v as u64)).collect();
    bytes(5, [shaped(name, &[values.len() as i64], 7), bytes(7, packed)].concat())
}

fn shaped(name: &str, dims: &[i64], element_type: u64) -> Vec<u8> {
    let dims = dims.iter().flat_map(|&d| int(1, d as u64)).collect();
    [dims, int(2, element_type), bytes(8, name)].concat()
}

/// A tensor whose bytes lie in a file.
fn external(name: &str, dims: &[i64], location: &str) -> Vec<u8> {
    let entry = [bytes(1, "location"), bytes(2, location)].concat();
    bytes(5, [shaped(name, dims, 1), bytes(13, entry), int(14, 1)].concat())
}

/// An input or output; an extent of -1 is left open by a name, one of -2 by the number -1.
fn value(number: u64, name: &str, dims: &[i64]) -> Vec<u8> {
    let dimension = |&d: &i64| match d {
        -1 => bytes(1, bytes(2, "N")),
        -2 => bytes(1, int(1, u64::MAX)),
        extent => bytes(1, int(1, extent as u64)),
    };
    let dims: Vec<u8> = dims.iter().flat_map(dimension).collect();
    let tensor = [int(1, 1), bytes(2, dims)].concat();
    bytes(number, [bytes(1, name), bytes(2, bytes(1, tensor))].concat())
}

fn input(dims: &[i64]) -> Vec<u8> {
    value(11, "x", dims)
}

fn model_of(opset: u64, graph: &[Vec<u8>]) -> Vec<u8> {
    let graph = [graph.concat(), bytes(2, "net"), value(12, "y", &[])].concat();
    [bytes(8, int(2, opset)), bytes(7, graph)].concat()
}

fn model(graph: &[Vec<u8>]) -> Vec<u8> {
    model_of(17, graph)
}

fn import(graph: &[Vec<u8>]) -> cnn_models::Result<Imported> {
    from_bytes(model(graph), &ImportOptions::default().budget(1 << 20))
}

fn error(graph: &[Vec<u8>]) -> String {
    let error = import(graph).unwrap_err().to_string();
    assert!(error.starts_with("ONNX: ") && !error.contains('\n'), "{error}");
    error
}

fn run(imported: &Imported, input: Tensor) -> Vec<f32> {
    let plan = Reference::new().compile(&imported.network, &imported.weights, &CompileOptions::default()).unwrap();
    plan.session().unwrap().run(&input).unwrap().to_f32().into_owned()
}

#[test]
fn a_batch_may_be_of_any_size_and_weights_keep_their_names() {
    let imported = import(&[
        input(&[-1, 1, 2, 2]),
        tensor("features.0.weight", &[1, 1, 2, 2], &[1.0, 2.0, 3.0, 4.0]),
        tensor("features.0.bias", &[1], &[0.5]),
        node("Conv", &["x", "features.0.weight", "features.0.bias"], &["c"], &[]),
        node("Shape", &["c"], &["s"], &[]),
        numbers("zero", &[0]),
        node("Gather", &["s", "zero"], &["n"], &[]),
        numbers("rest", &[-1]),
        node("Concat", &["n", "rest"], &["t"], &[[bytes(1, "axis"), int(20, 2), int(3, 0)].concat()]),
        node("Reshape", &["c", "t"], &["y"], &[]),
    ]);
    let imported = imported.unwrap();
    assert!(imported.batched);
    assert_eq!(imported.output_dims, [1]);
    assert!(imported.weights.get("features.0.weight").is_some());
    let values = (0..12).map(|v| v as f32).collect();
    assert_eq!(run(&imported, Tensor::new([3, 1, 2, 2], values).unwrap()), [20.5, 60.5, 100.5]);
}

#[test]
fn a_graph_that_mixes_samples_takes_one() {
    let imported = import(&[input(&[2, 3]), node("Transpose", &["x"], &["y"], &[])]).unwrap();
    assert!(!imported.batched);
    let values = (0..6).map(|v| v as f32).collect();
    assert_eq!(run(&imported, Tensor::new([1, 2, 3], values).unwrap()), [0.0, 3.0, 1.0, 4.0, 2.0, 5.0]);
}

#[test]
fn open_extents_take_the_shape_that_is_given() {
    let relu = |inputs: &[Vec<u8>]| model(&[&[node("Relu", &["x"], &["y"], &[])], inputs].concat());
    let read = |graph: &[u8], shape: &[usize]| {
        let imported = from_bytes(graph.to_vec(), &ImportOptions::default().input_shape(shape));
        imported.map(|i| (i.network.input_shape().to_vec(), i.batched)).map_err(|e| e.to_string())
    };
    for open in [-1, -2] {
        let graph = relu(&[input(&[open, 3, open, open])]);
        for given in [&[3, 4, 5][..], &[2, 3, 4, 5]] {
            assert_eq!(read(&graph, given), Ok((vec![3, 4, 5], true)));
        }
        for given in [&[][..], &[4, 5], &[2, 4, 5], &[3, 0, 5], &[3, 4, usize::MAX], &[1, 1, 3, 4, 5]] {
            assert!(read(&graph, given).unwrap_err().contains("input `x` takes no samples of shape ["), "{given:?}");
        }
        let error = from_bytes(graph, &ImportOptions::default()).unwrap_err().to_string();
        assert!(
            error.contains("input `x` leaves its extent") && error.ends_with("open; give the input's shape"),
            "{error}"
        );
    }
    let two = relu(&[input(&[-1, 3]), value(11, "z", &[-1, 3])]);
    assert!(read(&two, &[3]).unwrap_err().contains("2 inputs"));
    let none = model(&[tensor("y", &[1, 3], &[1.0; 3])]);
    assert!(read(&none, &[3]).unwrap_err().contains("0 inputs"));
}

#[test]
fn a_clip_from_0_to_6_becomes_the_activation_that_is_fused() {
    let clip = |high: f32| {
        let limits = [tensor("low", &[], &[0.0]), tensor("high", &[], &[high])].concat();
        import(&[input(&[-1, 3]), limits, node("Clip", &["x", "low", "high"], &["y"], &[])]).unwrap()
    };
    for (high, kind) in [(6.0, "Relu6"), (7.0, "Clip")] {
        let imported = clip(high);
        assert_eq!(imported.network.nodes()[0].layer.operation().kind(), kind);
        assert_eq!(run(&imported, Tensor::new([1, 3], vec![-1.0, 2.0, 9.0]).unwrap()), [0.0, 2.0, high]);
    }
}

#[test]
fn all_operators_that_are_not_read_are_told_at_once() {
    let chain = ["Einsum", "Relu", "Loop", "Einsum"];
    let mut graph = vec![input(&[1, 3])];
    for (i, operator) in chain.iter().enumerate() {
        let (from, to) = (format!("v{i}"), format!("v{}", i + 1));
        let from = if i == 0 { "x" } else { &from[..] };
        graph.push(node(operator, &[from], &[if i == 3 { "y" } else { &to[..] }], &[]));
    }
    // What the output does not need may be anything.
    graph.push(node("Whatever", &["x"], &["unused"], &[]));
    assert_eq!(error(&graph), "ONNX: operators that are not supported: Einsum (2), Loop");
}

#[test]
fn graphs_that_are_none_are_errors() {
    let relu = |from: &str, to: &str| node("Relu", &[from], &[to], &[]);
    let x = || input(&[1, 3]);
    assert!(error(&[x(), relu("a", "b"), relu("b", "a"), relu("b", "y")]).ends_with("in a cycle"));
    assert!(error(&[x(), relu("y", "y")]).ends_with("in a cycle"));
    assert!(error(&[x(), relu("x", "y"), relu("x", "y")]).contains("made elsewhere"));
    assert!(error(&[x(), relu("x", "x"), relu("x", "y")]).contains("made elsewhere"));
    assert!(error(&[x(), x(), relu("x", "y")]).contains("two inputs named `x`"));
    let twice = [x(), tensor("w", &[1], &[1.0]), tensor("w", &[1], &[1.0]), relu("x", "y")];
    assert!(error(&twice).contains("two initializers named `w`"));
    assert!(error(&[x(), relu("z", "y")]).contains("reads `z`, which nothing makes"));
    assert!(error(&[x(), relu("x", "z")]).contains("nothing makes the output `y`"));
    assert!(error(&[x(), node("Relu", &[], &["y"], &[])]).contains("lacks input 0"));
    assert!(error(&vec![relu("x", ""); 20_000]).contains("more than 16384"));
    assert!(from_bytes(model_of(5, &[x(), relu("x", "y")]), &ImportOptions::default()).is_err());
    for file in [&b""[..], b"\x08", b"not a model at all", &[0xff; 64]] {
        assert!(from_bytes(file.to_vec(), &ImportOptions::default()).is_err());
    }
}

#[test]
fn shapes_that_lie_or_ask_for_too_much_are_errors() {
    let add = node("Add", &["x", "w"], &["y"], &[]);
    let x = input(&[1, 3]);
    for dims in
        [&[1i64 << 62, 1 << 62][..], &[1 << 41], &[1 << 39], &[-1], &[4], &[i64::MIN, 2], &[0, 1 << 62], &[1; 40]]
    {
        let graph = [x.clone(), tensor("w", dims, &[1.0; 3]), add.clone()];
        assert!(error(&graph).contains("`w`"), "{dims:?}");
    }
    for dims in [&[1i64, 1 << 62][..], &[1, 1 << 39, 1 << 39], &[1, 0], &[1, -7], &[1; 40]] {
        let relu = node("Relu", &["x"], &["y"], &[]);
        assert!(import(&[input(dims), relu]).is_err(), "{dims:?}");
    }
    let of = |operator: &str, inputs: &[&str]| node(operator, &[&["x"], inputs].concat(), &["y"], &[]);
    let wide = || numbers("n", &[1, 1 << 40]);
    let hostile = [
        (node("ConstantOfShape", &["n"], &["y"], &[]), numbers("n", &[1 << 20, 1 << 19])),
        (of("Tile", &["n"]), wide()),
        (of("Expand", &["n"]), numbers("n", &[1 << 50, 3])),
        (of("Pad", &["n"]), numbers("n", &[0, 0, 0, i64::MAX])),
        (of("Pad", &["n"]), numbers("n", &[0, i64::MIN, 0, 0])),
        (of("Reshape", &["n"]), numbers("n", &[i64::MAX, i64::MAX])),
        (of("Gather", &["n"]), numbers("n", &[i64::MIN])),
        (of("Unsqueeze", &["n"]), numbers("n", &[1 << 40])),
        (of("CumSum", &["n"]), numbers("n", &[7])),
        (of("Resize", &["", "", "n"]), numbers("n", &[1, 1 << 60])),
        (of("Slice", &["n", "n", "n"]), numbers("n", &[i64::MIN])),
        (node("Range", &["n", "n", "n"], &["y"], &[]), numbers("n", &[1 << 60])),
    ];
    for (node, numbers) in hostile {
        assert!(import(&[x.clone(), numbers, node.clone()]).is_err(), "{node:?}");
    }
    let range = |values: [i64; 3]| {
        let number = |name: &str, value: i64| bytes(5, [int(2, 7), bytes(8, name), int(7, value as u64)].concat());
        let [a, b, c] = values;
        import(&[number("a", a), number("b", b), number("c", c), node("Range", &["a", "b", "c"], &["y"], &[])])
    };
    assert_eq!(range([3, 9, 2]).unwrap().output_dims, [3]);
    for values in [[0, i64::MAX, 1], [i64::MIN, i64::MAX, 1], [0, 9, 0], [i64::MAX, i64::MIN, -1]] {
        assert!(range(values).is_err(), "{values:?}");
    }
    let pool = |kernel: &[i64], more: Vec<u8>| node("MaxPool", &["x"], &["y"], &[ints("kernel_shape", kernel), more]);
    for pool in [
        pool(&[1 << 40, 1], vec![]),
        pool(&[0, 1], vec![]),
        pool(&[-1, 1], vec![]),
        pool(&[1], vec![]),
        pool(&[1, 1], ints("strides", &[0, 1])),
        pool(&[1, 1], ints("pads", &[i64::MAX; 4])),
        pool(&[1, 1], ints("pads", &[1; 3])),
    ] {
        assert!(import(&[input(&[1, 1, 4, 4]), pool]).is_err());
    }
}

#[test]
fn wrong_types_are_errors() {
    let add = node("Add", &["x", "w"], &["y"], &[]);
    let with = |tensor: Vec<u8>| error(&[input(&[1, 3]), bytes(5, tensor), add.clone()]);
    for element_type in [0, 8, 14, 17, 22, 99] {
        assert!(with([shaped("w", &[1], element_type), bytes(9, [0; 4])].concat()).contains("`w`"));
    }
    // Floats where whole numbers belong, whole numbers beyond their type, and bytes that are cut off.
    assert!(with([shaped("w", &[1], 7), bytes(4, [0; 4])].concat()).contains("needs 8 bytes"));
    assert!(with([shaped("w", &[1], 2), int(5, 256)].concat()).contains("needs 1 bytes"));
    assert!(with([shaped("w", &[2], 1), bytes(9, [0; 7])].concat()).contains("needs 8 bytes, but has 7 bytes"));
    assert!(with([shaped("w", &[1], 1), bytes(6, "text")].concat()).contains("text"));
    let attribute = [bytes(1, "axis"), int(20, 3), bytes(4, "two")].concat();
    let flatten = node("Flatten", &["x"], &["y"], &[attribute]);
    assert!(error(&[input(&[1, 3]), flatten]).contains("something else than a whole number as `axis`"));
}

#[test]
fn a_file_cut_off_anywhere_is_an_error_or_another_file() {
    let whole = model(&[
        input(&[-1, 2, 3, 3]),
        tensor("w", &[2, 2, 1, 1], &[1.0; 4]),
        node("Conv", &["x", "w"], &["c"], &[ints("pads", &[1, 1, 1, 1])]),
        node("Relu", &["c"], &["y"], &[]),
    ]);
    assert!(from_bytes(whole.clone(), &ImportOptions::default()).is_ok());
    for length in 0..whole.len() {
        assert!(from_bytes(whole[..length].to_vec(), &ImportOptions::default()).is_err(), "{length}");
    }
    for place in 0..whole.len() {
        for bit in [0x01, 0x08, 0x40, 0x80] {
            let mut changed = whole.clone();
            changed[place] ^= bit;
            let _ = from_bytes(changed, &ImportOptions::default().budget(1 << 16));
        }
    }
}

#[test]
fn external_data_are_read_from_the_models_folder_alone() {
    let outer = tempfile::tempdir().unwrap();
    let folder = outer.path().join("model");
    std::fs::create_dir_all(folder.join("sub")).unwrap();
    let raw: Vec<u8> = [1f32, 2.0, 3.0].iter().flat_map(|v| v.to_le_bytes()).collect();
    std::fs::write(folder.join("sub/w.bin"), &raw).unwrap();
    std::fs::write(outer.path().join("w.bin"), &raw).unwrap();
    let import = |location: &str, dims: &[i64]| {
        let file = model(&[input(&[-1, 3]), external("w", dims, location), node("Mul", &["x", "w"], &["y"], &[])]);
        let path = folder.join("net.onnx");
        std::fs::write(&path, file).unwrap();
        read(&path, &ImportOptions::default())
    };
    let imported = import("sub/w.bin", &[3]).unwrap();
    assert_eq!(run(&imported, Tensor::new([1, 3], vec![1.0; 3]).unwrap()), [1.0, 2.0, 3.0]);
    let absolute = outer.path().join("w.bin");
    for location in ["../w.bin", "sub/../../w.bin", absolute.to_str().unwrap(), "sub/none.bin", "sub", ""] {
        let error = import(location, &[3]).unwrap_err().to_string();
        assert!(error.contains("net.onnx: initializer `w`"), "{location}: {error}");
    }
    assert!(import("sub/w.bin", &[4]).unwrap_err().to_string().contains("but that has 12"));
    assert!(import("sub/w.bin", &[1 << 39]).is_err());
    #[cfg(unix)]
    {
        std::os::unix::fs::symlink(outer.path().join("w.bin"), folder.join("link.bin")).unwrap();
        assert!(import("link.bin", &[3]).unwrap_err().to_string().contains("a link"));
    }
    assert!(read(Path::new("no/such.onnx"), &ImportOptions::default()).is_err());
}
