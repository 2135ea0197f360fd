//! The search's side: a worker process that is asked, waited for so long, and killed when it does not answer.

use std::io::{BufReader, Read};
use std::os::unix::process::ExitStatusExt as _;
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::protocol::{Reply, Request, Task, receive, send};
use crate::bench::{Bench, Effort, Failure, Measured, Prepared, Reason, SizeInfo, Sizes, Verified};
use crate::candidate::Recipe;

/// Bytes of the worker's last words that are kept.
const LAST_WORDS: usize = 4096;

/// How workers are started.
#[derive(Clone, Debug)]
pub struct Launch {
    /// The program; it must end up in [`super::serve::serve`].
    pub program: PathBuf,
    /// Its arguments.
    pub args: Vec<String>,
    /// Bytes of address space that it may use.
    pub memory: Option<u64>,
}

/// Seconds that answers may take.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Timeouts {
    /// Start, setup, and inputs and oracle of a size.
    pub setup_s: f64,
    /// Lowering, and the checks at small sizes.
    pub check_s: f64,
    /// One measurement, beyond what the incumbent's time lets expect.
    pub measure_s: f64,
}

impl Default for Timeouts {
    fn default() -> Timeouts {
        Timeouts { setup_s: 120.0, check_s: 10.0, measure_s: 10.0 }
    }
}

/// A worker process, replaced by a fresh one when it dies.
pub struct Remote {
    launch: Launch,
    task: Task,
    timeouts: Timeouts,
    worker: Option<Worker>,
    /// Workers started so far.
    starts: u64,
}

struct Worker {
    child: Child,
    input: ChildStdin,
    replies: Receiver<Option<Reply>>,
    last_words: Arc<Mutex<Vec<u8>>>,
}

