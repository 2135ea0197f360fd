use super::*;
use crate::schedule::print::{plan_to_ast, verb_text};
use crate::schedule::verbs::VERBS;

fn scope() -> Scope {
    let own = |names: &[&str]| names.iter().map(|n| (*n).to_owned()).collect();
    Scope {
        axes: own(&["i", "j", "k", "t", "e"]),
        values: own(&["acc", "x", "p", "a", "w"]),
        tensors: own(&["A", "B", "C", "h", "l"]),
        sizes: own(&["M", "D"]),
        kernels: own(&["k1", "k2"]),
        amounts: own(&["bm", "vj", "st", "g"]),
        open: false,
    }
}

fn schedule(target: &str, verbs: &str) -> ast::Schedule {
    let text = format!("schedule k for {target} {{ {verbs} }}");
    let (file, errors) = crate::syntax::parse(&text);
    assert!(errors.is_empty(), "{text}: {errors:?}");
    match file.items.into_iter().next().map(|i| i.kind) {
        Some(ast::ItemKind::Schedule(s)) => s,
        other => panic!("{other:?}"),
    }
}

fn messages(target: &str, verbs: &str) -> String {
    let (_, errors) = parse(&schedule(target, verbs), &scope());
    let line = |d: &Diagnostic| {
        let help = d.help.as_ref().map(|h| format!("  help: {h}")).unwrap_or_default();
        let notes: String = d.notes.iter().map(|n| format!("  note: {n}")).collect();
        format!("{:?} {} {}{help}{notes}", d.severity, d.code, d.message)
    };
    errors.iter().map(line).collect::<Vec<_>>().join("\n")
}

/// One use of every verb with every option that it takes on a CPU.
const ALL: &str = "tile(i, 256, bm) tile(j, 4) order(i.0, j.0, k, i.1, j.1) parallel(i, j) parallel(i, balance = nnz)
    vector(j, vj) vector(j, 16) unroll(i) unroll(i, 6) stage(B, at = k.0, in = local, layout = panel(16))
    stage(A, at = i, in = shared) stage(B, at = k, in = local, layout = panel(vj, 4)) keep(acc, in = reg) keep(A, in = local) recompute(x) split(k, g, merge = atomic)
    roll(j, bm) roll(j, bm, passes = 2) fuse_online(p) tail(i, j, peel) tail(k, predicate) scan(C, via = two_pass, items = 4)
    scatter(h, via = privatize, in = local, copies = g) scatter(h, via = global) scatter(h, via = atomic) ragged(e, via = lane)
    append(l, via = sort) layout(A, soa) prepack(A, soa) prepack(B, panel(g)) prepack(B, transpose, panel(32)) nontemporal(C) prefetch(A, 8) prefetch(B, g) fuse(k1, k2) inplace(A, B) specialize(D) math(exp, ulp = 4)";

#[test]
fn every_verb_round_trips() {
    let (plan, errors) = parse(&schedule("cpu", ALL), &scope());
    assert!(errors.is_empty(), "{errors:?}");
    let texts: Vec<String> = plan.verbs.iter().map(verb_text).collect();
    let again = parse(&schedule("cpu", &texts.join(" ")), &scope());
    assert_eq!(again, (plan.clone(), vec![]));
    let from_ast = parse(&plan_to_ast(&plan, "k", "cpu", None), &scope());
    assert_eq!(from_ast, (plan.clone(), vec![]));
    let words = |s: &str| s.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(words(&texts.join(" ")), words(ALL));
    let typed = VERBS.iter().filter(|v| v.effect == Effect::Everywhere).map(|v| v.name);
    for name in typed {
        assert!(texts.iter().any(|t| t.starts_with(&format!("{name}("))), "{name} has no test");
    }
}

const THREADS: &str = "grid(i, j, group = g) thread(i, 4) thread(j) warps(g) mma(acc) mma(C) graph(on)";

#[test]
fn verbs_of_gpus_round_trip() {
    let (plan, errors) = parse(&schedule("vulkan", THREADS), &scope());
    assert!(errors.is_empty(), "{errors:?}");
    let texts: Vec<String> = plan.verbs.iter().map(verb_text).collect();
    assert_eq!(texts.join(" "), THREADS);
    assert!(!plan.verbs.iter().any(|v| matches!(v, Verb::Other { .. })), "{plan:?}");
}

