//! Plans as schedules, and verbs as they are written.

use crate::diag::Span;
use crate::syntax::ast::{self, Arg, Expr, ExprKind, Ident};
use crate::syntax::print_expr;

use super::plan::{
    Amount, AppendVia, AxisRef, Merge, Place, Plan, RaggedVia, ScanVia, ScatterVia, TailStyle, TensorLayout,
    TimeStyle, Verb,
};

/// A plan as a schedule. Spans are empty.
#[must_use]
pub fn plan_to_ast(plan: &Plan, name: &str, target: &str, when: Option<Expr>) -> ast::Schedule {
    let verbs = plan.verbs.iter().map(verb_to_ast).collect();
    ast::Schedule { name: ident(name), target: ident(target), when, verbs }
}

/// A verb as it is written, `vector(j, 16)`.
#[must_use]
pub fn verb_text(verb: &Verb) -> String {
    let verb = verb_to_ast(verb);
    let args: Vec<String> = verb.args.iter().map(arg_text).collect();
    format!("{}({})", verb.name.name, args.join(", "))
}

fn ident(name: &str) -> Ident {
    Ident { name: name.to_owned(), span: Span::default() }
}

fn expr(kind: ExprKind) -> Expr {
    Expr { kind, span: Span::default() }
}

fn name(name: &str) -> Expr {
    expr(ExprKind::Name(name.to_owned()))
}

/// The order of the operands of matrix units, which no target has yet.
pub(super) const INTERLEAVED: &str = "mma_b_interleave";

fn layout_word(layout: TensorLayout) -> &'static str {
    match layout {
        TensorLayout::Soa => "soa",
        TensorLayout::Transpose => "transpose",
    }
}

