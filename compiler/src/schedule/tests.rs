//! Every sample, at tiny odd sizes: the nest against the oracle.

mod atomic;
mod in_place;
mod join;
mod lanes;
mod masked;
mod mma;
mod pairs;
mod point_copies;
mod prefetch;
mod prepack;
mod scans;
mod slanted;
mod tables;
mod time;
mod windows;

use std::collections::BTreeMap;

use rooftile_artifact::program::Bindings;
use rooftile_artifact::{CpuTarget, GpuTarget, HostTensor, Scalar, Target};

use super::plan::{Amount, AxisRef, Merge, Place, Plan, ScanVia, ScatterVia, TensorLayout, Verb};
use super::{Allow, Choice, anchors, default_plan, draw, lower, parse, print};
use crate::diag::Diagnostic;
use crate::hir::check::check;
use crate::hir::ir::{AxisKind, ExprKind, File, FuncId, FuncKind, Role, TileSize};
use crate::nest::canonical_hash;
use crate::nest::interp::run_for_threads;
use crate::nest::ir::{Module, Phase, Stmt};
use crate::nest::verify::verify_module;
use crate::nest::walk::for_each_stmt;
use crate::oracle::{Inputs, Mode, Options, SplitMix, Values, cases, run};
use crate::syntax::ast::ItemKind;

/// The files under `tests/samples` and `dsl-examples`, parsed and checked.
fn samples() -> Vec<(String, File)> {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
    let mut out = Vec::new();
    let mut paths = Vec::new();
    for dir in ["tests/samples", "dsl-examples"] {
        let dir = std::path::Path::new(root).join(dir);
        paths.extend(std::fs::read_dir(dir).expect("a folder").map(|e| e.expect("entry").path()));
    }
    paths.sort();
    for path in paths.into_iter().filter(|p| p.extension().is_some_and(|e| e == "tile")) {
        let text = std::fs::read_to_string(&path).expect("a readable file");
        let (ast, errors) = crate::syntax::parse(&text);
        assert!(errors.is_empty(), "{path:?}: {errors:?}");
        let (mut file, errors) = check(&ast);
        mark_edges(&mut file);
        assert!(!crate::diag::has_errors(&errors), "{path:?}: {errors:?}");
        out.push((path.file_name().expect("a name").to_string_lossy().into_owned(), file));
    }
    out
}

/// Lets every index of a dimension with an edge rule leave its tensor.
fn mark_edges(file: &mut File) {
    for f in file.funcs.handles() {
        let func = &mut file.funcs[f];
        for e in func.exprs.handles() {
            let edges = match &func.exprs[e].kind {
                ExprKind::Load { tensor, .. } => func.tensors[*tensor].edges.clone(),
                _ => continue,
            };
            if let ExprKind::Load { leaves, .. } = &mut func.exprs[e].kind {
                for (l, edge) in leaves.iter_mut().zip(edges) {
                    *l = edge.is_some();
                }
            }
        }
    }
}

/// Inputs of a function: powers of two where asked for, particles inside their box.
fn inputs(file: &File, id: FuncId, seed: u64, largest: i64) -> Option<Inputs> {
    let func = &file.funcs[id];
    let mut inputs = if func.name == "fft3d" {
        cases::inputs_at(file, id, &[1 << (seed % 4)], seed)?
    } else {
        cases::small_inputs(file, id, seed, largest)?
    };
    if func.name.starts_with("lbm") {
        // Densities are not near zero, so that another order of their sums changes little.
        for tensor in &mut inputs.tensors {
            if let Some(t) = tensor.take() {
                let dense = |i: usize| Scalar::Float(0.1 + t.get(i).as_f64().abs());
                *tensor = HostTensor::from_fn(t.dtype(), t.shape(), dense).ok();
            }
        }
    }
    if func.name.starts_with("lj") {
        let edge = func.scalars.iter().position(|(_, s)| s.name == "L")?;
        let edge = inputs.scalars[edge].as_f64();
        for (n, (_, t)) in func.tensors.iter().enumerate() {
            if t.name == "P"
                && let Some(p) = inputs.tensors[n].take()
            {
                let inside = |i: usize| Scalar::Float(p.get(i).as_f64().abs().fract() * edge * 0.99);
                inputs.tensors[n] = HostTensor::from_fn(t.dtype, p.shape(), inside).ok();
            }
        }
    }
    Some(inputs)
}