impl Drop for Worker {
    fn drop(&mut self) {
        // The worker starts no processes of its own, so its threads are all there is to end.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Remote {
    /// Starts a worker and sets it up.
    ///
    /// # Errors
    /// [`Failure`] when it cannot be started, or refuses the task.
    pub fn start(launch: Launch, task: Task, timeouts: Timeouts) -> Result<Remote, Failure> {
        let mut remote = Remote { launch, task, timeouts, worker: None, starts: 0 };
        remote.ensure()?;
        Ok(remote)
    }

    /// Workers started so far: one, and one for each that died or lost its device.
    #[must_use]
    pub fn starts(&self) -> u64 {
        self.starts
    }

    fn ensure(&mut self) -> Result<(), Failure> {
        if self.worker.is_some() {
            return Ok(());
        }
        let worker = self.spawn().map_err(|e| {
            let program = self.launch.program.display();
            Failure::new(Reason::Internal, format!("no worker could be started ({program}): {e}"))
        })?;
        self.worker = Some(worker);
        self.starts += 1;
        let task = Box::new(self.task.clone());
        match self.ask(&Request::Setup(task), self.timeouts.setup_s) {
            Ok(Reply::Ready) => Ok(()),
            Ok(other) => Err(unexpected(&other)),
            Err(failure) => {
                self.worker = None;
                Err(failure)
            }
        }
    }

    fn spawn(&self) -> std::io::Result<Worker> {
        let mut command = match self.launch.memory {
            // The shell sets the limit and becomes the worker.
            Some(bytes) => {
                let mut shell = Command::new("/bin/sh");
                shell.args(["-c", "ulimit -v \"$1\" 2>/dev/null; shift; exec \"$@\"", "sh"]);
                shell.arg((bytes / 1024).to_string()).arg(&self.launch.program);
                shell
            }
            None => Command::new(&self.launch.program),
        };
        let mut child = command
            .args(&self.launch.args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        let lost = || std::io::Error::other("a pipe is missing");
        let input = child.stdin.take().ok_or_else(lost)?;
        let output = child.stdout.take().ok_or_else(lost)?;
        let errors = child.stderr.take().ok_or_else(lost)?;
        let (to, replies) = channel();
        std::thread::spawn(move || {
            let mut output = BufReader::new(output);
            loop {
                let reply = receive::<Reply>(&mut output).ok().flatten();
                let ended = reply.is_none();
                if to.send(reply).is_err() || ended {
                    return;
                }
            }
        });
        let last_words = Arc::new(Mutex::new(Vec::new()));
        let words = Arc::clone(&last_words);
        std::thread::spawn(move || {
            let (mut errors, mut piece) = (errors, [0; 1024]);
            while let Ok(n @ 1..) = errors.read(&mut piece) {
                let mut words = words.lock().unwrap_or_else(PoisonError::into_inner);
                words.extend_from_slice(&piece[..n]);
                let extra = words.len().saturating_sub(LAST_WORDS);
                words.drain(..extra);
            }
        });
        Ok(Worker { child, input, replies, last_words })
    }

    /// Asks the worker and waits. A worker that does not answer is ended, and the next question starts another.
    fn ask(&mut self, request: &Request, seconds: f64) -> Result<Reply, Failure> {
        let Some(worker) = &mut self.worker else {
            return Err(Failure::new(Reason::Internal, "no worker"));
        };
        // A worker that is gone shows when it is waited for.
        let _ = send(&mut worker.input, request);
        let reply = worker.replies.recv_timeout(Duration::from_secs_f64(seconds.clamp(0.0, 1e6)));
        match reply {
            Ok(Some(Reply::Failed(failure))) => {
                if leaves_a_dead_device(&failure) {
                    self.worker = None;
                }
                Err(failure)
            }
            Ok(Some(reply)) => Ok(reply),
            Err(RecvTimeoutError::Timeout) => {
                self.worker = None;
                Err(Failure::new(Reason::Timeout, format!("no answer within {seconds:.0} s")))
            }
            Ok(None) | Err(RecvTimeoutError::Disconnected) => {
                let status = worker.child.wait();
                let words = worker.last_words.lock().unwrap_or_else(PoisonError::into_inner).clone();
                self.worker = None;
                Err(died(status, &String::from_utf8_lossy(&words)))
            }
        }
    }

    fn request(&mut self, request: &Request, seconds: f64) -> Result<Reply, Failure> {
        self.ensure()?;
        self.ask(request, seconds)
    }
}

/// Whether a failure that a worker itself tells of leaves it a device that works no more: one that was lost, or that does
/// not end what it was given. A fresh process has a fresh device.
fn leaves_a_dead_device(failure: &Failure) -> bool {
    matches!(failure.reason, Reason::Crash | Reason::Timeout)
}

/// The label of a worker's death.
fn died(status: std::io::Result<ExitStatus>, words: &str) -> Failure {
    let Ok(status) = status else { return Failure::new(Reason::Crash, "the worker was lost") };
    let last = words.lines().rev().find(|l| !l.trim().is_empty()).unwrap_or("").trim();
    let said = if last.is_empty() { String::new() } else { format!("; it said: {last}") };
    // Rust's allocator says of how many bytes.
    if let Some(line) = words.lines().find(|l| l.contains("memory allocation of")) {
        return Failure::new(Reason::Memory, format!("out of memory: {}", line.trim()));
    }
    match status.signal() {
        // As a system that is out of memory does.
        Some(9) => Failure::new(Reason::Memory, "ended by the system, as it does when memory runs out"),
        Some(signal @ (7 | 11)) => {
            Failure::new(Reason::OutOfBounds, format!("memory access outside every buffer, signal {signal}"))
        }
        Some(signal) => Failure::new(Reason::Crash, format!("signal {signal}{said}")),
        None => Failure::new(Reason::Crash, format!("{status}{said}")),
    }
}

fn unexpected(reply: &Reply) -> Failure {
    Failure::new(Reason::Internal, format!("an answer to another question: {reply:?}"))
}

impl Bench for Remote {
    fn size_info(&mut self, sizes: &Sizes) -> Result<SizeInfo, Failure> {
        match self.request(&Request::SizeInfo(sizes.clone()), self.timeouts.setup_s)? {
            Reply::SizeInfo(info) => Ok(info),
            other => Err(unexpected(&other)),
        }
    }

    fn prepare(&mut self, recipe: &Recipe, sizes: &[Sizes]) -> Result<Prepared, Failure> {
        match self.request(&Request::Prepare(recipe.clone(), sizes.to_vec()), self.timeouts.check_s)? {
            Reply::Prepared(prepared) => Ok(prepared),
            other => Err(unexpected(&other)),
        }
    }

    fn verify(&mut self, recipe: &Recipe, draw: u64) -> Result<Verified, Failure> {
        match self.request(&Request::Verify(recipe.clone(), draw), self.timeouts.check_s)? {
            Reply::Verified(verified) => Ok(verified),
            other => Err(unexpected(&other)),
        }
    }

    fn measure(&mut self, recipe: &Recipe, sizes: &Sizes, effort: Effort) -> Result<Measured, Failure> {
        // A fresh worker makes inputs and asks the oracle first.
        self.request(&Request::SizeInfo(sizes.clone()), self.timeouts.setup_s)?;
        // Even a candidate fifty times slower than what it is to be cut at gets to its end.
        let seconds = self.timeouts.measure_s + effort.cut_s.map_or(120.0, |c| c * 50.0) + effort.budget_s;
        match self.request(&Request::Measure(recipe.clone(), sizes.clone(), effort), seconds)? {
            Reply::Measured(measured) => Ok(measured),
            other => Err(unexpected(&other)),
        }
    }

    fn pair(
        &mut self,
        a: &Recipe,
        b: &Recipe,
        sizes: &Sizes,
        rounds: usize,
    ) -> Result<Vec<(f64, f64)>, Failure> {
        let request = Request::Pair(a.clone(), b.clone(), sizes.clone(), rounds);
        match self.request(&request, self.timeouts.setup_s)? {
            Reply::Pairs(pairs) => Ok(pairs),
            other => Err(unexpected(&other)),
        }
    }
}
