//! Tasks as written.

use rooftile_artifact::{DType, Scalar};

use crate::diag::{Code, Diagnostic, Span, suggest};
use crate::hir::ir::{self as hir, Func, ParamRef, Role};
use crate::syntax::ast::{self, Arg, BinaryOp, Expr, ExprKind, TaskItemKind};
use crate::tune;

use super::bind::{Binder, Scalars, Sizes, sizes_in};
use super::dist::{self, Dist};
use super::tolerance::Tolerance;
use super::{Allow, Check, Cost, InitItem, SizeDomain, SizeSet, Source, Task, value};

/// Reads every `task` block. A task with errors is left out.
#[must_use]
pub fn build(file: &ast::File, checked: &hir::File) -> (Vec<Task>, Vec<Diagnostic>) {
    let (mut tasks, mut diagnostics) = (Vec::<Task>::new(), Vec::new());
    let fns: Vec<ast::Fn> = file
        .items
        .iter()
        .filter_map(|i| match &i.kind {
            ast::ItemKind::Fn(f) => Some(f.clone()),
            _ => None,
        })
        .collect();
    for item in &file.items {
        let ast::ItemKind::Task(task) = &item.kind else { continue };
        if !tune::has_entry(file, &task.name.name) {
            diagnostics.push(tune::unknown_entry(file, &task.name));
            continue;
        }
        // An entry that did not check has had its errors.
        let Some(entry) = checked.entry(&task.name.name) else { continue };
        let mut reader = Reader {
            func: &checked.funcs[entry],
            checked,
            task: Task {
                name: task.name.name.clone(),
                entry,
                search: vec![],
                heldout: vec![],
                sealed: vec![],
                domains: vec![],
                init: vec![],
                tolerances: vec![],
                cost: Cost::default(),
                allow: Allow::default(),
                checks: vec![],
                span: item.span,
                fns: fns.clone(),
            },
            diagnostics: Vec::new(),
        };
        if let Some(other) = tasks.iter().find(|t| t.name == task.name.name) {
            let message = format!("`{}` has two tasks", task.name.name);
            let d = Diagnostic::error(Code::Duplicate, task.name.span, message);
            diagnostics.push(d.cause(other.span, "the first"));
            continue;
        }
        for item in &task.items {
            reader.item(item);
        }
        reader.finish(task.name.span);
        let refused = crate::diag::has_errors(&reader.diagnostics);
        diagnostics.append(&mut reader.diagnostics);
        if !refused {
            tasks.push(reader.task);
        }
    }
    (tasks, diagnostics)
}

/// Sizes that the data of a task bind (`E` and `C` of a sparse matrix), so that no size set needs them.
#[must_use]
pub fn data_bound(func: &Func, init: &[InitItem]) -> Vec<String> {
    let mut out: Vec<String> = Vec::new();
    let mut add = |e| {
        for id in sizes_in(func, e) {
            let name = &func.sizes[id].name;
            if !out.contains(name) {
                out.push(name.clone());
            }
        }
    };
    for item in init {
        let Source::Dist(Dist::Csr(_) | Dist::Ragged(_)) = &item.source else { continue };
        let Some((_, pointers)) = func.tensors.iter().find(|(_, t)| t.name == item.name) else { continue };
        let Some((_, hi)) = pointers.range else { continue };
        add(hi);
        if matches!(item.source, Source::Dist(Dist::Csr(_))) {
            let elements = sizes_in(func, hi);
            for (_, t) in func.tensors.iter() {
                let same = |e| sizes_in(func, e) == elements;
                if t.name != item.name
                    && t.shape.len() == 1
                    && same(t.shape[0])
                    && let Some((_, columns)) = t.range
                {
                    add(columns);
                }
            }
        }
    }
    out
}

/// Sizes and integer parameters that a size set must give: all sizes that the data do not bind, and the signed integer
/// parameters without an `init`.
#[must_use]
pub fn required_sizes(func: &Func, init: &[InitItem]) -> Vec<String> {
    let bound = data_bound(func, init);
    let sizes = func.sizes.iter().map(|(_, s)| &s.name).filter(|n| !bound.contains(n));
    let counts = func
        .scalars
        .iter()
        .filter(|(_, s)| s.dtype.is_signed_int() && !init.iter().any(|i| i.name == s.name))
        .map(|(_, s)| &s.name);
    sizes.chain(counts).cloned().collect()
}

struct Reader<'a> {
    func: &'a Func,
    checked: &'a hir::File,
    task: Task,
    diagnostics: Vec<Diagnostic>,
}

