//! Workers that are processes. This program starts itself with `mpirun`, once for each case, and is then one of the processes;
//! scripts/test-mpi builds and runs it.

mod training;

use std::process::{Command, ExitCode, Output, Stdio};
use std::time::{Duration, Instant};

use cnn_train::parallel::{Mpi, Processes, Transport};
use rand::{Rng, SeedableRng, seq::SliceRandom};
use rand_chacha::ChaCha8Rng;

/// What a case's processes do, how many there are, and what has to become of them.
struct Case {
    name: &'static str,
    processes: &'static [usize],
    work: fn(Processes, Mpi),
    judge: fn(&Output),
}

const CASES: [Case; 11] = [
    Case { name: "random_messages", processes: &[1, 2, 4], work: random_messages, judge: succeeds },
    Case { name: "large_messages_both_ways", processes: &[2, 4], work: large_messages_both_ways, judge: succeeds },
    Case {
        name: "nobody_waits_for_who_computes",
        processes: &[2],
        work: nobody_waits_for_who_computes,
        judge: succeeds,
    },
    Case { name: "starts_once", processes: &[2], work: starts_once, judge: succeeds },
    Case { name: "left_early", processes: &[2, 4], work: left_early, judge: succeeds },
    Case { name: "killed", processes: &[2, 4], work: killed, judge: names_rank_1 },
    Case { name: "failing", processes: &[2, 4], work: failing, judge: fails_with_code_3 },
    Case { name: "panicking", processes: &[2], work: panicking, judge: names_rank_1 },
    Case { name: "trains_as_threads_do", processes: &[2, 4], work: training::as_threads_do, judge: succeeds },
    Case { name: "killed_in_training", processes: &[2], work: training::killed, judge: training::goes_on },
    Case { name: "data_that_differ", processes: &[2], work: training::data_that_differ, judge: succeeds },
];

/// The others have to end within 10 seconds; all else is faster still.
const LIMIT: Duration = Duration::from_secs(10);

fn main() -> ExitCode {
    let wanted = std::env::args().nth(1).unwrap_or_default();
    if std::env::var_os("OMPI_COMM_WORLD_SIZE").is_some() {
        let case = CASES.iter().find(|case| case.name == wanted).expect("a case");
        // Small enough that messages take several.
        let (processes, mpi) =
            Processes::join_in_pieces(if wanted == "random_messages" { 10_000 } else { 1 << 30 }).unwrap();
        (case.work)(processes, mpi);
        return ExitCode::SUCCESS;
    }
    for case in CASES.iter().filter(|case| case.name.contains(&wanted)) {
        for &processes in case.processes {
            println!("{} on {processes}", case.name);
            (case.judge)(&mpirun(processes, case.name, &[]));
        }
    }
    ExitCode::SUCCESS
}

