//! The official cases of ONNX on the `reference` and `cpu` backends. `scripts/fetch-onnx-cases` gets them; those that are left out are
//! listed in `tests/onnx/left_out`, each with its reason.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use cnn_core::{Backend, CompileOptions, Reference, Tensor};
use cnn_cpu::Cpu;
use cnn_models::onnx::{self, Array, ImportOptions, Imported};

/// Where `scripts/fetch-onnx-cases` puts them.
fn folder() -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../data/onnx");
    assert!(folder.exists(), "{} is missing; run scripts/fetch-onnx-cases", folder.display());
    folder
}

fn backends() -> Vec<Arc<dyn Backend>> {
    vec![Arc::new(Reference::new()), Arc::new(Cpu::new().unwrap())]
}

/// How a case ended.
enum Ended {
    Passed,
    /// Not imported, and why.
    Refused(String),
    Failed(String),
}

/// Which inputs flow through the network; the others are constants.
const WAYS: [fn(usize, &Array) -> bool; 3] =
    [|_, input| input.element_type().is_float(), |place, _| place == 0, |_, _| false];

/// Imports one output, with as many inputs at run time as it takes.
fn import(model: &[u8], output: &str, inputs: &[(String, Array)]) -> Result<(Imported, Vec<Tensor>), String> {
    let mut refusal = String::new();
    for flows in WAYS {
        let mut options = ImportOptions::default().output(output).budget(1 << 26);
        let mut tensors = Vec::new();
        for (place, (name, array)) in inputs.iter().enumerate() {
            if flows(place, array) && !array.dims().contains(&0) {
                let shape = if array.dims().is_empty() { vec![1] } else { array.dims().to_vec() };
                tensors.push(Tensor::new(shape, array.to_f32().into_owned()).unwrap());
            } else {
                options = options.constant(name, array.clone());
            }
        }
        match onnx::from_bytes(model.to_vec(), &options) {
            Ok(imported) => return Ok((imported, tensors)),
            Err(error) if refusal.is_empty() => refusal = error.to_string(),
            Err(_) => {}
        }
    }
    Err(refusal)
}

/// The official tolerance, and what rounding in single precision makes of sums that cancel.
fn difference(got: &[f32], want: &[f32]) -> Option<String> {
    let largest = want.iter().copied().filter(|v| v.is_finite()).fold(0f32, |m, v| m.max(v.abs()));
    let close = |(got, want): (&f32, &f32)| {
        got == want
            || (got.is_nan() && want.is_nan())
            || (got - want).abs() <= 1e-3 * want.abs() + 1e-6 * largest + 1e-7
    };
    if got.len() != want.len() {
        return Some(format!("{} values for {}", got.len(), want.len()));
    }
    let place = got.iter().zip(want).position(|pair| !close(pair))?;
    Some(format!("{} instead of {} at {place}", got[place], want[place]))
}

/// What a backend makes of an imported network.
fn run(backend: &dyn Backend, imported: &Imported, inputs: &[Tensor], want: &Array) -> Result<(), String> {
    let text = |error: cnn_core::Error| format!("{}: {error}", backend.name());
    let input = imported.pack(inputs).map_err(|error| error.to_string())?;
    let plan = backend.compile(&imported.network, &imported.weights, &CompileOptions::default()).map_err(text)?;
    let output = plan.session().map_err(text)?.run(&input).map_err(text)?;
    let values = output.to_f32();
    // What depends on no input is the same for every sample.
    let values = if imported.is_constant { &values[..values.len() / input.batch()] } else { &values[..] };
    let hidden = usize::from(imported.batched && !imported.is_constant);
    if want.dims()[hidden.min(want.dims().len())..] != imported.output_dims {
        return Err(format!("makes {:?} instead of {:?}", imported.output_dims, want.dims()));
    }
    difference(values, &want.to_f32()).map_or(Ok(()), |d| Err(format!("{}: {d}", backend.name())))
}

fn arrays(folder: &Path, kind: &str) -> Result<Vec<Array>, String> {
    let files = (0..).map(|i| folder.join(format!("{kind}_{i}.pb"))).take_while(|file| file.exists());
    files.map(|file| Array::from_tensor_file(std::fs::read(file).unwrap()).map_err(|e| e.to_string())).collect()
}

