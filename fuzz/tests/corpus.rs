//! Every file of the corpora, and every file that once broke something, through its target.

use std::path::Path;

fn run(target: &str, work: fn(&[u8])) {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target);
    let mut files = 0;
    for entry in std::fs::read_dir(directory).unwrap() {
        let bytes = std::fs::read(entry.unwrap().path()).unwrap();
        work(&bytes);
        // Cut short, and with a byte changed: the neighbours of what is there.
        work(&bytes[..bytes.len() / 2]);
        for place in (0..bytes.len()).step_by(bytes.len().div_ceil(16).max(1)) {
            let mut changed = bytes.clone();
            changed[place] ^= 0x81;
            work(&changed);
        }
        files += 1;
    }
    assert!(files >= 4, "{target}: a corpus of {files} files");
}

#[test]
fn weights() {
    run("weights", cnn_fuzz::weights);
}

#[test]
fn idx() {
    run("idx", cnn_fuzz::idx);
}

#[test]
fn cifar() {
    run("cifar", cnn_fuzz::cifar);
}

#[test]
fn npy() {
    run("npy", cnn_fuzz::npy);
}

#[test]
fn onnx() {
    run("onnx", cnn_fuzz::onnx);
}

#[test]
fn tuning() {
    run("tuning", cnn_fuzz::tuning);
}

#[test]
fn picture() {
    run("picture", cnn_fuzz::picture);
}

#[test]
fn codec() {
    run("codec", cnn_fuzz::codec);
}

#[test]
fn message() {
    run("message", cnn_fuzz::message);
}

#[test]
fn network() {
    run("network", cnn_fuzz::network);
}

/// The corpus is worth something only if many of its networks are accepted and run.
#[test]
fn many_networks_run() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus/network");
    let files = std::fs::read_dir(directory).unwrap().map(|entry| std::fs::read(entry.unwrap().path()).unwrap());
    let ran = files.filter(|bytes| cnn_fuzz::build_and_run(bytes)).count();
    assert!(ran >= 40, "{ran} networks ran");
}