/// Panics where it takes longer than `LIMIT`.
fn mpirun(processes: usize, case: &str, options: &[&str]) -> Output {
    let mut mpirun = Command::new("mpirun");
    mpirun.args(["--allow-run-as-root", "--oversubscribe", "-n", &processes.to_string()]).args(options);
    mpirun.arg(std::env::current_exe().unwrap()).arg(case);
    let mut child =
        mpirun.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("mpirun; see scripts/install-mpi");
    let start = Instant::now();
    while child.try_wait().unwrap().is_none() {
        if start.elapsed() > LIMIT {
            child.kill().unwrap();
            panic!("{case}: still running");
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    child.wait_with_output().unwrap()
}

fn printed(output: &Output) -> String {
    [&output.stdout, &output.stderr].map(|text| String::from_utf8_lossy(text).into_owned()).concat()
}

fn succeeds(output: &Output) {
    assert!(output.status.success(), "{}", printed(output));
}

fn names_rank_1(output: &Output) {
    let text = printed(output);
    assert!(!output.status.success() && text.contains("rank 1"), "{text}");
    assert!(!text.contains("did not end"), "{text}");
}

fn fails_with_code_3(output: &Output) {
    names_rank_1(output);
    assert_eq!(output.status.code(), Some(3), "{}", printed(output));
}

/// Every process sends to each, itself too, before it receives, and receives from them in any order.
fn random_messages(processes: Processes, mut mpi: Mpi) {
    const MESSAGES: usize = 20;
    let (rank, workers) = (mpi.rank(), mpi.workers());
    assert_eq!((rank, workers), (processes.rank(), processes.workers()));
    assert!(mpi.send(workers, &[]).is_err() && mpi.receive(workers, &mut Vec::new()).is_err());
    for i in 0..MESSAGES {
        (0..workers).for_each(|to| mpi.send(to, &random(rank, to, i)).unwrap());
    }
    let mut senders: Vec<usize> = (0..workers * MESSAGES).map(|i| i % workers).collect();
    senders.shuffle(&mut ChaCha8Rng::seed_from_u64(rank as u64));
    let (mut received, mut message) = (vec![0; workers], Vec::new());
    for from in senders {
        mpi.receive(from, &mut message).unwrap();
        assert_eq!(message, random(from, rank, received[from]), "message {} of {from} to {rank}", received[from]);
        received[from] += 1;
    }
    drop(mpi);
    processes.leave().unwrap();
}

/// The `i`th message: none, one or several pieces, the last of which may be whole.
fn random(from: usize, to: usize, i: usize) -> Vec<u8> {
    let mut random = ChaCha8Rng::seed_from_u64((from * 100 + to * 10 + i * 1000) as u64);
    let length =
        [0, 9_999, 10_000, 10_001, 20_000].get(i).copied().unwrap_or_else(|| random.next_u32() as usize % 100_000);
    let mut message = vec![0; length];
    random.fill_bytes(&mut message);
    message
}

fn large_messages_both_ways(processes: Processes, mut mpi: Mpi) {
    let (rank, workers) = (mpi.rank(), mpi.workers());
    let of = |from: usize, to: usize| vec![(10 * from + to) as u8; 3_000_000 + from];
    for _ in 0..3 {
        (0..workers).for_each(|to| mpi.send(to, &of(rank, to)).unwrap());
    }
    let mut message = Vec::new();
    for from in (0..workers).cycle().take(3 * workers) {
        mpi.receive(from, &mut message).unwrap();
        assert!(message == of(from, rank), "of {from} to {rank}");
    }
    drop(mpi);
    processes.leave().unwrap();
}

/// Process 0 sends more than any buffer holds, and then waits for process 1, which looks at it only after that.
fn nobody_waits_for_who_computes(processes: Processes, mut mpi: Mpi) {
    let mut message = Vec::new();
    if mpi.rank() == 0 {
        (0..20).for_each(|_| mpi.send(1, &[1; 1_000_000]).unwrap());
        mpi.send(0, &[7]).unwrap();
        mpi.receive(0, &mut message).unwrap();
        mpi.receive(1, &mut message).unwrap();
        assert_eq!(message, [2]);
    } else {
        mpi.send(0, &[2]).unwrap();
        for _ in 0..20 {
            mpi.receive(0, &mut message).unwrap();
            assert!(message == [1; 1_000_000]);
        }
    }
    drop(mpi);
    processes.leave().unwrap();
}

fn starts_once(processes: Processes, mpi: Mpi) {
    assert!(Processes::join().unwrap_err().to_string().contains("before"));
    assert!(Processes::join_in_pieces(0).is_err() && Processes::join_in_pieces(1 << 31).is_err());
    drop(mpi);
    processes.leave().unwrap();
}

/// What process 1 has sent arrives, and then that it has ended.
fn left_early(processes: Processes, mut mpi: Mpi) {
    let mut message = Vec::new();
    if mpi.rank() == 1 {
        (0..mpi.workers()).for_each(|to| mpi.send(to, &[5; 500_000]).unwrap());
    } else {
        mpi.receive(1, &mut message).unwrap();
        assert!(message == [5; 500_000]);
        let error = mpi.receive(1, &mut message).unwrap_err().to_string();
        assert!(error.contains("worker 1"), "{error}");
        // Nobody reads this, and nobody waits for that.
        mpi.send(1, &[6; 5_000_000]).unwrap();
    }
    drop(mpi);
    processes.leave().unwrap();
}

/// Whoever is not to fail waits for the one that does.
fn wait_for_1(mpi: &mut Mpi) {
    mpi.receive(1, &mut Vec::new()).unwrap();
    println!("rank {} did not end", mpi.rank());
}

fn kill() {
    Command::new("kill").args(["-9", &std::process::id().to_string()]).status().unwrap();
    std::thread::sleep(LIMIT);
}

fn killed(_processes: Processes, mut mpi: Mpi) {
    if mpi.rank() == 1 {
        kill();
    }
    wait_for_1(&mut mpi);
}

fn failing(processes: Processes, mut mpi: Mpi) {
    if mpi.rank() == 1 {
        eprintln!("error: rank 1: the reason");
        processes.abort(3);
    }
    wait_for_1(&mut mpi);
}

fn panicking(_processes: Processes, mut mpi: Mpi) {
    assert_ne!(mpi.rank(), 1, "a panic that is meant to be");
    wait_for_1(&mut mpi);
}
