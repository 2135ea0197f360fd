//! Schedules as written to plans and back.

use crate::diag::{Code, Diagnostic, Span, suggest};
use crate::hir::ir::{self as hir, AxisKind, FuncId, TileSize};
use crate::syntax::ast::{self, Arg, Expr, ExprKind, Ident};
use crate::syntax::print_expr;

use super::plan::{
    Amount, AppendVia, AxisRef, Merge, Place, Plan, RaggedVia, ScanVia, ScatterVia, TailStyle, TensorLayout,
    TimeStyle, Verb,
};
use super::verbs::{self, Anchor, Anchors, Effect, VerbInfo};

/// The names that a schedule of one kernel or pipeline may use.
#[derive(Clone, Debug, Default)]
pub struct Scope {
    axes: Vec<String>,
    values: Vec<String>,
    tensors: Vec<String>,
    sizes: Vec<String>,
    kernels: Vec<String>,
    amounts: Vec<String>,
    open: bool,
}

impl Scope {
    /// The names of an entry and of all kernels that it launches, with its tunables.
    #[must_use]
    pub fn new<'a>(file: &hir::File, entry: FuncId, tunables: impl IntoIterator<Item = &'a str>) -> Scope {
        let mut scope =
            Scope { amounts: tunables.into_iter().map(str::to_owned).collect(), ..Scope::default() };
        let mut funcs = vec![entry];
        funcs.extend(file.kernels_of(entry).into_iter().filter(|&k| k != entry));
        for id in funcs {
            let func = &file.funcs[id];
            scope.axes.extend(func.axes.iter().map(|(_, a)| a.name.clone()));
            scope.values.extend(func.values.iter().map(|(_, v)| v.name.clone()));
            scope.tensors.extend(func.tensors.iter().map(|(_, t)| t.name.clone()));
            scope.sizes.extend(func.sizes.iter().map(|(_, s)| s.name.clone()));
            scope.amounts.extend(tile_names(func).into_iter().map(str::to_owned));
            scope.kernels.push(func.name.clone());
        }
        scope
    }

    /// A scope that knows no names and lets every one pass: for a kernel that did not check.
    #[must_use]
    pub fn open() -> Scope {
        Scope { open: true, ..Scope::default() }
    }

    fn names(&self, anchor: Anchor) -> Vec<&str> {
        fn of(v: &[String]) -> Vec<&str> {
            v.iter().map(String::as_str).collect()
        }
        match anchor {
            Anchor::Axis => of(&self.axes),
            Anchor::Value => of(&self.values),
            Anchor::Tensor => of(&self.tensors),
            Anchor::ValueOrTensor => [of(&self.values), of(&self.tensors)].concat(),
            Anchor::Size => of(&self.sizes),
            Anchor::Function => verbs::FUNCTIONS.to_vec(),
            Anchor::Kernel => of(&self.kernels),
        }
    }

    /// Whether an anchor names something.
    #[must_use]
    pub fn has(&self, anchor: Anchor, name: &str) -> bool {
        self.open || self.names(anchor).contains(&name)
    }

    /// The error of an anchor that names nothing, with the nearest name.
    fn check(&self, anchor: Anchor, name: &Ident) -> Result<(), Box<Diagnostic>> {
        if self.has(anchor, &name.name) {
            return Ok(());
        }
        let message = format!("no {} `{}`", anchor.noun(), name.name);
        let mut d = Diagnostic::error(Code::Anchor, name.span, message);
        if let Some(near) = nearest(&name.name, self.names(anchor)) {
            d = d.help(format!("did you mean `{near}`?"));
        } else if let Some(other) = self.kind_of(&name.name) {
            d = d.note(format!("`{}` is {other}", name.name));
        }
        Err(Box::new(d))
    }

    fn kind_of(&self, name: &str) -> Option<&'static str> {
        let kinds = [
            (&self.axes, "an axis"),
            (&self.values, "a let, var or carry"),
            (&self.tensors, "a tensor"),
            (&self.sizes, "a size"),
            (&self.kernels, "a kernel"),
            (&self.amounts, "a tunable"),
        ];
        kinds.into_iter().find(|(names, _)| names.iter().any(|n| n == name)).map(|(_, what)| what)
    }
}

