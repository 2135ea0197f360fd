//! The worker's side: answers requests until the stream ends.

use std::io::{Read, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc;

use super::protocol::{Reply, Request, Task, receive, send};
use crate::bench::{Bench, Failure, Reason};

/// Makes the evaluation of a task.
pub type Open<'a> = &'a dyn Fn(&Task) -> Result<Box<dyn Bench>, Failure>;

/// Answers requests from `input` on `output` until `input` ends. A thread waits for input all the while: when the search
/// that asked has gone, the process ends at once, even out of a kernel that never returns.
pub fn serve(input: impl Read + Send + 'static, output: &mut impl Write, open: Open<'_>) {
    let (to, requests) = mpsc::channel();
    std::thread::spawn(move || {
        let mut input = input;
        while let Ok(Some(request)) = receive::<Request>(&mut input) {
            if to.send(request).is_err() {
                return;
            }
        }
        std::process::exit(0);
    });
    let mut bench: Option<Box<dyn Bench>> = None;
    while let Ok(request) = requests.recv() {
        let reply = catch_unwind(AssertUnwindSafe(|| answer(&mut bench, request, open)))
            .unwrap_or_else(|panic| Reply::Failed(Failure::new(Reason::Internal, panic_text(&*panic))));
        if send(output, &reply).is_err() {
            return;
        }
    }
}

fn answer(bench: &mut Option<Box<dyn Bench>>, request: Request, open: Open<'_>) -> Reply {
    let missing = || Failure::new(Reason::Internal, "a request before the setup");
    let reply = match (request, bench.as_mut()) {
        (Request::Setup(task), _) => open(&task).map(|opened| {
            *bench = Some(opened);
            Reply::Ready
        }),
        (_, None) => Err(missing()),
        (Request::SizeInfo(sizes), Some(b)) => b.size_info(&sizes).map(Reply::SizeInfo),
        (Request::Prepare(recipe, sizes), Some(b)) => b.prepare(&recipe, &sizes).map(Reply::Prepared),
        (Request::Verify(recipe, draw), Some(b)) => b.verify(&recipe, draw).map(Reply::Verified),
        (Request::Measure(recipe, sizes, effort), Some(b)) => {
            b.measure(&recipe, &sizes, effort).map(Reply::Measured)
        }
        (Request::Pair(x, y, sizes, rounds), Some(b)) => b.pair(&x, &y, &sizes, rounds).map(Reply::Pairs),
    };
    reply.unwrap_or_else(Reply::Failed)
}

/// What a panic said.
fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    panic
        .downcast_ref::<&str>()
        .map(|s| (*s).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "panicked".to_owned())
}
