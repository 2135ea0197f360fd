use rooftile_artifact::DType;

use super::*;
use crate::nest::Builder;
use crate::nest::ir::LoopKind;

/// Letters for steps: `|` a barrier, `t` threads, `s` another statement, parentheses around bodies.
fn text(steps: &[Step<'_>]) -> String {
    let one = |step: &Step<'_>| match step {
        Step::Barrier => "|".to_owned(),
        Step::Stmt(Stmt::Loop { .. }) => "t".to_owned(),
        Step::Stmt(_) => "s".to_owned(),
        Step::Block { bodies, .. } => bodies.iter().map(|b| format!("({})", text(b))).collect(),
    };
    steps.iter().map(one).collect()
}

fn planned(b: Builder, body: Vec<Stmt>) -> String {
    let nest = b.finish();
    text(&plan(&nest, &body))
}

fn threads(b: &mut Builder, count: u32, body: impl FnOnce(&mut Builder, ExprId) -> Vec<Stmt>) -> Stmt {
    let (zero, hi) = (b.int(0), b.int(count.into()));
    b.for_loop(LoopKind::Threads { count }, "t", (zero, hi, 1), body)
}

struct Setting {
    b: Builder,
    n: ExprId,
    x: BufferId,
    y: BufferId,
    s: BufferId,
}

fn setting() -> Setting {
    let mut b = Builder::new("t");
    let n = b.add_size("n");
    let x = b.add_buffer("x", DType::F32, &[n], Space::Global(0));
    let y = b.add_buffer("y", DType::F32, &[n], Space::Global(1));
    let width = b.int(64);
    let s = b.add_buffer("s", DType::F32, &[width], Space::Shared);
    Setting { b, n, x, y, s }
}

/// `to[index(t)] = from[from_index(t)]` by 16 threads.
fn copy(
    b: &mut Builder,
    (to, at): (BufferId, fn(&mut Builder, ExprId) -> ExprId),
    (from, read): (BufferId, fn(&mut Builder, ExprId) -> ExprId),
) -> Stmt {
    threads(b, 16, |b, t| {
        let (at, read) = (at(b, t), read(b, t));
        let v = b.load(from, &[read]);
        vec![b.store(to, &[at], v)]
    })
}

fn same(_: &mut Builder, t: ExprId) -> ExprId {
    t
}

fn mirrored(b: &mut Builder, t: ExprId) -> ExprId {
    let last = b.int(15);
    b.sub(last, t)
}

#[test]
fn a_thread_needs_no_barrier_for_its_own() {
    let Setting { mut b, x, y, s, .. } = setting();
    let body = vec![copy(&mut b, (s, same), (x, same)), copy(&mut b, (y, same), (s, same))];
    // Even the next chunk writes what the same thread read.
    assert_eq!(planned(b, body), "tt");
}

#[test]
fn another_threads_element_needs_one() {
    let Setting { mut b, x, y, s, .. } = setting();
    let body = vec![copy(&mut b, (s, same), (x, same)), copy(&mut b, (y, same), (s, mirrored))];
    // The first is for the chunk before, which may still be read.
    assert_eq!(planned(b, body), "|t|t");
}

#[test]
fn tiles_of_a_loop_have_two() {
    let Setting { mut b, n, x, y, s } = setting();
    let zero = b.int(0);
    let body = b.for_loop(LoopKind::Serial, "k", (zero, n, 16), |b, k| {
        let load = threads(b, 16, |b, t| {
            let i = b.add(k, t);
            let v = b.load(x, &[i]);
            vec![b.store(s, &[t], v)]
        });
        vec![load, copy(b, (y, same), (s, mirrored))]
    });
    assert_eq!(planned(b, vec![body]), "(|t|t)");
}

#[test]
fn a_loop_that_only_reads_has_it_in_front() {
    let Setting { mut b, n, x, y, s } = setting();
    let zero = b.int(0);
    let fill = copy(&mut b, (s, same), (x, same));
    let body = b.for_loop(LoopKind::Serial, "k", (zero, n, 16), |b, k| {
        vec![threads(b, 16, |b, t| {
            let from = mirrored(b, t);
            let v = b.load(s, &[from]);
            let i = b.add(k, t);
            vec![b.store(y, &[i], v)]
        })]
    });
    // Of `y`, another pass writes elsewhere, which is not proven; so each pass waits.
    let text = planned(b, vec![fill, body]);
    assert!(text == "|t|(|t)" || text == "|t|(t)", "{text}");
}