/// The nearest name. Of names of one letter only the other case is near: any letter is one edit away.
fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    suggest(name, known).filter(|near| name.chars().count() > 1 || near.eq_ignore_ascii_case(name))
}

/// Tile names that a function's loops use (`bm` of `tiles(M; bm)`), in order of appearance, each once.
#[must_use]
pub fn tile_names(func: &hir::Func) -> Vec<&str> {
    let mut out = Vec::new();
    for (_, axis) in func.axes.iter() {
        if let AxisKind::For(TileSize::Name(name)) | AxisKind::Fold(TileSize::Name(name)) = &axis.kind
            && !out.contains(&name.as_str())
        {
            out.push(name);
        }
    }
    out
}

/// The plan of a schedule. Verbs with errors are left out. A verb without an effect on the schedule's target is kept as
/// [`Verb::Other`]; where code can be made for the target, it is a warning.
#[must_use]
pub fn parse(schedule: &ast::Schedule, scope: &Scope) -> (Plan, Vec<Diagnostic>) {
    let (mut plan, mut diagnostics) = (Plan::default(), Vec::new());
    for verb in &schedule.verbs {
        match parse_verb(verb, scope, &schedule.target.name, &mut diagnostics) {
            Ok(verb) => plan.verbs.push(verb),
            Err(d) => diagnostics.push(*d),
        }
    }
    (plan, diagnostics)
}

/// One verb; `warnings` receives what has no effect on the target, if code can be made for that.
///
/// # Errors
/// A diagnostic: unknown verb, wrong arguments, or an anchor that names nothing.
pub fn parse_verb(
    verb: &ast::Verb,
    scope: &Scope,
    target: &str,
    warnings: &mut Vec<Diagnostic>,
) -> Result<Verb, Box<Diagnostic>> {
    let Some(info) = verbs::find(&verb.name.name) else {
        let message = format!("no verb `{}`", verb.name.name);
        let mut d = Diagnostic::error(Code::UnknownVerb, verb.name.span, message);
        d.help = verbs::nearest(&verb.name.name).map(|n| format!("did you mean `{n}`?"));
        return Err(Box::new(d));
    };
    let cpu = target == "cpu";
    let has_effect = match info.effect {
        Effect::Everywhere => true,
        Effect::Cpu => cpu,
        Effect::Gpu => !cpu,
        Effect::GpuNotYet | Effect::NotYet => false,
    };
    if !has_effect && is_made(target) {
        let reason = no_effect(target, matches!(info.effect, Effect::Gpu | Effect::GpuNotYet));
        let message = format!("`{}` {reason}", info.name);
        warnings.push(Diagnostic::warning(Code::Unsupported, verb.span, message));
    }
    if !info.effect.is_typed() {
        return other(verb, info, scope);
    }
    let mut args =
        Args { info, verb, scope, cpu, next: 0, used: vec![false; verb.args.len()], foreign: Vec::new() };
    let typed = args.typed()?;
    let foreign = args.finish()?;
    if let Some((what, span)) = foreign.first() {
        if !is_made(target) {
            // Another target's option, which a typed verb does not hold, stays as written.
            return other(verb, info, scope);
        }
        let message = format!("`{what}` of `{}` {}", info.name, no_effect(target, true));
        warnings.push(Diagnostic::warning(Code::Unsupported, *span, message));
    }
    Ok(typed)
}

/// Why something does nothing on a target; it may be `for_gpus`.
fn no_effect(target: &str, for_gpus: bool) -> String {
    match target {
        "cpu" if for_gpus => "is for GPUs and has no effect on cpu".to_owned(),
        _ => format!("has no effect on {target} yet"),
    }
}

