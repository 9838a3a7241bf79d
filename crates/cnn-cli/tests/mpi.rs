//! The program as processes that `mpirun` started; scripts/test-mpi builds and runs it.

mod common;

use std::path::Path;
use std::process::{Command, Output};

use common::{mnist, text};
use serde_json::Value;

fn mpirun(processes: usize, arguments: &[&str]) -> Output {
    let mut mpirun = Command::new("mpirun");
    mpirun.args(["--allow-run-as-root", "--oversubscribe", "-n", &processes.to_string()]);
    mpirun.arg(env!("CARGO_BIN_EXE_cnn")).args(arguments).env_remove("CNN_BACKEND").output().expect("mpirun")
}

/// The one line of standard output: one process alone prints.
fn result(output: &Output) -> Value {
    let [out, err] = [&output.stdout, &output.stderr].map(|text| String::from_utf8_lossy(text).into_owned());
    assert!(output.status.success() && out.lines().count() == 1, "{out}{err}");
    serde_json::from_str(&out).unwrap()
}

/// The bytes of a safetensors file's tensors, without its header, which has speeds in it.
fn values(file: &Path) -> Vec<u8> {
    let bytes = std::fs::read(file).unwrap();
    let header = u64::from_le_bytes(*bytes.first_chunk().unwrap());
    bytes[8 + header as usize..].to_vec()
}

#[test]
fn processes_learn_what_threads_do() {
    let (data, folder) = (mnist(), tempfile::tempdir().unwrap());
    let [over_mpi, over_threads] =
        ["mpi", "threads"].map(|name| folder.path().join(name).with_extension("safetensors"));
    let train = ["train", "lenet5", "--data", text(data.path()), "--limit", "200", "--epochs", "1", "--threads", "1"];
    let train =
        [&train[..], &["--parallel", "data", "--compress", "dynamic-tree", "--weights-only", "--save"]].concat();
    let trained = result(&mpirun(4, &[&train[..], &[text(&over_mpi), "--json"]].concat()));
    assert_eq!((&trained["workers"], &trained["compress"]), (&4.into(), &"dynamic-tree".into()));
    let threads = common::json(&[&train[..], &[text(&over_threads), "--workers", "4"]].concat());
    assert_eq!(
        (&trained["train_loss"], &trained["test_accuracy"]),
        (&threads["train_loss"], &threads["test_accuracy"])
    );
    assert!(values(&over_mpi) == values(&over_threads));
}

#[test]
fn exchanges_are_timed_between_processes() {
    let folder = tempfile::tempdir().unwrap();
    let arguments =
        ["bench", "exchange", "--sizes", "100,20000", "--reps", "2", "--json", "--figures", text(folder.path())];
    let timed = result(&mpirun(2, &arguments));
    assert_eq!((&timed["workers"], &timed["transport"]), (&2.into(), &"processes".into()));
    assert!(folder.path().join("figure2.svg").exists());
}

#[test]
fn steps_of_some_of_the_processes_are_timed() {
    let folder = tempfile::tempdir().unwrap();
    let arguments =
        ["bench", "scaling", "lenet5", "--batch", "12", "--types", "none,one-bit", "--measure", "--reps", "1"];
    let timed = result(&mpirun(3, &[&arguments[..], &["--json", "--figures", text(folder.path())]].concat()));
    let measured = &timed["measured"];
    assert_eq!((&measured["workers"], &measured["transport"]), (&serde_json::json!([1, 2, 3]), &"processes".into()));
    assert!(measured["types"][1]["measured_ms"][2].as_f64().unwrap() > 0.0, "{measured}");
    assert!(folder.path().join("scaling-measured.svg").exists());
}

#[test]
fn workers_that_share_layers_learn_over_processes_what_they_do_over_threads() {
    let (data, folder) = (mnist(), tempfile::tempdir().unwrap());
    let train = ["train", "lenet5", "--data", text(data.path()), "--limit", "100", "--epochs", "1", "--threads", "1"];
    let train = [&train[..], &["--clip-norm", "0.5", "--weights-only", "--save"]].concat();
    for (how, processes) in [("model", 2), ("model", 4), ("hybrid", 2), ("hybrid", 4)] {
        let [over_mpi, over_threads] =
            ["mpi", "threads"].map(|name| folder.path().join(format!("{name}-{how}-{processes}.safetensors")));
        let parallel = ["--parallel", how, "--compress", "linear"];
        let trained = mpirun(processes, &[&train[..], &[text(&over_mpi), "--json"], &parallel].concat());
        assert_eq!(result(&trained)["workers"], processes);
        let workers = processes.to_string();
        common::json(&[&train[..], &[text(&over_threads)], &parallel, &["--workers", &workers]].concat());
        assert!(values(&over_mpi) == values(&over_threads), "{how} on {processes}");
    }
}

#[test]
fn what_processes_cannot_do_is_told() {
    let data = mnist();
    let train = ["train", "lenet5", "--data", text(data.path()), "--limit", "100", "--epochs", "1"];
    for (more, told) in [
        (&[][..], "pass --parallel data, model or hybrid"),
        (&["--parallel", "data", "--workers", "3"], "mpirun started 2 processes"),
        (&["--parallel", "data", "--asynchronous"], "asynchronous"),
        (&["--parallel", "data", "--resume", "/nowhere"], "/nowhere"),
    ] {
        let output = mpirun(2, &[&train[..], more].concat());
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.code() == Some(2) && text.contains("error: ") && text.contains(told), "{text}");
    }
}