impl Reader<'_> {
    fn error(&mut self, code: Code, span: Span, message: impl Into<String>) {
        self.diagnostics.push(Diagnostic::error(code, span, message));
    }

    fn unknown(&mut self, code: Code, name: &ast::Ident, what: &str, known: &[&str]) {
        let message = format!("`{}` has no {what} `{}`", self.task.name, name.name);
        let mut d = Diagnostic::error(code, name.span, message);
        d.help = suggest(&name.name, known.iter().copied()).map(|n| format!("did you mean `{n}`?"));
        self.diagnostics.push(d);
    }

    fn number(&mut self, e: &Expr) -> Option<Scalar> {
        let names = std::collections::BTreeMap::new();
        let tensors = std::collections::BTreeMap::new();
        let values = value::Values {
            names: &names,
            tables: &self.checked.tables,
            fns: &self.task.fns,
            tensors: &tensors,
        };
        match values.eval(e) {
            Ok(v) => Some(v),
            Err(why) => {
                self.error(Code::BadTask, e.span, format!("not a constant: {why}"));
                None
            }
        }
    }

    fn integer(&mut self, e: &Expr) -> Option<i64> {
        match self.number(e)? {
            Scalar::Int(v) => Some(v),
            _ => {
                self.error(Code::BadTask, e.span, "an integer was expected");
                None
            }
        }
    }

    fn item(&mut self, item: &ast::TaskItem) {
        match &item.kind {
            TaskItemKind::Search(sets) => {
                let sets = self.size_sets(sets);
                self.task.search.extend(sets);
            }
            TaskItemKind::Heldout(sets) => {
                let sets = self.size_sets(sets);
                self.task.heldout.extend(sets);
            }
            TaskItemKind::Sealed(sets) => {
                let sets = self.size_sets(sets);
                self.task.sealed.extend(sets);
            }
            TaskItemKind::Sizes { name, lo, hi, multiple } => self.domain(name, lo, hi, multiple.as_ref()),
            TaskItemKind::Init { name, dist } => self.init(name, dist, item.span),
            TaskItemKind::Tol { name, bounds } => self.tolerance(name, bounds, item.span),
            TaskItemKind::Cost { name, value } => match name.name.as_str() {
                "flops" => self.task.cost.flops = Some(value.clone()),
                "bytes" => self.task.cost.bytes = Some(value.clone()),
                _ => self.unknown(Code::BadTask, name, "cost", &["flops", "bytes"]),
            },
            TaskItemKind::Allow(words) => words.iter().for_each(|w| self.allow(w)),
            TaskItemKind::Check(e) => self.check(e),
        }
    }

    fn size_sets(&mut self, sets: &[ast::SizeSet]) -> Vec<SizeSet> {
        let mut out = Vec::new();
        for set in sets {
            let known = tune::size_names(self.func);
            let mut values = Sizes::new();
            for (name, e) in &set.entries {
                if !known.contains(&name.name.as_str()) {
                    self.unknown(Code::Size, name, "size or integer parameter", &known);
                    continue;
                }
                let Some(v) = self.integer(e) else { continue };
                let is_size = self.func.sizes.iter().any(|(_, s)| s.name == name.name);
                if v < i64::from(is_size) {
                    let least = if is_size { "positive" } else { "not negative" };
                    self.error(Code::Size, e.span, format!("`{}` = {v} must be {least}", name.name));
                }
                if values.insert(name.name.clone(), v).is_some() {
                    self.error(Code::Duplicate, name.span, format!("`{}` is given twice", name.name));
                }
            }
            out.push(SizeSet { values, span: set.span });
        }
        out
    }

    fn domain(&mut self, name: &ast::Ident, lo: &Expr, hi: &Expr, multiple: Option<&Expr>) {
        let known = tune::size_names(self.func);
        if !known.contains(&name.name.as_str()) {
            self.unknown(Code::Size, name, "size or integer parameter", &known);
            return;
        }
        let (Some(lo_value), Some(hi_value)) = (self.integer(lo), self.integer(hi)) else { return };
        let multiple_value = match multiple {
            Some(e) => match self.integer(e) {
                Some(v) if v > 0 => v,
                Some(_) => return self.error(Code::BadTask, e.span, "the multiple must be positive"),
                None => return,
            },
            None => 1,
        };
        let domain =
            SizeDomain { name: name.name.clone(), lo: lo_value, hi: hi_value, multiple: multiple_value };
        if domain.values() == 0 {
            let message = format!("`{}` has no value from {lo_value} to below {hi_value}", name.name);
            return self.error(Code::BadTask, lo.span.to(hi.span), message);
        }
        if self.task.domains.iter().any(|d| d.name == name.name) {
            return self.error(Code::Duplicate, name.span, format!("`{}` has two domains", name.name));
        }
        self.task.domains.push(domain);
    }

    fn param(&self, name: &str) -> Option<(DType, Option<Role>)> {
        self.func.params.iter().find_map(|p| match p {
            ParamRef::Tensor(id) => {
                let t = &self.func.tensors[*id];
                (t.name == name).then_some((t.dtype, Some(t.role)))
            }
            ParamRef::Scalar(id) => {
                let s = &self.func.scalars[*id];
                (s.name == name).then_some((s.dtype, None))
            }
        })
    }

    fn params(&self) -> Vec<&str> {
        let func = self.func;
        func.params
            .iter()
            .map(|p| match p {
                ParamRef::Tensor(id) => func.tensors[*id].name.as_str(),
                ParamRef::Scalar(id) => func.scalars[*id].name.as_str(),
            })
            .collect()
    }

    fn init(&mut self, name: &ast::Ident, init: &ast::Init, span: Span) {
        let Some((dtype, role)) = self.param(&name.name) else {
            let known: Vec<String> = self.params().into_iter().map(str::to_owned).collect();
            let known: Vec<&str> = known.iter().map(String::as_str).collect();
            return self.unknown(Code::BadTask, name, "parameter", &known);
        };
        if role == Some(Role::Out) {
            let message = format!("`{}` is an `out`, which is written whole before it is read", name.name);
            return self.error(Code::BadTask, name.span, message);
        }
        if self.task.init.iter().any(|i| i.name == name.name) {
            return self.error(Code::Duplicate, name.span, format!("`{}` has two inits", name.name));
        }
        let source = match init {
            ast::Init::Dist(e) => match dist::read(e) {
                Ok(dist) => {
                    if matches!(dist, Dist::Cnormal(..)) && !dtype.is_complex() {
                        let message =
                            format!("`cnormal` makes complex numbers, and `{}` is {dtype}", name.name);
                        return self.error(Code::BadTask, e.span, message);
                    }
                    if matches!(dist, Dist::Ragged(_) | Dist::Permutation) && !dtype.is_int() {
                        let message =
                            format!("the distribution makes integers, and `{}` is {dtype}", name.name);
                        return self.error(Code::BadTask, e.span, message);
                    }
                    let needs_tensor = matches!(
                        dist,
                        Dist::Ragged(_) | Dist::Permutation | Dist::Csr(_) | Dist::Lattice(..)
                    );
                    if role.is_none() && needs_tensor {
                        let message =
                            format!("the distribution fills a tensor, and `{}` is a scalar", name.name);
                        return self.error(Code::BadTask, e.span, message);
                    }
                    Source::Dist(dist)
                }
                Err(d) => return self.diagnostics.push(*d),
            },
            ast::Init::Range(a, b) => Source::Range(a.clone(), b.clone()),
            ast::Init::Value(e) => Source::Value(e.clone()),
        };
        self.task.init.push(InitItem { name: name.name.clone(), source, span });
    }

    fn tolerance(&mut self, name: &ast::Ident, bounds: &[Expr], span: Span) {
        match self.param(&name.name) {
            Some((_, Some(Role::Out | Role::InOut))) => {}
            Some(_) => {
                let message = format!("`{}` is not written, so it has no tolerance", name.name);
                return self.error(Code::BadTask, name.span, message);
            }
            None => {
                let known: Vec<String> = self.params().into_iter().map(str::to_owned).collect();
                let known: Vec<&str> = known.iter().map(String::as_str).collect();
                return self.unknown(Code::BadTask, name, "parameter", &known);
            }
        }
        if self.task.tolerances.iter().any(|(n, _)| *n == name.name) {
            return self.error(Code::Duplicate, span, format!("`{}` has two tolerances", name.name));
        }
        let mut tolerance = Tolerance { nrmse: None, maxrel: None, exact: false };
        for bound in bounds {
            let form = "a tolerance is `exact`, `nrmse <= a` or `maxrel <= b`";
            match &bound.kind {
                ExprKind::Name(word) if word == "exact" => tolerance.exact = true,
                ExprKind::Binary(BinaryOp::Le, metric, limit) => {
                    let Some(limit_value) = self.number(limit).map(Scalar::as_f64) else { return };
                    if !(limit_value >= 0.0 && limit_value.is_finite()) {
                        return self.error(Code::BadTask, limit.span, "a bound must be a number from 0 up");
                    }
                    match &metric.kind {
                        ExprKind::Name(word) if word == "nrmse" => tolerance.nrmse = Some(limit_value),
                        ExprKind::Name(word) if word == "maxrel" => tolerance.maxrel = Some(limit_value),
                        _ => return self.error(Code::BadTask, metric.span, form),
                    }
                }
                _ => return self.error(Code::BadTask, bound.span, form),
            }
        }
        if tolerance.exact && (tolerance.nrmse.is_some() || tolerance.maxrel.is_some()) {
            return self.error(Code::BadTask, span, "`exact` stands alone");
        }
        self.task.tolerances.push((name.name.clone(), tolerance));
    }

    fn allow(&mut self, e: &Expr) {
        const WORDS: [&str; 6] = ["contract", "reassoc", "online", "atomics", "approx", "lower"];
        let allow = &mut self.task.allow;
        match &e.kind {
            ExprKind::Name(word) => match word.as_str() {
                "contract" => allow.contract = true,
                "reassoc" => allow.reassoc = true,
                "online" => allow.online = true,
                "atomics" => allow.atomics = true,
                "approx" => self.error(Code::BadTask, e.span, "it is written `approx(ulp)`"),
                "lower" => self.error(Code::BadTask, e.span, "it is written `lower(name, dtype)`"),
                _ => {
                    let mut d = Diagnostic::error(Code::BadTask, e.span, format!("nothing allows `{word}`"));
                    d = d.note(format!("there are {}", WORDS.join(", ")));
                    d.help = suggest(word, WORDS).map(|n| format!("did you mean `{n}`?"));
                    self.diagnostics.push(d);
                }
            },
            ExprKind::Call(name, args) => match (name.name.as_str(), args.as_slice()) {
                ("approx", [Arg::Expr(ulp)]) => {
                    let value = self.number(ulp).map(Scalar::as_f64);
                    match value {
                        Some(v) if v > 0.0 => self.task.allow.approx = Some(v),
                        Some(_) => self.error(Code::BadTask, ulp.span, "a positive number was expected"),
                        None => {}
                    }
                }
                ("lower", [Arg::Expr(value), Arg::Expr(to)]) => match (&value.kind, &to.kind) {
                    (ExprKind::Name(value), ExprKind::DType(dtype)) => {
                        allow.lower.push((value.clone(), *dtype))
                    }
                    _ => self.error(Code::BadTask, e.span, "it is written `lower(name, dtype)`"),
                },
                _ => self.error(Code::BadTask, e.span, "it is `approx(ulp)` or `lower(name, dtype)`"),
            },
            _ => self.error(Code::BadTask, e.span, format!("`allow` takes {}", WORDS.join(", "))),
        }
    }

    fn check(&mut self, e: &Expr) {
        let form = "a check is written `conserved(sum(x), relative)`";
        let ExprKind::Call(name, args) = &e.kind else { return self.error(Code::BadTask, e.span, form) };
        let ("conserved", [Arg::Expr(sum), Arg::Expr(limit)]) = (name.name.as_str(), args.as_slice()) else {
            return self.error(Code::BadTask, e.span, form);
        };
        let tensor = match &sum.kind {
            ExprKind::Call(f, operand) if f.name == "sum" => match operand.as_slice() {
                [Arg::Expr(Expr { kind: ExprKind::Name(tensor), span })] => {
                    ast::Ident { name: tensor.clone(), span: *span }
                }
                _ => return self.error(Code::BadTask, sum.span, form),
            },
            _ => return self.error(Code::BadTask, sum.span, form),
        };
        match self.param(&tensor.name) {
            Some((_, Some(Role::InOut))) => {}
            _ => {
                let message =
                    format!("`{}` is no `inout` parameter, so nothing of it can be conserved", tensor.name);
                return self.error(Code::BadTask, tensor.span, message);
            }
        }
        if let Some(relative) = self.number(limit).map(Scalar::as_f64) {
            self.task.checks.push(Check::Conserved { tensor: tensor.name, relative });
        }
    }

    /// What can be judged only when all items are known.
    fn finish(&mut self, name: Span) {
        let required = required_sizes(self.func, &self.task.init);
        let sets: Vec<SizeSet> = [&self.task.search, &self.task.heldout, &self.task.sealed]
            .into_iter()
            .flatten()
            .cloned()
            .collect();
        let none = Scalars::new();
        for set in &sets {
            let missing: Vec<String> =
                required.iter().filter(|n| !set.values.contains_key(*n)).map(|n| format!("`{n}`")).collect();
            if !missing.is_empty() {
                self.error(Code::Size, set.span, format!("no value for {}", missing.join(", ")));
                continue;
            }
            let binder =
                Binder { func: self.func, tables: &self.checked.tables, sizes: &set.values, scalars: &none };
            if let Err(why) = binder.check_wheres() {
                self.diagnostics.push(why.diagnostic(set.span));
            }
        }
        // Of what must be exact though floats decide it, only the kernel's own roundings can be the judge.
        if self.checked.reference(&self.task.name).is_none() && !self.task.judged_by_rounding(self.checked) {
            let message =
                format!("`{}` has no reference; its own algorithm in f64 is the judge", self.task.name);
            self.diagnostics.push(Diagnostic::warning(Code::BadTask, name, message));
        }
        if self.task.search.is_empty() {
            let message = format!("the task of `{}` has no `search` sizes", self.task.name);
            self.diagnostics.push(Diagnostic::warning(Code::BadTask, name, message));
        }
        self.check_heldout(name);
    }

    /// Every size must take, in some held-out set, a value that no power of two above 2 divides: multiples of four tell
    /// nothing about ragged ends.
    fn check_heldout(&mut self, name: Span) {
        let sizes: Vec<&str> = self.func.sizes.iter().map(|(_, s)| s.name.as_str()).collect();
        let Some(first) = self.task.heldout.first() else {
            if !sizes.is_empty() {
                let message = format!(
                    "the task of `{}` has no `heldout` sizes, so nothing vetoes a winner",
                    self.task.name
                );
                self.diagnostics.push(Diagnostic::warning(Code::BadTask, name, message));
            }
            return;
        };
        let even = |set: &SizeSet, n: &str| set.values.get(n).is_some_and(|v| v % 4 == 0);
        let tame: Vec<&str> = sizes
            .into_iter()
            .filter(|n| {
                self.task.heldout.iter().all(|set| even(set, n))
                    && self.task.heldout.iter().any(|set| self.could_be_ragged(set, n))
            })
            .collect();
        if !tame.is_empty() {
            let listed: Vec<String> = tame.iter().map(|n| format!("`{n}`")).collect();
            let message = format!(
                "every held-out value of {} is a multiple of 4, so ragged ends are not judged",
                listed.join(", ")
            );
            self.diagnostics.push(Diagnostic::warning(Code::BadTask, first.span, message));
        }
    }

    /// Whether `where` and the declared domains let a size of the set, all else staying, be no multiple of four.
    fn could_be_ragged(&self, set: &SizeSet, name: &str) -> bool {
        let Some(&value) = set.values.get(name) else { return false };
        let domain = self.task.domains.iter().find(|d| d.name == name);
        // Of its own magnitude, as far away as a condition on remainders may need.
        (1..=64).flat_map(|step| [value.saturating_sub(step), value.saturating_add(step)]).any(|other| {
            if other <= value / 2 || other % 4 == 0 || domain.is_some_and(|d| d.multiple % 4 == 0) {
                return false;
            }
            let mut values = set.values.clone();
            values.insert(name.to_owned(), other);
            let none = Scalars::new();
            let binder =
                Binder { func: self.func, tables: &self.checked.tables, sizes: &values, scalars: &none };
            binder.check_wheres().is_ok()
        })
    }
}

impl SizeDomain {
    /// Number of values.
    #[must_use]
    pub fn values(&self) -> i64 {
        let first = self.first();
        // The ends are the user's: their distance need not fit an `i64`.
        if first >= self.hi {
            return 0;
        }
        let steps = (i128::from(self.hi) - 1 - i128::from(first)) / i128::from(self.multiple);
        i64::try_from(steps + 1).unwrap_or(i64::MAX)
    }

    /// The `n`-th value.
    #[must_use]
    pub fn nth(&self, n: i64) -> i64 {
        self.first().saturating_add(n.saturating_mul(self.multiple))
    }

    /// `value` where the size may take it, else the `value`-th of those that it may, from 1 and over again.
    #[must_use]
    pub fn nearby(&self, value: i64) -> i64 {
        let among = (self.lo..self.hi).contains(&value) && value % self.multiple == 0;
        if among { value } else { self.nth((value - 1).rem_euclid(self.values().max(1))) }
    }

    fn first(&self) -> i64 {
        match self.lo.rem_euclid(self.multiple) {
            0 => self.lo,
            over => self.lo.saturating_add(self.multiple - over),
        }
    }
}
