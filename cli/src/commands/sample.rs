//! `rooftile sample`: one sample at a time, as asked over standard input. Another program that is timed in turns with
//! ours need not live in our process: whoever drives both asks each for a sample in turn.

use std::io::{self, BufRead};
use std::path::Path;

use rooftile_runtime::Instance;
use rooftile_runtime::timer::{Clock, Stopwatch};

use crate::args::{Pairs, SampleArgs};
use crate::engine::{self, Subject};
use crate::failure::{Failure, Outcome};
use crate::{npy, output};

/// Most runs in one sample: more is a slip of the pen.
const MOST_RUNS: u32 = 1_000_000;

/// Compiles, runs once, says `ready`, and answers a line for every line of standard input until `quit` or its end.
///
/// # Errors
/// [`Failure`] of every kind before `ready`; after it, those of a run. A line that is not understood is answered by
/// `error: ..`, and the next one is read.
pub fn run(args: &SampleArgs) -> Outcome {
    let s = &args.subject;
    let subject = Subject::open(&s.file, s.name.as_deref())?;
    if matches!(s.device.as_str(), "oracle" | "nest") {
        let message = format!("`{}` interprets, and is never timed", s.device);
        return Err(Failure::Usage(message));
    }
    let tensors = subject.read_inputs(&args.inputs)?;
    let sizes = engine::sizes(&s.sizes)?;
    let scalars = engine::scalars(subject.func(), &s.set)?;
    let device = engine::open_device(&s.device)?;
    let target = engine::target(device.as_ref(), s.threads);
    let set = subject.inputs(&sizes, &scalars, tensors, s.seed, device.room())?;
    let module = subject.module(&subject.choice(s.schedule, &set.sizes, &target), &target)?;
    let program = engine::compile(&module, &target)?;
    let threads = target.host_threads();
    let mut instance = engine::instance(device.as_ref(), subject.func(), &program, &set, Some(threads))?;
    instance.save_inputs();
    instance.run()?;
    // The others have a processor each; on one of theirs the caller would wait for them.
    let _pinned = if threads > 1 { instance.pin_caller() } else { None };
    output::print("ready\n")?;
    for line in io::stdin().lock().lines() {
        let line = line.map_err(|e| Failure::Input(format!("standard input: {e}")))?;
        match Ask::parse(&line) {
            Ok(Ask::Sample(runs)) => {
                let (seconds, wall) = sample(&mut instance, runs)?;
                output::print(&format!("{seconds:e} {wall:e}\n"))?;
            }
            Ok(Ask::Write(files)) => {
                let answer = match write(&subject, &mut instance, &files) {
                    Ok(()) => "written\n".to_owned(),
                    Err(e @ (Failure::Input(_) | Failure::Usage(_))) => format!("error: {e}\n"),
                    Err(e) => return Err(e),
                };
                output::print(&answer)?;
            }
            Ok(Ask::Quit) => break,
            Err(message) => output::print(&format!("error: {message}\n"))?,
        }
    }
    Ok(())
}

/// A line of standard input.
#[derive(Debug, PartialEq)]
enum Ask {
    /// Put inputs back, time so many runs.
    Sample(u32),
    /// Put inputs back, run once, write tensors to NumPy files.
    Write(Pairs),
    /// End.
    Quit,
}

impl Ask {
    fn parse(line: &str) -> Result<Ask, String> {
        let (word, rest) = line.trim().split_once(' ').unwrap_or((line.trim(), ""));
        match (word, rest) {
            ("sample", "") => Ok(Ask::Sample(1)),
            ("sample", runs) => match runs.parse() {
                Ok(runs @ 1..=MOST_RUNS) => Ok(Ask::Sample(runs)),
                _ => Err(format!("`{runs}` is not a number of runs from 1 to {MOST_RUNS}")),
            },
            ("write", files) => files.parse().map(Ask::Write),
            ("quit", "") => Ok(Ask::Quit),
            _ => Err(format!("`{line}` is none of: sample [RUNS], write Y=FILE,.., quit")),
        }
    }
}

/// Seconds of one run, in the mean over `runs`: by the clock for the number of threads, and by the wall clock. Where the
/// two lie apart on one thread, something else had the processor in between.
fn sample(instance: &mut Instance, runs: u32) -> Result<(f64, f64), Failure> {
    instance.restore_inputs();
    let wall = Stopwatch::start(Clock::Wall);
    let watch = Stopwatch::start(Clock::for_threads(instance.threads()));
    for _ in 0..runs {
        instance.run()?;
    }
    let seconds = watch.seconds();
    Ok((seconds / f64::from(runs), wall.seconds() / f64::from(runs)))
}

fn write(subject: &Subject, instance: &mut Instance, files: &Pairs) -> Outcome {
    let names = subject.tensor_names();
    let mut places = Vec::new();
    for (name, file) in &files.0 {
        subject.tensor(name)?;
        places.extend(names.iter().position(|n| n == name).map(|n| (n, file)));
    }
    instance.restore_inputs();
    instance.run()?;
    for (n, file) in places {
        npy::write(Path::new(file), &instance.read_output(n)?)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read_or_refused() {
        assert_eq!(Ask::parse("sample"), Ok(Ask::Sample(1)));
        assert_eq!(Ask::parse("sample 12\r"), Ok(Ask::Sample(12)));
        assert_eq!(Ask::parse("quit"), Ok(Ask::Quit));
        let files = Pairs(vec![("C".to_owned(), "c.npy".to_owned())]);
        assert_eq!(Ask::parse("write C=c.npy"), Ok(Ask::Write(files)));
        for line in ["", "sample 0", "sample x", "write", "write C", "quit now", "dance"] {
            assert!(Ask::parse(line).is_err(), "{line}");
        }
    }
}