fn case(folder: &Path, backends: &[Arc<dyn Backend>]) -> Ended {
    let model = std::fs::read(folder.join("model.onnx")).unwrap();
    let outline = match onnx::outline(&model) {
        Ok(outline) => outline,
        Err(error) => return Ended::Refused(error.to_string()),
    };
    let mut sets = 0;
    for set in (0..).map(|i| folder.join(format!("test_data_set_{i}"))).take_while(|set| set.exists()) {
        let (inputs, outputs) = match (arrays(&set, "input"), arrays(&set, "output")) {
            (Ok(inputs), Ok(outputs)) => (inputs, outputs),
            (Err(error), _) | (_, Err(error)) => return Ended::Refused(error),
        };
        let inputs: Vec<(String, Array)> = outline.inputs.iter().cloned().zip(inputs).collect();
        for (name, want) in outline.outputs.iter().zip(&outputs) {
            if want.dims().contains(&0) {
                return Ended::Refused("an output without elements".to_string());
            }
            let (imported, tensors) = match import(&model, name, &inputs) {
                Ok(imported) => imported,
                Err(refusal) => return Ended::Refused(refusal),
            };
            for backend in backends {
                if let Err(failure) = run(backend.as_ref(), &imported, &tensors, want) {
                    return Ended::Failed(format!("{failure}\n    {:?}", imported.network.nodes()));
                }
            }
        }
        sets += 1;
    }
    if sets == 0 { Ended::Refused("it has no data".to_string()) } else { Ended::Passed }
}

/// Cases left out: a name, or its start with a star behind, and the reason.
fn left_out() -> Vec<(String, String)> {
    let list = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/onnx/left_out")).unwrap();
    let lines = list.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    let entry = |line: &str| line.split_once(' ').map(|(name, reason)| (name.to_string(), reason.trim().to_string()));
    lines.map(|line| entry(line).unwrap_or_else(|| panic!("`{line}` has no reason"))).collect()
}

/// Prints a line that is seen though the test passes.
fn say(line: &str) {
    std::io::stdout().write_all(format!("onnx {line}\n").as_bytes()).unwrap();
}

#[test]
fn every_case_of_a_supported_operator_passes() {
    let mut cases = Vec::new();
    for suite in ["node", "simple", "pytorch-converted", "pytorch-operator"] {
        let folders = std::fs::read_dir(folder().join(suite)).unwrap().map(|entry| entry.unwrap().path());
        cases.extend(folders.map(|folder| (suite, folder)));
    }
    cases.sort();
    assert!(cases.len() > 1700, "{} cases", cases.len());
    let (next, ended) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let backends = backends();
                while let Some((suite, folder)) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let name = folder.file_name().unwrap().to_string_lossy().into_owned();
                    let end = case(folder, &backends);
                    ended.lock().unwrap().push((*suite, name, end));
                }
            });
        }
    });
    let left_out = left_out();
    let (mut counts, mut problems) = (BTreeMap::<&str, [usize; 2]>::new(), String::new());
    let mut used = vec![false; left_out.len()];
    for (suite, name, end) in ended.into_inner().unwrap() {
        let entry = left_out.iter().position(|(listed, _)| match listed.strip_suffix('*') {
            Some(start) => name.starts_with(start),
            None => name == *listed,
        });
        let count = counts.entry(suite).or_default();
        match (end, entry) {
            (Ended::Passed, _) => count[0] += 1,
            (Ended::Refused(_) | Ended::Failed(_), Some(entry)) => {
                count[1] += 1;
                used[entry] = true;
            }
            (Ended::Refused(why), None) => writeln!(problems, "REFUSED {name}: {why}").unwrap(),
            (Ended::Failed(why), None) => writeln!(problems, "FAILED {name}: {why}").unwrap(),
        }
    }
    for ((name, _), _) in left_out.iter().zip(used).filter(|(_, used)| !used) {
        writeln!(problems, "{name} is listed as left out, but no case of that name is").unwrap();
    }
    for (suite, [passed, left_out]) in counts {
        say(&format!("{suite}: {passed} cases pass, {left_out} are left out"));
    }
    assert!(problems.is_empty(), "{problems}");
}

/// Whole networks, with the weights that their files have instead of trained ones. The plain loops would take minutes for them.
#[test]
fn the_light_networks_pass() {
    let light = folder().join("light");
    let mut passed = 0;
    for entry in std::fs::read_dir(&light).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "onnx") {
            continue;
        }
        let imported = onnx::read(&path, &ImportOptions::default()).unwrap_or_else(|error| panic!("{error}"));
        let stem = path.file_stem().unwrap().to_string_lossy().into_owned();
        let want = Array::from_tensor_file(std::fs::read(light.join(format!("{stem}_output_0.pb"))).unwrap()).unwrap();
        let shape = imported.network.input_shape().with_batch(1);
        let count = shape.elements();
        let values = (0..count).map(|i| (i as f64 / count as f64) as f32).collect();
        let input = Tensor::new(shape, values).unwrap();
        run(&Cpu::new().unwrap(), &imported, &[input], &want).unwrap_or_else(|failure| panic!("{stem}: {failure}"));
        passed += 1;
    }
    say(&format!("light: {passed} networks pass"));
    assert_eq!(passed, 9);
}