/// The first kernel of a text.
fn kernel(text: &str) -> (File, FuncId) {
    let (ast, errors) = crate::syntax::parse(text);
    assert!(errors.is_empty(), "{errors:?}");
    let (file, errors) = check(&ast);
    assert!(!crate::diag::has_errors(&errors), "{errors:?}");
    let id = entries(&file)[0];
    (file, id)
}

/// Holds a choice to the oracle, with inputs of as many seeds as there are `largest` sizes. Gives the loops.
fn agrees(target: &Target, (file, id): (&File, FuncId), choice: &Choice, largest: &[i64]) -> Module {
    let module = lower(file, id, choice, target).unwrap_or_else(|e| panic!("{choice:?}: {e:?}"));
    for (seed, largest) in (0..).zip(largest) {
        let inputs = inputs(file, id, seed, *largest).expect("inputs");
        let judged = judge_on(target, file, id, choice, &inputs);
        assert_eq!(judged, Ok(()), "{choice:?}\n{}", module.nests[0]);
    }
    module
}

/// How many statements of some phases are such.
fn count<'a>(phases: impl IntoIterator<Item = &'a Phase>, is: impl Fn(&Stmt) -> bool) -> usize {
    let mut found = 0;
    for phase in phases {
        for_each_stmt(&phase.body, &mut |s| found += usize::from(is(s)));
    }
    found
}

/// What a schedule says, where sums may be taken apart.
fn written(verbs: &str, target: &Target) -> Choice {
    let text = format!("schedule k for {} {{ {verbs} }}", target.name());
    let (ast, errors) = crate::syntax::parse(&text);
    assert!(errors.is_empty(), "{text}: {errors:?}");
    let schedule = ast.items.into_iter().find_map(|i| match i.kind {
        ItemKind::Schedule(s) => Some(s),
        _ => None,
    });
    let (plan, errors) = parse::parse(&schedule.expect("a schedule"), &parse::Scope::open());
    assert!(!crate::diag::has_errors(&errors), "{text}: {errors:?}");
    let allow = Allow { reassoc: true, ..Allow::default() };
    Choice::Planned { plan, assignment: BTreeMap::new(), allow }
}

fn entries(file: &File) -> Vec<FuncId> {
    file.funcs.iter().filter(|(_, f)| f.kind != FuncKind::Reference).map(|(id, _)| id).collect()
}

/// The first difference beyond what rounding explains.
fn compare(got: &HostTensor, want: &Values, tolerance: f64) -> Option<String> {
    let mut scale = 0.0f64;
    for i in 0..want.len() {
        scale = scale.max(want.get(i).as_f64().abs());
    }
    for i in 0..want.len() {
        let (g, w) = (got.get(i), want.get(i).cast(got.dtype()));
        let apart = |g: f64, w: f64| {
            !((g - w).abs() <= tolerance * (w.abs() + scale.min(1e30)) + 1e-30
                || g == w
                || (g.is_nan() && w.is_nan()))
        };
        let bad = match (g, w) {
            (rooftile_artifact::Scalar::Complex(a, b), rooftile_artifact::Scalar::Complex(c, d)) => {
                apart(a, c) || apart(b, d)
            }
            (g, w) if got.dtype().is_float() => apart(g.as_f64(), w.as_f64()),
            (g, w) => g != w,
        };
        if bad {
            return Some(format!("element {i}: got {g:?}, want {w:?}"));
        }
    }
    None
}

fn tolerance(file: &File, id: FuncId) -> f64 {
    let half = |t: &crate::hir::ir::Tensor| t.dtype.unit_roundoff().unwrap_or(0.0);
    let u = file.funcs[id].tensors.iter().map(|(_, t)| half(t)).fold(0.0, f64::max);
    (40.0 * u).max(1e-5)
}

/// Runs a schedule of a kernel or pipeline on inputs and compares it with the oracle.
fn judge(file: &File, id: FuncId, choice: &Choice, inputs: &Inputs) -> Result<(), String> {
    judge_on(&cpu(), file, id, choice, inputs)
}

fn cpu() -> Target {
    CpuTarget::default().into()
}

fn gpu() -> Target {
    GpuTarget { units: 2, ..GpuTarget::default() }.into()
}