const GPU: &str = "grid(i, j, group = g, order = heavy_first) micro(acc)
    stage(A, at = k, in = shared, depth = st, async, pad(1)) keep(x, in = reg, spill = shared)
    time_tile(t, 4, style = overlapped, keep = shared) prepack(B, mma_b_interleave)
    table(cis, in = constant) fuse_stages(t, 4) exchange(a, via = shuffle, spill = shared, pad = 1)
    convert(w, at = reg, via = lop3) spread(i, 2, sync = cluster) peel(j, diagonal)";

#[test]
fn what_only_gpus_have_is_kept_as_written() {
    let (plan, errors) = parse(&schedule("cuda", GPU), &scope());
    assert!(errors.is_empty(), "{errors:?}");
    assert!(plan.verbs.iter().all(|v| matches!(v, Verb::Other { .. })));
    let texts: Vec<String> = plan.verbs.iter().map(verb_text).collect();
    let words = |s: &str| s.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(words(&texts.join(" ")), words(GPU));
    assert_eq!(
        plan.verbs[0],
        Verb::Other {
            name: "grid".into(),
            anchors: vec!["i".into(), "j".into()],
            text: "i, j, group = g, order = heavy_first".into()
        }
    );
}

/// Commands are always recorded once: what says so is taken, what asks for something else is refused.
#[test]
fn graphs_are_always_on() {
    assert_eq!(messages("vulkan", "graph(on)"), "");
    insta::assert_snapshot!(
        messages("vulkan", "graph(off) graph() graph(maybe) graph(on, on)"),
        @"
        Error E0505 `graph(off)`: the commands of a program are always recorded once, and submitted together  help: leave `graph` out, or write graph(on)
        Error E0503 `graph`: `on` is missing  help: it is written graph(on)
        Error E0503 `graph`: one of on, off was expected  help: it is written graph(on)
        Error E0503 `graph`: an argument too many  help: it is written graph(on)
        "
    );
}

#[test]
fn on_the_cpu_it_is_a_warning() {
    insta::assert_snapshot!(
        messages("cpu", "mma(acc) time_tile(t, 4) stage(A, at = k, depth = 2, async) ragged(e, via = warp)"),
        @"
        Warning E0505 `mma` is for GPUs and has no effect on cpu
        Warning E0505 `depth` of `stage` is for GPUs and has no effect on cpu
        Warning E0505 `warp` of `ragged` is for GPUs and has no effect on cpu
        "
    );
}

#[test]
fn on_vulkan_what_has_no_effect_is_a_warning() {
    insta::assert_snapshot!(
        messages(
            "vulkan",
            "mma(acc) time_tile(t, 4) stage(A, at = k, depth = 2, async) ragged(e, via = warp) spread(i, 2, sync = cluster)"
        ),
        @"
        Warning E0505 `time_tile` has no effect on vulkan yet
        Warning E0505 `depth` of `stage` has no effect on vulkan yet
        Warning E0505 `spread` has no effect on vulkan yet
        "
    );
    let (plan, _) = parse(&schedule("vulkan", "stage(A, at = k, in = shared, async)"), &scope());
    assert!(matches!(plan.verbs[..], [Verb::Stage { place: Place::Shared, .. }]), "{plan:?}");
}

