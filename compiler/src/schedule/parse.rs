//! Schedules as written to plans; [`print`](mod@super::print) is the way back.

use crate::diag::{Code, Diagnostic, Span, suggest};
use crate::hir::ir::{self as hir, AxisKind, FuncId, TileSize};
use crate::syntax::ast::{self, Arg, Expr, ExprKind, Ident};
use crate::syntax::print_expr;

use super::plan::{
    Amount, AppendVia, AxisRef, Merge, Place, Plan, RaggedVia, ScanVia, ScatterVia, TailStyle, TensorLayout,
    TimeStyle, Verb,
};
use super::print::{INTERLEAVED, arg_text};
use super::verbs::{self, Anchor, Anchors, Effect, VerbInfo};

const LAYOUTS: [(&str, TensorLayout); 2] =
    [("soa", TensorLayout::Soa), ("transpose", TensorLayout::Transpose)];

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

    /// What stands in `panel(..)`.
    fn panel<'e>(&self, e: &'e Expr) -> Parsed<&'e [Arg]> {
        match &e.kind {
            ExprKind::Call(name, args) if name.name == "panel" => Ok(args),
            _ => self.wrong(e.span, "`panel(n)` was expected"),
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
                    Some(e) => match self.panel(e)? {
                        [Arg::Expr(n)] => (Some(self.amount(n)?), None),
                        [Arg::Expr(n), Arg::Expr(q)] => match self.amount(q)? {
                            Amount::Int(deep) => (Some(self.amount(n)?), Some(deep)),
                            Amount::Name(_) => return self.wrong(q.span, "a number was expected"),
                        },
                        _ => return self.wrong(e.span, "`panel` takes one number, or two"),
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
                let tensor = self.anchor(Anchor::Tensor)?;
                let e = self.positional("the layout")?;
                Verb::Layout { tensor, layout: self.word(e, &LAYOUTS)? }
            }
            "prepack" => {
                let tensor = self.anchor(Anchor::Tensor)?;
                let mut e = self.positional("the layout")?;
                let mut layout = None;
                if matches!(&e.kind, ExprKind::Name(name) if name == INTERLEAVED) {
                    self.foreign.push((print_expr(e), e.span));
                    return Ok(Verb::Prepack { tensor, layout: None, panel: None });
                }
                if !matches!(e.kind, ExprKind::Call(..)) {
                    layout = Some(self.word(e, &LAYOUTS)?);
                    let Some(next) = self.peek() else {
                        return Ok(Verb::Prepack { tensor, layout, panel: None });
                    };
                    self.skip();
                    e = next;
                }
                match self.panel(e)? {
                    [Arg::Expr(n)] => Verb::Prepack { tensor, layout, panel: Some(self.amount(n)?) },
                    _ => return self.wrong(e.span, "`panel` takes one number here"),
                }
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

#[cfg(test)]
#[path = "parse_tests.rs"]
mod tests;