fn judge_on(
    target: &Target,
    file: &File,
    id: FuncId,
    choice: &Choice,
    inputs: &Inputs,
) -> Result<(), String> {
    let module = lower(file, id, choice, target).map_err(|d| format!("{d:?}"))?;
    let func = &file.funcs[id];
    let module = verify_module(module).map_err(|v| {
        let shown: Vec<String> = v.iter().map(ToString::to_string).collect();
        shown.join("\n")
    })?;
    let options = Options { mode: Mode::Rounded, check_races: false, ..Options::default() };
    let want = match run(file, id, inputs, &options) {
        Ok(want) => want,
        Err(e) => return Err(format!("oracle: {e}")),
    };
    let bindings = Bindings { sizes: inputs.sizes.clone(), scalars: inputs.scalars.clone() };
    let got = run_for_threads(&module, &bindings, &inputs.tensors, 3).map_err(|e| e.to_string())?;
    for ((n, g), w) in got.iter().enumerate().zip(&want.tensors) {
        let tensor = func.tensors.iter().nth(n).map(|(_, t)| t);
        if tensor.is_some_and(|t| t.bag) {
            continue;
        }
        if let Some(bad) = compare(g, w, tolerance(file, id)) {
            return Err(format!("{}: {bad} at {:?}", tensor.map_or("", |t| &t.name), inputs.sizes));
        }
    }
    Ok(())
}

fn judge_all(choice: impl Fn(&File, FuncId, u64) -> Choice, only: Option<&str>) {
    judge_all_on(&cpu(), choice, only);
}

fn judge_all_on(target: &Target, choice: impl Fn(&File, FuncId, u64) -> Choice, only: Option<&str>) {
    let mut failures: BTreeMap<String, String> = BTreeMap::new();
    let mut judged = std::collections::BTreeSet::new();
    for (name, file) in samples() {
        for id in entries(&file) {
            let func = &file.funcs[id];
            if only.is_some_and(|o| o != func.name) {
                continue;
            }
            for seed in 0..4 {
                let largest = if seed == 3 { 40 } else { 7 };
                let Some(inputs) = inputs(&file, id, seed, largest) else {
                    eprintln!("{name} {}: no inputs", func.name);
                    continue;
                };
                let choice = choice(&file, id, seed);
                match judge_on(target, &file, id, &choice, &inputs) {
                    Ok(()) => {
                        judged.insert(format!("{name} {}", func.name));
                    }
                    Err(e) if e.starts_with("oracle:") => eprintln!("{name} {}: {e}", func.name),
                    Err(e) => {
                        let at = format!("{name} {}", func.name);
                        failures.entry(at).or_insert(format!("{e}\n   {choice:?}"));
                    }
                }
            }
        }
    }
    let shown: Vec<String> = failures.iter().map(|(k, v)| format!("{k}: {v}")).collect();
    assert!(failures.is_empty(), "{}", shown.join("\n\n"));
    assert!(only.is_some() || judged.len() >= 40, "judged only {judged:?}");
}

/// Every tensor that can lie in another order does: buffers of pipelines, parameters with copies first and last.
#[test]
fn other_orders_of_dimensions() {
    for layout in [TensorLayout::Soa, TensorLayout::Transpose] {
        let choice = |file: &File, id: FuncId, _: u64| {
            let tensors = file.funcs[id].tensors.iter().map(|(_, t)| t);
            let list = |t: &crate::hir::ir::Tensor| t.bag && t.role == Role::Out;
            let eligible = tensors.filter(|t| t.shape.len() > 1 && !list(t));
            let verbs = eligible.map(|t| Verb::Layout { tensor: t.name.clone(), layout }).collect();
            let allow = Allow::default();
            Choice::Planned { plan: Plan { verbs }, assignment: Default::default(), allow }
        };
        judge_all(choice, None);
    }
}

/// A loop whose bounds another loop's data give is not shared out with it, only inside it.
#[test]
fn loops_that_the_host_cannot_count_are_not_shared_out() {
    let choice = |_: &File, _: FuncId, _: u64| {
        let order = Verb::Order(["c", "i"].map(|name| AxisRef { name: name.into(), level: None }).into());
        let parallel = Verb::Parallel { axes: vec!["s".into(), "i".into()], balance: None };
        let plan = Plan { verbs: vec![parallel, order] };
        Choice::Planned { plan, assignment: Default::default(), allow: Allow::default() }
    };
    judge_all(choice, Some("lj_force"));
}