/// Whether code can be made for a target.
fn is_made(target: &str) -> bool {
    matches!(target, "cpu" | "vulkan")
}

fn other(verb: &ast::Verb, info: &VerbInfo, scope: &Scope) -> Result<Verb, Box<Diagnostic>> {
    let mut anchors = Vec::new();
    let positional: Vec<&Expr> = verb
        .args
        .iter()
        .filter_map(|a| match a {
            Arg::Expr(e) => Some(e),
            _ => None,
        })
        .collect();
    let (kind, count) = match info.anchors {
        Anchors::None => (Anchor::Axis, 0),
        Anchors::First(kind) => (kind, 1),
        Anchors::All(kind) => (kind, positional.len()),
    };
    if positional.len() < count.max(usize::from(info.anchors != Anchors::None)) {
        return Err(Box::new(usage(info, verb.span, "an anchor is missing")));
    }
    for e in positional.into_iter().take(count) {
        let (name, _) = axis_ref(e).ok_or_else(|| Box::new(usage(info, e.span, "a name was expected")))?;
        scope.check(kind, &name)?;
        anchors.push(name.name);
    }
    let text = verb.args.iter().map(arg_text).collect::<Vec<_>>().join(", ");
    Ok(Verb::Other { name: info.name.to_owned(), anchors, text })
}

fn usage(info: &VerbInfo, span: Span, message: &str) -> Diagnostic {
    Diagnostic::error(Code::VerbArguments, span, format!("`{}`: {message}", info.name))
        .help(format!("it is written {}", info.usage))
}

/// `i` or `i.0`.
fn axis_ref(e: &Expr) -> Option<(Ident, Option<u32>)> {
    match &e.kind {
        ExprKind::Name(name) => Some((Ident { name: name.clone(), span: e.span }, None)),
        ExprKind::Field(base, level) => match &base.kind {
            ExprKind::Name(name) => {
                let level = level.name.parse().ok()?;
                Some((Ident { name: name.clone(), span: base.span }, Some(level)))
            }
            _ => None,
        },
        _ => None,
    }
}

/// The arguments of one verb, taken one by one.
struct Args<'a> {
    info: &'static VerbInfo,
    verb: &'a ast::Verb,
    scope: &'a Scope,
    next: usize,
    used: Vec<bool>,
    cpu: bool,
    /// Options that only other targets have.
    foreign: Vec<(String, Span)>,
}

type Parsed<T> = Result<T, Box<Diagnostic>>;

impl<'a> Args<'a> {
    fn wrong<T>(&self, span: Span, message: &str) -> Parsed<T> {
        Err(Box::new(usage(self.info, span, message)))
    }