#[test]
fn statements_outside_the_threads() {
    let Setting { mut b, y, s, x, .. } = setting();
    let (zero, one) = (b.int(0), b.int(1));
    let fill = copy(&mut b, (s, same), (x, same));
    let v = b.load(s, &[one]);
    let store = b.store(y, &[zero], v);
    let more = b.store(y, &[one], v);
    // The one that stores reads what another one wrote; twice without waiting.
    assert_eq!(planned(b, vec![fill, store, more]), "|t|ss");
}

#[test]
fn conditions_join() {
    let Setting { mut b, n, x, y, s } = setting();
    let one = b.int(1);
    let cond = b.lt(one, n);
    let then = vec![copy(&mut b, (s, same), (x, same))];
    let choice = Stmt::If { cond, then, otherwise: Vec::new() };
    let read = copy(&mut b, (y, same), (s, mirrored));
    assert_eq!(planned(b, vec![choice, read]), "(|t)()|t");
}

#[test]
fn blocks_of_a_thread_are_digits() {
    let Setting { mut b, x, y, s, .. } = setting();
    let (zero, four) = (b.int(0), b.int(4));
    let by_four = |b: &mut Builder, to, from, factor: i64| {
        threads(b, 16, |b, t| {
            vec![b.for_loop(LoopKind::Unrolled, "u", (zero, four, 1), |b, u| {
                let i = b.mul_int(t, factor);
                let i = b.add(i, u);
                let v = b.load(from, &[i]);
                vec![b.store(to, &[i], v)]
            })]
        })
    };
    let apart = vec![by_four(&mut b, s, x, 4), by_four(&mut b, y, s, 4)];
    let overlapping = vec![by_four(&mut b, s, x, 3), by_four(&mut b, y, s, 3)];
    let nest = b.finish();
    assert_eq!(text(&plan(&nest, &apart)), "tt");
    assert_eq!(text(&plan(&nest, &overlapping)), "|t|t");
}

#[test]
fn passes_whose_elements_lie_apart_need_none() {
    // y[i + t] = y[i + t] of 16 threads: passes meet only if they are nearer than 16.
    for (step, want) in [(16, "(t)"), (32, "(t)"), (8, "(|t)")] {
        let Setting { mut b, n, y, .. } = setting();
        let zero = b.int(0);
        let update = b.for_loop(LoopKind::Serial, "i", (zero, n, step), |b, i| {
            vec![threads(b, 16, |b, t| {
                let at = b.add(i, t);
                let v = b.load(y, &[at]);
                vec![b.store(y, &[at], v)]
            })]
        });
        assert_eq!(planned(b, vec![update]), want, "step {step}");
    }
}

#[test]
fn what_subgroups_move_waits_on_both_sides() {
    let Setting { mut b, x, y, s, .. } = setting();
    let (zero, eight) = (b.int(0), b.int(8));
    let tile = b.add_buffer("tile", DType::F32, &[eight, eight], Space::Shared);
    let m = b.add_buffer("m", DType::F32, &[eight, eight], Space::Matrix);
    let fill = copy(&mut b, (s, same), (x, same));
    let put = threads(&mut b, 8, |b, t| {
        let v = b.load(s, &[t]);
        vec![b.store(tile, &[t, zero], v)]
    });
    let work = b.subgroups(1, "g", |b, _| {
        let body = vec![b.load_matrix((m, &[]), (tile, &[zero, zero]), (0, 1))];
        vec![b.for_loop(LoopKind::Serial, "k", (zero, eight, 1), |_, _| body)]
    });
    let hand_over = b.subgroups(1, "g", |b, _| vec![b.store_matrix((m, &[]), (tile, &[zero, zero]), (0, 1))]);
    let take = threads(&mut b, 8, |b, t| {
        let v = b.load(tile, &[t, zero]);
        vec![b.store(y, &[t], v)]
    });
    // Of `s` each thread has its own; of `tile` nobody knows whose an element is.
    let text = planned(b, vec![fill, put, work, hand_over, take]);
    assert_eq!(text, "t|t|t|t|t");
}