/// Tensors that are exchanged follow each other, and cannot be told to lie in different orders.
#[test]
fn exchanged_tensors_lie_alike() {
    let planned = |verbs: Vec<Verb>| {
        let allow = Allow::default();
        Choice::Planned { plan: Plan { verbs }, assignment: Default::default(), allow }
    };
    let first = |file: &File, id: FuncId, layout| {
        let (_, tensor) = file.funcs[id].tensors.iter().next().expect("a tensor");
        Verb::Layout { tensor: tensor.name.clone(), layout }
    };
    for name in ["heat2d", "wave3d"] {
        judge_all(|file, id, _| planned(vec![first(file, id, TensorLayout::Soa)]), Some(name));
    }
    let (_, file) = samples().into_iter().find(|(n, _)| n == "wave3d.tile").expect("an example");
    let id = file.entry("wave3d").expect("a pipeline");
    let tensors = file.funcs[id].tensors.iter().map(|(_, t)| t.name.clone());
    let orders = [TensorLayout::Soa, TensorLayout::Transpose].into_iter().cycle();
    let verbs = tensors.zip(orders).map(|(tensor, layout)| Verb::Layout { tensor, layout }).collect();
    let refusal = lower(&file, id, &planned(verbs), &cpu()).expect_err("they clash");
    assert!(refusal[0].message.contains("different orders"), "{refusal:?}");
}

#[test]
fn naive_agrees_with_the_oracle() {
    judge_all(|_, _, _| Choice::Naive, None);
}

#[test]
fn default_agrees_with_the_oracle() {
    judge_all(|_, _, _| Choice::Default { allow: Allow { reassoc: true, ..Allow::default() } }, None);
}

/// Work in parts is legal where the task allows it, and right.
#[test]
fn scans_scatters_and_reductions_in_parts() {
    let parallel = |a: &str| Verb::Parallel { axes: vec![a.to_owned()], balance: None };
    let cases = [
        (
            "scan1",
            vec![parallel("i"), Verb::Scan { target: "y".to_owned(), via: ScanVia::TwoPass, items: None }],
        ),
        (
            "hist",
            vec![
                parallel("i"),
                Verb::Scatter {
                    target: "h".to_owned(),
                    via: ScatterVia::Privatize,
                    copies: None,
                    place: None,
                },
            ],
        ),
        ("gemv", vec![Verb::Split { axis: "k".to_owned(), parts: Amount::Int(3), merge: Merge::TwoPass }]),
    ];
    let mut judged = 0;
    for (_, file) in samples() {
        for (name, verbs) in &cases {
            let Some(id) = file.entry(name) else { continue };
            let plan = Plan { verbs: verbs.clone() };
            let allow = Allow { reassoc: true, ..Allow::default() };
            let choice = Choice::Planned { plan, assignment: BTreeMap::new(), allow };
            for seed in 0..3 {
                let inputs = inputs(&file, id, seed, 30).expect("inputs");
                assert_eq!(judge(&file, id, &choice, &inputs), Ok(()), "{name}");
                judged += 1;
            }
        }
    }
    assert!(judged >= 9, "judged {judged}");
}

/// The message of a refusal without its names.
fn reason(shown: &str) -> String {
    let message = shown.split("message: \"").nth(1).and_then(|m| m.split('"').next()).unwrap_or(shown);
    message.split('`').step_by(2).collect::<Vec<_>>().join("..")
}

/// A split reduction runs in parts: a phase for them, then one that puts them together.
#[test]
fn parts_are_phases_of_their_own() {
    let module = planned("gemv", vec![split("k", 3)]).expect("legal");
    assert!(module.nests[0].phases.len() > 1, "{}", module.nests[0]);
}

/// Copies of what parts of a split axis read, inside and outside their loops; panels that tiles do not fill.
#[test]
fn parts_of_a_split_axis_are_staged() {
    let parallel = Verb::Parallel { axes: vec!["i".to_owned()], balance: None };
    let tile = Verb::Tile { axis: "k".to_owned(), sizes: vec![Amount::Int(4)] };
    let at = |name: &str, level| AxisRef { name: name.to_owned(), level };
    let stage = |tensor: &str, at| Verb::Stage {
        tensor: tensor.to_owned(),
        at,
        place: Place::Local,
        panel: None,
        deep: None,
    };
    let order = Verb::Order(vec![at("i", None), at("k", None)]);
    let panel = Verb::Stage {
        tensor: "x".to_owned(),
        at: at("i", None),
        place: Place::Local,
        panel: Some(Amount::Int(3)),
        deep: None,
    };
    let unroll = Verb::Unroll { axis: "k".to_owned(), count: Some(Amount::Int(3)) };
    let cases = [
        vec![split("k", 4), unroll.clone(), panel.clone(), order.clone()],
        // Blocks of three in tiles of four: those of the second tile do not start at a panel.
        vec![tile.clone(), order.clone(), unroll, panel],
        vec![split("k", 3), stage("A", at("k", None))],
        vec![split("k", 3), stage("A", at("i", None))],
        vec![split("k", 3), parallel.clone(), stage("A", at("i", None))],
        vec![split("k", 3), order, stage("A", at("i", None)), stage("x", at("i", None))],
        vec![split("k", 3), tile.clone(), stage("A", at("k", Some(0))), stage("x", at("k", Some(1)))],
        vec![split("k", 4), tile, parallel, stage("x", at("i", None))],
    ];
    for (_, file) in samples() {
        let Some(id) = file.entry("gemv") else { continue };
        for verbs in &cases {
            for seed in 0..3 {
                let inputs = inputs(&file, id, seed, 30).expect("inputs");
                let verdict = judge(&file, id, &choice(verbs.clone()), &inputs);
                assert_eq!(verdict, Ok(()), "{verbs:?}");
            }
        }
    }
}

