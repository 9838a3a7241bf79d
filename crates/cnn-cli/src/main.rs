//! The `cnn` program.

#![deny(unsafe_code)]

mod chart;
mod commands;
mod data;
mod load;
mod memory;
mod output;
mod processes;
mod sheet;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use output::Output;

/// Runs, times, trains and inspects convolutional networks on backends chosen at run time.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
    /// End standard output with one JSON object; all else goes to standard error.
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Subcommand)]
enum Command {
    Devices(commands::devices::Devices),
    Classify(commands::classify::Classify),
    Bench(commands::bench::Bench),
    Tune(commands::tune::Tune),
    Train(commands::train::Train),
    Test(commands::test::Test),
    Compress(commands::compress::Compress),
    Inspect(commands::inspect::Inspect),
}

/// The OpenCL loader knows one name; drivers bring others.
fn look_for_opencl_everywhere() {
    const VARIABLE: &str = "OPENCL_DYLIB_PATH";
    if std::env::var_os(VARIABLE).is_none() {
        #[allow(unsafe_code)]
        // SAFETY: called first in `main`, before there is a second thread.
        unsafe {
            std::env::set_var(VARIABLE, cnn::opencl::LIBRARIES.join(";"));
        }
    }
}

fn main() -> ExitCode {
    look_for_opencl_everywhere();
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_max_level(tracing_subscriber::filter::LevelFilter::WARN)
        .without_time()
        .with_target(false)
        .init();
    let arguments = Arguments::parse();
    let output = Output::new(arguments.json);
    let result = match &arguments.command {
        Command::Devices(command) => command.run(&output),
        Command::Classify(command) => command.run(&output),
        Command::Bench(command) => command.run(&output),
        Command::Tune(command) => command.run(&output),
        Command::Train(command) => command.run(&output),
        Command::Test(command) => command.run(&output),
        Command::Compress(command) => command.run(&output),
        Command::Inspect(command) => command.run(&output),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(&error);
            ExitCode::from(2)
        }
    }
}

/// One line, whatever a library put into its message.
fn complain(error: &anyhow::Error) {
    eprintln!("error: {}", format!("{error:#}").lines().collect::<Vec<_>>().join(" "));
}