#[test]
fn mistakes_are_reported() {
    insta::assert_snapshot!(
        messages(
            "cpu",
            "keep(ac, in = reg) vectro(j, 4) vector(q, 4) vector(acc, 4) vector(j) vector(j, 0) vector(j, bn) vector(j, 4, 5)
             tile(i) tile(i.0, 4) order(i.0, i.0) stage(A) stage(A, at = k, in = reg) stage(A, at = k, layout = rows(2))
             keep(acc) keep(acc, in = l2) tail(i, j) tail(peel) split(k, 2, merge = magic) scan(C) layout(A, aos) prepack(A) prepack(A, rows) prepack(A, soa, 3) prepack(A, panel(2, 4))
             math(exp) math(gamma, ulp = 1) roll(j, 4, pass = 2) specialize(i) inplace(A) mma(ac) fuse(k1, k3) fuse(k1) prefetch(B) unroll(i, 2 + 2)
             parallel(i, balance = rows) frobnicate(i) vector(1..2) grid()"
        ),
        @"
        Error E0501 no let, var or tensor `ac`  help: did you mean `acc`?
        Error E0502 no verb `vectro`  help: did you mean `vector`?
        Error E0501 no axis `q`
        Error E0501 no axis `acc`  note: `acc` is a let, var or carry
        Error E0503 `vector`: the number of lanes is missing  help: it is written vector(j, n)
        Error E0503 `vector`: a positive number was expected  help: it is written vector(j, n)
        Error E0503 `vector`: no tunable `bn`  help: did you mean `bm`?
        Error E0503 `vector`: an argument too many  help: it is written vector(j, n)
        Error E0503 `tile`: a tile size is missing  help: it is written tile(i, n, ..)
        Error E0503 `tile`: the axis was expected  help: it is written tile(i, n, ..)
        Error E0503 `order`: the loop stands twice  help: it is written order(i.0, j.0, k, ..)
        Error E0503 `stage`: `at = ..` is missing  help: it is written stage(T, at = k, in = local or shared, layout = panel(n) or panel(n, q), depth = d, async, pad(p), swizzle(b))
        Error E0503 `stage`: one of local, shared was expected  help: it is written stage(T, at = k, in = local or shared, layout = panel(n) or panel(n, q), depth = d, async, pad(p), swizzle(b))
        Error E0503 `stage`: `panel(n)` was expected  help: it is written stage(T, at = k, in = local or shared, layout = panel(n) or panel(n, q), depth = d, async, pad(p), swizzle(b))
        Error E0503 `keep`: `in = ..` is missing  help: it is written keep(x, in = reg or local or shared)
        Error E0503 `keep`: one of reg, local, shared was expected  help: it is written keep(x, in = reg or local or shared)
        Error E0503 `tail`: one of predicate, peel, pad, shift was expected  help: it is written tail(i, .., predicate or peel or pad or shift)
        Error E0503 `tail`: the axis is missing  help: it is written tail(i, .., predicate or peel or pad or shift)
        Error E0503 `split`: one of two_pass, atomic was expected  help: it is written split(k, n, merge = two_pass or atomic)
        Error E0503 `scan`: `via = ..` is missing  help: it is written scan(y, via = serial or two_pass or three_pass or lookback, items = n)
        Error E0503 `layout`: one of soa, transpose was expected  help: it is written layout(P, soa or transpose)
        Error E0503 `prepack`: the layout is missing  help: it is written prepack(W, soa or transpose, panel(n)) with one of both or both
        Error E0503 `prepack`: one of soa, transpose was expected  help: it is written prepack(W, soa or transpose, panel(n)) with one of both or both
        Error E0503 `prepack`: `panel(n)` was expected  help: it is written prepack(W, soa or transpose, panel(n)) with one of both or both
        Error E0503 `prepack`: `panel` takes one number here  help: it is written prepack(W, soa or transpose, panel(n)) with one of both or both
        Error E0503 `math`: `ulp = ..` is missing  help: it is written math(exp, ulp = n)
        Error E0501 no function `gamma`
        Error E0503 `roll`: no option `pass`, or it stands twice  help: it is written roll(j, n, passes = p)
        Error E0501 no size `i`  note: `i` is an axis
        Error E0503 `inplace`: the tensor is missing  help: it is written inplace(a, b)
        Warning E0505 `mma` is for GPUs and has no effect on cpu
        Error E0501 no let, var or tensor `ac`  help: did you mean `acc`?
        Error E0501 no kernel `k3`  help: did you mean `k1`?
        Error E0503 `fuse`: the kernel is missing  help: it is written fuse(k1, k2, ..)
        Error E0503 `prefetch`: the number of passes is missing  help: it is written prefetch(A, n)
        Error E0503 `unroll`: a number or a tunable was expected  help: it is written unroll(i) or unroll(i, n)
        Error E0503 `parallel`: nnz was expected  help: it is written parallel(i, ..) or parallel(i, balance = nnz)
        Error E0502 no verb `frobnicate`
        Error E0503 `vector`: the axis is missing  help: it is written vector(j, n)
        Warning E0505 `grid` is for GPUs and has no effect on cpu
        Error E0503 `grid`: the axis is missing  help: it is written grid(i, j, .., group = g, order = heavy_first)
        "
    );
}

#[test]
fn an_open_scope_lets_names_pass() {
    let (plan, errors) = parse(&schedule("cpu", "vector(foo, bar) keep(baz, in = reg)"), &Scope::open());
    assert_eq!((plan.verbs.len(), errors.len()), (2, 0));
}

#[test]
fn the_table_is_complete_and_unambiguous() {
    for (n, verb) in VERBS.iter().enumerate() {
        assert!(VERBS[..n].iter().all(|v| v.name != verb.name), "{} stands twice", verb.name);
        assert!(verb.usage.starts_with(&format!("{}(", verb.name)), "{}", verb.usage);
        assert!(
            format!("{ALL} {GPU} {THREADS}").contains(&format!("{}(", verb.name)),
            "{} is in no test",
            verb.name
        );
    }
}