/// Statements of several phases that read one tensor have copies of their own.
#[test]
fn copies_do_not_outlive_their_phase() {
    let scan = Verb::Scan { target: "y".to_owned(), via: ScanVia::TwoPass, items: Some(Amount::Int(1)) };
    let at = AxisRef { name: "i".to_owned(), level: None };
    let stage = Verb::Stage { tensor: "x".to_owned(), at, place: Place::Local, panel: None, deep: None };
    for (_, file) in samples() {
        let Some(id) = file.entry("scan1") else { continue };
        let inputs = inputs(&file, id, 3, 40).expect("inputs");
        assert_eq!(judge(&file, id, &choice(vec![scan.clone(), stage.clone()]), &inputs), Ok(()));
    }
}

/// A read that leaves a loop stays with its user where the loop would be shared out but for the user.
#[test]
fn hoisted_reads_stay_with_their_users() {
    let plan = vec![
        Verb::Tile { axis: "j".to_owned(), sizes: vec![Amount::Int(8)] },
        Verb::Parallel { axes: vec!["j".to_owned(), "c".to_owned()], balance: None },
        Verb::Recompute("d".to_owned()),
    ];
    for (_, file) in samples() {
        let Some(id) = file.entry("nbody_step") else { continue };
        let inputs = inputs(&file, id, 3, 40).expect("inputs");
        assert_eq!(judge(&file, id, &choice(plan.clone()), &inputs), Ok(()));
    }
}

/// A copy inside a loop whose bounds are computed comes after their computation.
#[test]
fn copies_follow_the_bounds_of_their_loops() {
    let at = AxisRef { name: "s".to_owned(), level: None };
    let unroll = Verb::Unroll { axis: "c".to_owned(), count: None };
    let stage = Verb::Stage {
        tensor: "P".to_owned(),
        at,
        place: Place::Local,
        panel: Some(Amount::Int(3)),
        deep: None,
    };
    let module = planned("lj_neigh", vec![unroll, stage]).expect("legal");
    assert_eq!(verify_module(module).map(|_| ()).map_err(|e| e[0].to_string()), Ok(()));
}

/// Blocks that multiply to more code than anybody waits for are refused.
#[test]
fn huge_blocks_are_refused() {
    let unroll = |a: &str| Verb::Unroll { axis: a.to_owned(), count: Some(Amount::Int(48)) };
    let refused = planned("matmul", vec![unroll("i"), unroll("j"), unroll("k")]).expect_err("too much code");
    assert!(refused[0].message.contains("operations"), "{refused:?}");
    assert!(planned("matmul", vec![unroll("i")]).is_ok());
}

fn split(axis: &str, parts: i64) -> Verb {
    Verb::Split { axis: axis.to_owned(), parts: Amount::Int(parts), merge: Merge::TwoPass }
}

fn choice(verbs: Vec<Verb>) -> Choice {
    let allow = Allow { reassoc: true, ..Allow::default() };
    Choice::Planned { plan: Plan { verbs }, assignment: BTreeMap::new(), allow }
}

/// The first kernel of that name, lowered under a plan.
fn planned(name: &str, verbs: Vec<Verb>) -> Result<Module, Vec<Diagnostic>> {
    let (_, file) = samples().into_iter().find(|(_, f)| f.entry(name).is_some()).expect("a sample");
    let id = file.entry(name).expect("found before");
    lower(&file, id, &choice(verbs), &cpu())
}

