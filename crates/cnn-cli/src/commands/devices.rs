//! `cnn devices`

use clap::Args;
use cnn::{DeviceInfo, backends};
use serde::Serialize;

use crate::output::{Output, table};

/// Every backend and its device; for one that this machine cannot run, why.
#[derive(Args)]
pub(crate) struct Devices {}

#[derive(Serialize)]
struct Found {
    backend: String,
    device: Option<DeviceInfo>,
    error: Option<String>,
}

impl Devices {
    pub(crate) fn run(&self, output: &Output) -> anyhow::Result<()> {
        let mut rows = table(&["backend", "device", "driver", "threads", "memory", "what it is"], 3..5);
        let mut found = Vec::new();
        let mut missing = Vec::new();
        for entry in backends() {
            match entry.devices() {
                Ok(devices) => {
                    for (backend, device) in devices {
                        rows.add_row([
                            backend.clone(),
                            device.name.clone(),
                            device.driver.clone(),
                            device.threads.to_string(),
                            memory(device.memory),
                            [&[entry.summary.to_string()], &device.features[..]].concat().join(", "),
                        ]);
                        found.push(Found { backend, device: Some(device), error: None });
                    }
                }
                Err(error) => {
                    let error = error.to_string();
                    missing.push(error.clone());
                    found.push(Found { backend: entry.name.to_string(), device: None, error: Some(error) });
                }
            }
        }
        output.say(rows.trim_fmt());
        missing.iter().for_each(|error| output.say(format!(" {error}")));
        output.finish(&serde_json::json!({ "backends": found }))
    }
}

fn memory(bytes: u64) -> String {
    if bytes == 0 { String::new() } else { format!("{:.1} GiB", bytes as f64 / f64::from(1 << 30)) }
}