    /// The next positional argument, left in place.
    fn peek(&mut self) -> Option<&'a Expr> {
        while let Some(arg) = self.verb.args.get(self.next) {
            if let (Arg::Expr(e), false) = (arg, self.used[self.next]) {
                return Some(e);
            }
            self.next += 1;
        }
        None
    }

    fn skip(&mut self) {
        self.used[self.next] = true;
        self.next += 1;
    }

    fn positional(&mut self, what: &str) -> Parsed<&'a Expr> {
        match self.peek() {
            Some(e) => {
                self.skip();
                Ok(e)
            }
            None => self.wrong(self.verb.span, &format!("{what} is missing")),
        }
    }

    fn named(&mut self, key: &str) -> Option<&'a Expr> {
        for (n, arg) in self.verb.args.iter().enumerate() {
            if let (Arg::Named(name, e), false) = (arg, self.used[n])
                && name.name == key
            {
                self.used[n] = true;
                return Some(e);
            }
        }
        None
    }

    /// A positional flag or call of that name: `async`, `pad(1)`; or a named argument. For other targets.
    fn foreign(&mut self, names: &[&str]) {
        for (n, arg) in self.verb.args.iter().enumerate() {
            let (name, span) = match arg {
                Arg::Named(name, e) => (&name.name, e.span),
                Arg::Expr(e) => match &e.kind {
                    ExprKind::Name(name) => (name, e.span),
                    ExprKind::Call(name, _) => (&name.name, e.span),
                    _ => continue,
                },
                Arg::Range(..) => continue,
            };
            if !self.used[n] && names.contains(&name.as_str()) {
                self.used[n] = true;
                self.foreign.push((name.clone(), span));
            }
        }
    }

    fn anchor(&mut self, kind: Anchor) -> Parsed<String> {
        let e = self.positional(&format!("the {}", kind.noun()))?;
        match &e.kind {
            ExprKind::Name(name) => {
                let name = Ident { name: name.clone(), span: e.span };
                self.scope.check(kind, &name)?;
                Ok(name.name)
            }
            _ => self.wrong(e.span, &format!("the {} was expected", kind.noun())),
        }
    }

    fn axis_ref(&mut self, e: &Expr) -> Parsed<AxisRef> {
        let Some((name, level)) = axis_ref(e) else {
            return self.wrong(e.span, "an axis or a level of one, as in `i.0`, was expected");
        };
        self.scope.check(Anchor::Axis, &name)?;
        Ok(AxisRef { name: name.name, level })
    }

    fn amount(&self, e: &Expr) -> Parsed<Amount> {
        match &e.kind {
            ExprKind::Int { value, .. } => match i64::try_from(*value) {
                Ok(v) if v > 0 => Ok(Amount::Int(v)),
                _ => self.wrong(e.span, "a positive number was expected"),
            },
            ExprKind::Name(name) if self.scope.open || self.scope.amounts.contains(name) => {
                Ok(Amount::Name(name.clone()))
            }
            ExprKind::Name(name) => {
                let message = format!("`{}`: no tunable `{name}`", self.info.name);
                let mut d = Diagnostic::error(Code::VerbArguments, e.span, message);
                let known = self.scope.amounts.iter().map(String::as_str);
                d.help = Some(match nearest(name, known) {
                    Some(near) => format!("did you mean `{near}`?"),
                    None => format!("it is written {}", self.info.usage),
                });
                Err(Box::new(d))
            }
            _ => self.wrong(e.span, "a number or a tunable was expected"),
        }
    }

    fn next_amount(&mut self, what: &str) -> Parsed<Amount> {
        let e = self.positional(what)?;
        self.amount(e)
    }

    fn named_amount(&mut self, key: &str) -> Parsed<Option<Amount>> {
        self.named(key).map(|e| self.amount(e)).transpose()
    }

    /// One of several words.
    fn word<T: Copy>(&self, e: &Expr, words: &[(&str, T)]) -> Parsed<T> {
        let found = match &e.kind {
            ExprKind::Name(name) => words.iter().find(|(w, _)| w == name).map(|(_, v)| *v),
            _ => None,
        };
        match found {
            Some(v) => Ok(v),
            None => {
                let words: Vec<&str> = words.iter().map(|(w, _)| *w).collect();
                let one_of = if words.len() > 1 { "one of " } else { "" };
                self.wrong(e.span, &format!("{one_of}{} was expected", words.join(", ")))
            }
        }
    }

    fn named_word<T: Copy>(&mut self, key: &str, words: &[(&str, T)]) -> Parsed<Option<T>> {
        self.named(key).map(|e| self.word(e, words)).transpose()
    }

    /// `via = word`, required. Words that only other targets have are noted.
    fn via<T: Copy + PartialEq>(&mut self, words: &[(&str, T)], foreign: Option<T>) -> Parsed<T> {
        let Some(e) = self.named("via") else { return self.wrong(self.verb.span, "`via = ..` is missing") };
        let v = self.word(e, words)?;
        if foreign == Some(v) && self.cpu {
            self.foreign.push((print_expr(e), e.span));
        }
        Ok(v)
    }

    fn names(&mut self) -> Parsed<Vec<String>> {
        let mut axes = vec![self.anchor(Anchor::Axis)?];
        while self.peek().is_some() {
            axes.push(self.anchor(Anchor::Axis)?);
        }
        Ok(axes)
    }

    fn typed(&mut self) -> Parsed<Verb> {
        const PLACES: [(&str, Place); 3] =
            [("reg", Place::Reg), ("local", Place::Local), ("shared", Place::Shared)];
        Ok(match self.info.name {
            "tile" => {
                let axis = self.anchor(Anchor::Axis)?;
                let mut sizes = vec![self.next_amount("a tile size")?];
                while self.peek().is_some() {
                    sizes.push(self.next_amount("a tile size")?);
                }
                Verb::Tile { axis, sizes }
            }
            "order" => {
                let mut loops = Vec::new();
                while let Some(e) = self.peek() {
                    self.skip();
                    let at = self.axis_ref(e)?;
                    if loops.contains(&at) {
                        return self.wrong(e.span, "the loop stands twice");
                    }
                    loops.push(at);
                }
                if loops.is_empty() {
                    return self.wrong(self.verb.span, "the axes are missing");
                }
                Verb::Order(loops)
            }
            "parallel" => {
                let balance = match self.named("balance") {
                    Some(e) => Some(self.word(e, &[("nnz", "nnz")])?.to_owned()),
                    None => None,
                };
                Verb::Parallel { axes: self.names()?, balance }
            }
            "grid" => {
                let axes = self.names()?;
                let group = self.named_amount("group")?;
                self.foreign(&["order"]);
                Verb::Grid { axes, group }
            }
            "thread" => {
                let axis = self.anchor(Anchor::Axis)?;
                let count = if self.peek().is_some() { Some(self.next_amount("the threads")?) } else { None };
                Verb::Thread { axis, count }
            }
            "mma" => {
                let value = self.anchor(Anchor::ValueOrTensor)?;
                // There is one kind of matrix unit; programs name it to say that they know.
                while let Some(e) = self.peek() {
                    self.skip();
                    self.word(e, &[("coopmat", ())])?;
                }
                Verb::Mma(value)
            }
            "warps" => Verb::Warps(self.next_amount("the number of subgroups")?),
            "vector" => Verb::Vector {
                axis: self.anchor(Anchor::Axis)?,
                lanes: self.next_amount("the number of lanes")?,
            },
            "unroll" => {
                let axis = self.anchor(Anchor::Axis)?;
                let count = if self.peek().is_some() { Some(self.next_amount("the count")?) } else { None };
                Verb::Unroll { axis, count }
            }
            "stage" => {
                let tensor = self.anchor(Anchor::Tensor)?;
                let Some(at) = self.named("at") else {
                    return self.wrong(self.verb.span, "`at = ..` is missing");
                };
                let at = self.axis_ref(at)?;
                let place = self.named_word("in", &PLACES[1..])?.unwrap_or(Place::Local);
                let (panel, deep) = match self.named("layout") {
                    None => (None, None),
                    Some(e) => match &e.kind {
                        ExprKind::Call(name, args) if name.name == "panel" => match args.as_slice() {
                            [Arg::Expr(n)] => (Some(self.amount(n)?), None),
                            [Arg::Expr(n), Arg::Expr(q)] => match self.amount(q)? {
                                Amount::Int(deep) => (Some(self.amount(n)?), Some(deep)),
                                Amount::Name(_) => return self.wrong(q.span, "a number was expected"),
                            },
                            _ => return self.wrong(e.span, "`panel` takes one number, or two"),
                        },
                        _ => return self.wrong(e.span, "`panel(n)` was expected"),
                    },
                };
                self.foreign(&["depth", "async", "pad", "swizzle"]);
                Verb::Stage { tensor, at, place, panel, deep }
            }
            "keep" => {
                let value = self.anchor(Anchor::ValueOrTensor)?;
                let Some(place) = self.named_word("in", &PLACES)? else {
                    return self.wrong(self.verb.span, "`in = ..` is missing");
                };
                self.foreign(&["spill"]);
                Verb::Keep { value, place }
            }
            "recompute" => Verb::Recompute(self.anchor(Anchor::Value)?),
            "fuse_online" => Verb::FuseOnline(self.anchor(Anchor::Value)?),
            "specialize" => Verb::Specialize(self.anchor(Anchor::Size)?),
            "roll" => Verb::Roll {
                axis: self.anchor(Anchor::Axis)?,
                tile: self.next_amount("the tile")?,
                passes: self.named_amount("passes")?,
            },
            "split" => {
                const MERGES: [(&str, Merge); 2] = [("two_pass", Merge::TwoPass), ("atomic", Merge::Atomic)];
                Verb::Split {
                    axis: self.anchor(Anchor::Axis)?,
                    parts: self.next_amount("the number of parts")?,
                    merge: self.named_word("merge", &MERGES)?.unwrap_or(Merge::TwoPass),
                }
            }
            "tail" => {
                const STYLES: [(&str, TailStyle); 4] = [
                    ("predicate", TailStyle::Predicate),
                    ("peel", TailStyle::Peel),
                    ("pad", TailStyle::Pad),
                    ("shift", TailStyle::Shift),
                ];
                // The style stands last among the positional arguments.
                let last = self.verb.args.iter().rposition(|a| matches!(a, Arg::Expr(_)));
                let Some(Arg::Expr(e)) = last.map(|n| &self.verb.args[n]) else {
                    return self.wrong(self.verb.span, "the style is missing");
                };
                let style = self.word(e, &STYLES)?;
                self.used[last.unwrap_or(0)] = true;
                Verb::Tail { axes: self.names()?, style }
            }
            "scan" => {
                const WAYS: [(&str, ScanVia); 4] = [
                    ("serial", ScanVia::Serial),
                    ("two_pass", ScanVia::TwoPass),
                    ("three_pass", ScanVia::ThreePass),
                    ("lookback", ScanVia::Lookback),
                ];
                Verb::Scan {
                    target: self.anchor(Anchor::ValueOrTensor)?,
                    via: self.via(&WAYS, Some(ScanVia::Lookback))?,
                    items: self.named_amount("items")?,
                }
            }
            "scatter" => {
                const WAYS: [(&str, ScatterVia); 4] = [
                    ("global", ScatterVia::Global),
                    ("atomic", ScatterVia::Atomic),
                    ("privatize", ScatterVia::Privatize),
                    ("sort", ScatterVia::Sort),
                ];
                Verb::Scatter {
                    target: self.anchor(Anchor::Tensor)?,
                    via: self.via(&WAYS, None)?,
                    copies: self.named_amount("copies")?,
                    place: self.named_word("in", &PLACES[1..])?,
                }
            }
            "ragged" => {
                const WAYS: [(&str, RaggedVia); 3] =
                    [("lane", RaggedVia::Lane), ("warp", RaggedVia::Warp), ("merge", RaggedVia::Merge)];
                Verb::Ragged {
                    axis: self.anchor(Anchor::Axis)?,
                    via: self.via(&WAYS, Some(RaggedVia::Warp))?,
                }
            }
            "append" => {
                const WAYS: [(&str, AppendVia); 3] =
                    [("atomic", AppendVia::Atomic), ("owner", AppendVia::Owner), ("sort", AppendVia::Sort)];
                Verb::Append { target: self.anchor(Anchor::Tensor)?, via: self.via(&WAYS, None)? }
            }
            "layout" => {
                const LAYOUTS: [(&str, TensorLayout); 2] =
                    [("soa", TensorLayout::Soa), ("transpose", TensorLayout::Transpose)];
                let tensor = self.anchor(Anchor::Tensor)?;
                let e = self.positional("the layout")?;
                Verb::Layout { tensor, layout: self.word(e, &LAYOUTS)? }
            }
            "nontemporal" => Verb::Nontemporal(self.anchor(Anchor::Tensor)?),
            "prefetch" => Verb::Prefetch {
                tensor: self.anchor(Anchor::Tensor)?,
                passes: match self.positional("the number of passes")? {
                    Expr { kind: ExprKind::Int { value: 0, .. }, .. } => Amount::Int(0),
                    e => self.amount(e)?,
                },
            },
            "fuse" => {
                let mut kernels = vec![self.anchor(Anchor::Kernel)?, self.anchor(Anchor::Kernel)?];
                while self.peek().is_some() {
                    kernels.push(self.anchor(Anchor::Kernel)?);
                }
                Verb::Fuse(kernels)
            }
            "inplace" => {
                Verb::Inplace { kept: self.anchor(Anchor::Tensor)?, replaced: self.anchor(Anchor::Tensor)? }
            }
            "math" => {
                let function = self.anchor(Anchor::Function)?;
                let Some(ulp) = self.named_amount("ulp")? else {
                    return self.wrong(self.verb.span, "`ulp = ..` is missing");
                };
                Verb::Math { function, ulp }
            }
            "table" => {
                let function = self.anchor(Anchor::Function)?;
                self.foreign(&["in"]);
                Verb::Table(function)
            }
            "time_tile" => {
                const STYLES: [(&str, TimeStyle); 3] = [
                    ("overlapped", TimeStyle::Overlapped),
                    ("wavefront", TimeStyle::Wavefront),
                    ("trapezoid", TimeStyle::Trapezoid),
                ];
                let axis = self.anchor(Anchor::Axis)?;
                let steps = self.next_amount("the number of steps")?;
                let style = self.named_word("style", &STYLES)?.unwrap_or(TimeStyle::Overlapped);
                self.foreign(&["keep"]);
                Verb::TimeTile { axis, steps, style }
            }
            "graph" => {
                let e = self.positional("`on`")?;
                if !self.word(e, &[("on", true), ("off", false)])? {
                    // What no device does is refused where it would be expected to.
                    let message = "`graph(off)`: the commands of a program are always recorded once, and submitted together";
                    let d = Diagnostic::error(Code::Unsupported, self.verb.span, message);
                    return Err(Box::new(d.help("leave `graph` out, or write graph(on)")));
                }
                Verb::Graph
            }
            // The table marks no other verb as typed; a test walks it.
            _ => return self.wrong(self.verb.span, "the verb has no effect"),
        })
    }

    /// Options for other targets; an error for arguments that nothing took.
    fn finish(self) -> Parsed<Vec<(String, Span)>> {
        for (arg, used) in self.verb.args.iter().zip(&self.used) {
            if !used {
                let (span, what) = match arg {
                    Arg::Expr(e) => (e.span, "an argument too many".to_owned()),
                    Arg::Range(a, b) => (a.span.to(b.span), "a range is not an argument".to_owned()),
                    Arg::Named(name, _) => {
                        (name.span, format!("no option `{}`, or it stands twice", name.name))
                    }
                };
                return self.wrong(span, &what);
            }
        }
        Ok(self.foreign)
    }
}

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
            let layout = match layout {
                TensorLayout::Soa => "soa",
                TensorLayout::Transpose => "transpose",
            };
            ("layout", vec![positional(tensor), positional(layout)])
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
fn arg_text(arg: &Arg) -> String {
    match arg {
        Arg::Expr(e) => print_expr(e),
        Arg::Range(a, b) => format!("{}..{}", print_expr(a), print_expr(b)),
        Arg::Named(name, e) => format!("{} = {}", name.name, print_expr(e)),
    }
}

#[cfg(test)]
#[path = "parse_tests.rs"]
mod tests;