/// On a GPU every kernel and pipeline runs by groups and threads with no schedule written.
#[test]
fn schedules_for_gpus() {
    judge_all_on(&gpu(), |_, _, _| Choice::Naive, None);
    let allow = |seed: u64| Allow { reassoc: seed.is_multiple_of(2), ..Allow::default() };
    judge_all_on(&gpu(), |_, _, seed| Choice::Default { allow: allow(seed) }, None);
    judge_all_on(&mma::unit(), |_, _, seed| Choice::Default { allow: allow(seed) }, None);
}

#[test]
fn random_plans_agree_with_the_oracle() {
    random_plans(&cpu());
}

#[test]
fn random_plans_for_gpus_agree_with_the_oracle() {
    random_plans(&gpu());
}

#[test]
fn random_plans_for_matrix_units_agree_with_the_oracle() {
    random_plans(&mma::unit());
}

/// Plans drawn at random: those that are legal agree with the oracle.
fn random_plans(target: &Target) {
    let doses: u64 = std::env::var("ROOFTILE_PLANS").ok().and_then(|v| v.parse().ok()).unwrap_or(3);
    let mut failures = Vec::new();
    let (mut legal, mut refused) = (0, 0);
    let mut reasons: BTreeMap<String, usize> = BTreeMap::new();
    for (name, file) in samples() {
        for id in entries(&file) {
            let found = anchors::anchors(&file, id).on(target);
            for seed in 0..doses {
                let mut rng = SplitMix::new(seed * 7919 + 1);
                let mut pick = |n: usize| usize::try_from(rng.next_u64() % n as u64).unwrap_or(0);
                let plan = draw::random_plan(&found, &mut pick);
                let allow = Allow { reassoc: seed % 4 != 0, ..Allow::default() };
                let choice = Choice::Planned { plan, assignment: BTreeMap::new(), allow };
                let Some(inputs) = inputs(&file, id, seed, if seed % 3 == 0 { 40 } else { 9 }) else {
                    continue;
                };
                match judge_on(target, &file, id, &choice, &inputs) {
                    Ok(()) => legal += 1,
                    Err(e) if e.starts_with("[Diagnostic") => {
                        refused += 1;
                        *reasons.entry(reason(&e)).or_default() += 1;
                    }
                    Err(e) if e.starts_with("oracle:") => {}
                    Err(e) => failures.push(format!("{name} {}: {e}\n   {choice:?}", file.funcs[id].name)),
                }
            }
        }
    }
    println!("{legal} legal, {refused} refused: {reasons:#?}");
    assert!(failures.is_empty(), "{} of {legal} legal\n{}", failures.len(), failures.join("\n\n"));
    assert!(legal > refused, "{legal} legal, {refused} refused");
}

/// The default is a plan: the plan gives the same loops, whatever tile sizes the names of the text have.
#[test]
fn the_default_is_a_plan() {
    let (mut kernels, mut pipelines) = (0, 0);
    for (name, file) in samples() {
        for id in entries(&file) {
            let single = file.funcs[id].kind == FuncKind::Kernel;
            let names = file.kernels_of(id).into_iter().flat_map(|k| file.funcs[k].axes.iter()).filter_map(
                |(_, a)| match &a.kind {
                    AxisKind::For(TileSize::Name(n)) | AxisKind::Fold(TileSize::Name(n)) => {
                        Some((n.clone(), 48))
                    }
                    _ => None,
                },
            );
            let assignment: BTreeMap<String, i64> = names.collect();
            let cpu = |threads| Target::from(CpuTarget { threads, ..CpuTarget::default() });
            let cpus = [(1, false), (2, false), (2, true), (8, true)].map(|(n, reassoc)| (cpu(n), reassoc));
            for (target, reassoc) in cpus.into_iter().chain([(gpu(), true), (mma::unit(), true)]) {
                let at = format!("{name} {} {} {reassoc}", file.funcs[id].name, target.name());
                let allow = Allow { reassoc, ..Allow::default() };
                let plan = default_plan(&file, id, allow, &target).expect("a default");
                let choice = Choice::Planned { plan: plan.clone(), assignment: assignment.clone(), allow };
                let planned = lower(&file, id, &choice, &target);
                let planned = planned.unwrap_or_else(|e| panic!("{at}: {plan:?} {e:?}"));
                if single {
                    let default = lower(&file, id, &Choice::Default { allow }, &target).expect("lowers");
                    assert_eq!(canonical_hash(&planned), canonical_hash(&default), "{at}: {plan:?}");
                    kernels += 1;
                } else {
                    pipelines += 1;
                }
            }
        }
    }
    assert!(kernels > 100 && pipelines > 20, "{kernels} {pipelines}");
}