fn verb_to_ast(verb: &Verb) -> ast::Verb {
    let positional = |n: &str| Arg::Expr(name(n));
    let named = |key: &str, e: Expr| Arg::Named(ident(key), e);
    let amount = |a: &Amount| match a {
        Amount::Int(v) => expr(ExprKind::Int { value: v.unsigned_abs(), hex: false }),
        Amount::Name(n) => name(n),
    };
    let axis = |a: &AxisRef| match a.level {
        None => name(&a.name),
        Some(level) => expr(ExprKind::Field(Box::new(name(&a.name)), ident(&level.to_string()))),
    };
    let place = |p: Place| {
        name(match p {
            Place::Reg => "reg",
            Place::Local => "local",
            Place::Shared => "shared",
        })
    };
    let (verb_name, args): (&str, Vec<Arg>) = match verb {
        Verb::Tile { axis, sizes } => {
            let sizes = sizes.iter().map(|n| Arg::Expr(amount(n)));
            ("tile", std::iter::once(positional(axis)).chain(sizes).collect())
        }
        Verb::Order(loops) => ("order", loops.iter().map(|l| Arg::Expr(axis(l))).collect()),
        Verb::Parallel { axes, balance } => {
            let balance = balance.iter().map(|b| named("balance", name(b)));
            ("parallel", axes.iter().map(|a| positional(a)).chain(balance).collect())
        }
        Verb::Grid { axes, group } => {
            let group = group.iter().map(|g| named("group", amount(g)));
            ("grid", axes.iter().map(|a| positional(a)).chain(group).collect())
        }
        Verb::Thread { axis, count } => {
            let count = count.iter().map(|n| Arg::Expr(amount(n)));
            ("thread", std::iter::once(positional(axis)).chain(count).collect())
        }
        Verb::Mma(value) => ("mma", vec![positional(value)]),
        Verb::Warps(n) => ("warps", vec![Arg::Expr(amount(n))]),
        Verb::Vector { axis, lanes } => ("vector", vec![positional(axis), Arg::Expr(amount(lanes))]),
        Verb::Unroll { axis, count } => {
            let count = count.iter().map(|n| Arg::Expr(amount(n)));
            ("unroll", std::iter::once(positional(axis)).chain(count).collect())
        }
        Verb::Stage { tensor, at, place: p, panel, deep } => {
            let mut args = vec![positional(tensor), named("at", axis(at)), named("in", place(*p))];
            if let Some(n) = panel {
                let deep = deep.iter().map(|q| Arg::Expr(amount(&Amount::Int(*q))));
                let numbers = std::iter::once(Arg::Expr(amount(n))).chain(deep).collect();
                let panel = ExprKind::Call(ident("panel"), numbers);
                args.push(named("layout", expr(panel)));
            }
            ("stage", args)
        }
        Verb::Keep { value, place: p } => ("keep", vec![positional(value), named("in", place(*p))]),
        Verb::Recompute(value) => ("recompute", vec![positional(value)]),
        Verb::Roll { axis, tile, passes } => {
            let passes = passes.iter().map(|p| named("passes", amount(p)));
            ("roll", [positional(axis), Arg::Expr(amount(tile))].into_iter().chain(passes).collect())
        }
        Verb::Split { axis, parts, merge } => {
            let merge = match merge {
                Merge::TwoPass => "two_pass",
                Merge::Atomic => "atomic",
            };
            ("split", vec![positional(axis), Arg::Expr(amount(parts)), named("merge", name(merge))])
        }
        Verb::Tail { axes, style } => {
            let style = match style {
                TailStyle::Predicate => "predicate",
                TailStyle::Peel => "peel",
                TailStyle::Pad => "pad",
                TailStyle::Shift => "shift",
            };
            ("tail", axes.iter().map(|a| positional(a)).chain([positional(style)]).collect())
        }
        Verb::Scan { target, via, items } => {
            let via = match via {
                ScanVia::Serial => "serial",
                ScanVia::TwoPass => "two_pass",
                ScanVia::ThreePass => "three_pass",
                ScanVia::Lookback => "lookback",
            };
            let items = items.iter().map(|n| named("items", amount(n)));
            ("scan", [positional(target), named("via", name(via))].into_iter().chain(items).collect())
        }
        Verb::Scatter { target, via, copies, place: p } => {
            let via = match via {
                ScatterVia::Global => "global",
                ScatterVia::Atomic => "atomic",
                ScatterVia::Privatize => "privatize",
                ScatterVia::Sort => "sort",
            };
            let mut args = vec![positional(target), named("via", name(via))];
            args.extend(p.map(|p| named("in", place(p))));
            args.extend(copies.iter().map(|n| named("copies", amount(n))));
            ("scatter", args)
        }
        Verb::Ragged { axis, via } => {
            let via = match via {
                RaggedVia::Lane => "lane",
                RaggedVia::Warp => "warp",
                RaggedVia::Merge => "merge",
            };
            ("ragged", vec![positional(axis), named("via", name(via))])
        }
        Verb::Append { target, via } => {
            let via = match via {
                AppendVia::Atomic => "atomic",
                AppendVia::Owner => "owner",
                AppendVia::Sort => "sort",
            };
            ("append", vec![positional(target), named("via", name(via))])
        }
        Verb::Layout { tensor, layout } => {
            ("layout", vec![positional(tensor), positional(layout_word(*layout))])
        }
        Verb::Prepack { tensor, layout, panel } => {
            let none = layout.is_none() && panel.is_none();
            let layout = layout.map(layout_word).or(none.then_some(INTERLEAVED)).map(positional);
            let call = |n| expr(ExprKind::Call(ident("panel"), vec![Arg::Expr(amount(n))]));
            let panel = panel.iter().map(|n| Arg::Expr(call(n)));
            ("prepack", std::iter::once(positional(tensor)).chain(layout).chain(panel).collect())
        }
        Verb::Inplace { kept, replaced } => ("inplace", vec![positional(kept), positional(replaced)]),
        Verb::Nontemporal(tensor) => ("nontemporal", vec![positional(tensor)]),
        Verb::Fuse(kernels) => ("fuse", kernels.iter().map(|k| positional(k)).collect()),
        Verb::Prefetch { tensor, passes } => {
            ("prefetch", vec![positional(tensor), Arg::Expr(amount(passes))])
        }
        Verb::FuseOnline(value) => ("fuse_online", vec![positional(value)]),
        Verb::Specialize(size) => ("specialize", vec![positional(size)]),
        Verb::Math { function, ulp } => ("math", vec![positional(function), named("ulp", amount(ulp))]),
        Verb::Table(function) => ("table", vec![positional(function)]),
        Verb::TimeTile { axis, steps, style } => {
            let style = match style {
                TimeStyle::Overlapped => "overlapped",
                TimeStyle::Wavefront => "wavefront",
                TimeStyle::Trapezoid => "trapezoid",
            };
            let args = vec![positional(axis), Arg::Expr(amount(steps)), named("style", name(style))];
            ("time_tile", args)
        }
        Verb::Graph => ("graph", vec![positional("on")]),
        Verb::Other { name, text, .. } => (name, parse_args(name, text)),
    };
    ast::Verb { name: ident(verb_name), args, span: Span::default() }
}

/// The arguments of a verb kept as text: they were written by [`arg_text`], so they parse.
fn parse_args(name: &str, text: &str) -> Vec<Arg> {
    let (file, _) = crate::syntax::parse(&format!("schedule k for cpu {{ {name}({text}) }}"));
    let verbs = file.items.into_iter().filter_map(|item| match item.kind {
        ast::ItemKind::Schedule(schedule) => Some(schedule.verbs),
        _ => None,
    });
    verbs.flatten().next().map(|verb| verb.args).unwrap_or_default()
}

/// An argument as canonical text.
pub(super) fn arg_text(arg: &Arg) -> String {
    match arg {
        Arg::Expr(e) => print_expr(e),
        Arg::Range(a, b) => format!("{}..{}", print_expr(a), print_expr(b)),
        Arg::Named(name, e) => format!("{} = {}", name.name, print_expr(e)),
    }
}
