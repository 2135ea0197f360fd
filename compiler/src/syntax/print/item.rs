//! Layout of items.

use super::doc::{Doc, concat, fill, flat, rows, text, words};
use super::expr::{Set, arg, call, dtype, expr, range, ty};
use super::{Open, Printer};
use crate::diag::Span;
use crate::syntax::ast::*;
use crate::syntax::token::Tok;

impl Printer<'_> {
    pub(super) fn item(&mut self, item: &Item) {
        let span = item.span;
        match &item.kind {
            ItemKind::Const(c) => {
                let head = concat([text(format!("const {}: ", c.name.name)), ty(&c.ty), text(" = ")]);
                self.leaf(span, &concat([head, expr(&c.value, Set::Loose)]));
            }
            ItemKind::Variant(v) => {
                self.leaf(span, &text(format!("variant {} = {}", v.name.name, v.of.name)))
            }
            ItemKind::Fn(f) => self.function(span, f),
            ItemKind::Kernel(k) => self.kernel(span, "kernel", k),
            ItemKind::Pipeline(k) => self.kernel(span, "pipeline", k),
            ItemKind::Reference(r) => {
                self.lead(span);
                self.line(&text(format!("reference {} {{", r.name.name)));
                let open = self.open();
                self.stmts(&r.body);
                self.close(open, span);
            }
            ItemKind::Tune(t) => self.tune(span, t),
            ItemKind::Schedule(s) => self.schedule(span, s),
            ItemKind::Task(t) => {
                self.lead(span);
                self.line(&text(format!("task {} {{", t.name.name)));
                let open = self.open();
                for item in &t.items {
                    self.leaf(item.span, &task_item(&item.kind));
                }
                self.close(open, span);
            }
        }
    }

    fn function(&mut self, span: Span, f: &Fn) {
        let params = f.params.iter().map(|(n, d)| text(format!("{}: {}", n.name, dtype(*d))));
        let head = rows(&format!("fn {}(", f.name.name), params, &format!(") -> {}", dtype(f.ret)));
        if f.lets.is_empty() {
            return self.leaf(span, &concat([head, text(" = "), expr(&f.body, Set::Loose)]));
        }
        self.lead(span);
        self.line(&concat([head, text(" {")]));
        let open = self.open();
        for (name, value) in &f.lets {
            let doc = concat([text(format!("let {} = ", name.name)), expr(value, Set::Loose)]);
            self.leaf(self.with_keyword(name.span.to_if(value.span), Tok::Let), &doc);
        }
        let span_of_return = self.with_keyword(f.body.span, Tok::Return);
        self.leaf(span_of_return, &concat([text("return "), expr(&f.body, Set::Loose)]));
        self.close(open, span);
    }

    fn kernel(&mut self, span: Span, word: &str, k: &Kernel) {
        self.lead(span);
        let mut tail = vec![text(")")];
        if !k.wheres.is_empty() {
            tail.extend([text(" where "), fill(k.wheres.iter().map(|e| expr(e, Set::Loose)))]);
        }
        tail.push(text(" {"));
        let spans: Vec<Span> = k.params.iter().map(param_span).collect();
        let last = spans.iter().fold(k.name.span, |so_far, span| so_far.to_if(*span));
        let list = self.with_closing(last, Tok::ParenClose);
        if !spans.is_empty() && self.has_comments(list) {
            self.line(&text(format!("{word} {}(", k.name.name)));
            let Open { indent } = self.open();
            for (i, (p, span)) in k.params.iter().zip(&spans).enumerate() {
                let comma = if i + 1 < spans.len() { "," } else { "" };
                self.leaf(*span, &concat([param(p), text(comma)]));
            }
            self.comments_to(list.end);
            self.leave(indent);
            self.line(&Doc::Concat(tail));
        } else {
            let rest = Doc::Concat(tail.split_off(1));
            let head = rows(&format!("{word} {}(", k.name.name), k.params.iter().map(param), ")");
            self.line(&concat([head, rest]));
        }
        let open = self.open();
        self.stmts(&k.body);
        self.close(open, span);
    }

    fn tune(&mut self, span: Span, t: &Tune) {
        let target = t.target.as_ref().map_or(String::new(), |t| format!(" for {}", t.name));
        let head = text(format!("tune {}{target}", t.name.name));
        let items: Vec<(Span, Doc)> =
            t.items.iter().map(|i| (self.tune_item_span(i), tune_item(i))).collect();
        self.braced(span, head, items, "  ", |printer, items| {
            for (span, doc) in items {
                printer.leaf(*span, doc);
            }
        });
    }

    fn tune_item_span(&self, item: &TuneItem) -> Span {
        match item {
            TuneItem::Require(e) => self.with_keyword(e.span, Tok::Require),
            TuneItem::Var { name, domain, value } => {
                let domain = match domain {
                    TuneDomain::Set(values) => {
                        let last = values.last().map_or(name.span, |v| v.span);
                        self.with_closing(name.span.to_if(last), Tok::BraceClose)
                    }
                    TuneDomain::Range(_, hi) => name.span.to_if(hi.span),
                    TuneDomain::Pow2(_, hi) => self.with_closing(name.span.to_if(hi.span), Tok::ParenClose),
                };
                // A value that was set by an edit stands nowhere; the rest of the item still does.
                value.as_ref().filter(|v| super::is_written(v.span)).map_or(domain, |v| domain.to_if(v.span))
            }
        }
    }

    fn schedule(&mut self, span: Span, s: &Schedule) {
        let mut head = vec![text(format!("schedule {} for {}", s.name.name, s.target.name))];
        if let Some(when) = &s.when {
            head.extend([text(" when "), expr(when, Set::Loose)]);
        }
        let verbs: Vec<(Span, Doc)> = s.verbs.iter().map(|v| (v.span, call(&v.name.name, &v.args))).collect();
        let families: Vec<Family> = s.verbs.iter().map(|v| family(&v.name.name)).collect();
        self.braced(span, Doc::Concat(head), verbs, " ", |printer, verbs| {
            let mut at = 0;
            while at < verbs.len() {
                let mut end = at + 1;
                let alone = families[at] == Family::Staging || printer.has_comments(span);
                while !alone && end < verbs.len() && families[end] == families[at] {
                    end += 1;
                }
                let first = verbs[at].0;
                printer
                    .leaf(first.to_if(verbs[end - 1].0), &words(verbs[at..end].iter().map(|v| v.1.clone())));
                at = end;
            }
        });
    }

    /// `head { a b c }` on one line if it fits, else the elements as `broken` sets them.
    fn braced(
        &mut self,
        span: Span,
        head: Doc,
        elements: Vec<(Span, Doc)>,
        gap: &str,
        broken: impl FnOnce(&mut Self, &[(Span, Doc)]),
    ) {
        self.lead(span);
        if !self.has_comments(span) {
            let inner: Vec<String> = elements.iter().map(|(_, doc)| flat(doc)).collect();
            let braces =
                if inner.is_empty() { " {}".to_owned() } else { format!(" {{ {} }}", inner.join(gap)) };
            let doc = concat([head.clone(), text(braces)]);
            if inner.is_empty() || self.fits(&doc) {
                return self.close_leaf(span, &doc);
            }
        }
        self.line(&concat([head, text(" {")]));
        let open = self.open();
        broken(self, &elements);
        self.close(open, span);
    }
}

/// Verbs that share a line of a long schedule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Family {
    /// Which part of the machine runs what.
    Mapping,
    /// How a reduction or a recurrence is cut.
    Cutting,
    /// Copies into near memory: one a line.
    Staging,
    /// Everything else.
    Other,
}

fn family(verb: &str) -> Family {
    match verb {
        "tile" | "order" | "parallel" | "grid" | "thread" | "warps" => Family::Mapping,
        "split" | "roll" | "fuse_online" | "time_tile" | "fuse" => Family::Cutting,
        "stage" => Family::Staging,
        _ => Family::Other,
    }
}

fn param_span(p: &Param) -> Span {
    p.attrs.last().map_or(p.name.span.to_if(p.ty.span), |a| p.name.span.to_if(a.span))
}

fn param(p: &Param) -> Doc {
    let mode = match p.mode {
        Some(Mode::In) => "in ",
        Some(Mode::Out) => "out ",
        Some(Mode::InOut) => "inout ",
        None => "",
    };
    let mut docs = vec![text(format!("{}: {mode}", p.name.name)), ty(&p.ty)];
    for a in &p.attrs {
        docs.push(text(" "));
        docs.push(match &a.kind {
            AttrKind::Edge(e) => concat([text("edge "), edge(e)]),
            AttrKind::EdgePerAxis(edges) => {
                let edges = edges.iter().map(|(n, e)| concat([text(format!("{} ", n.name)), edge(e)]));
                concat([text("edge ("), fill(edges), text(")")])
            }
            AttrKind::Packed(e) => concat([text("packed("), expr(e, Set::Loose), text(")")]),
            AttrKind::Range(lo, hi) => concat([text("range "), range(lo, hi)]),
            AttrKind::Flag(n) => text(n.name.as_str()),
        });
    }
    Doc::Concat(docs)
}

fn edge(e: &Edge) -> Doc {
    match e {
        Edge::Clamp => text("clamp"),
        Edge::Wrap => text("wrap"),
        Edge::Reflect => text("reflect"),
        Edge::Symmetric => text("symmetric"),
        Edge::Const(v) => concat([text("const("), expr(v, Set::Loose), text(")")]),
    }
}

fn tune_item(item: &TuneItem) -> Doc {
    match item {
        TuneItem::Var { name, domain, value } => {
            let values = match domain {
                TuneDomain::Set(values) => {
                    concat([text("{"), fill(values.iter().map(|v| expr(v, Set::Loose))), text("}")])
                }
                TuneDomain::Range(lo, hi) => range(lo, hi),
                TuneDomain::Pow2(lo, hi) => concat([text("pow2("), range(lo, hi), text(")")]),
            };
            let mut docs = vec![text(format!("{} in ", name.name)), values];
            if let Some(value) = value {
                docs.extend([text(" = "), expr(value, Set::Loose)]);
            }
            Doc::Concat(docs)
        }
        TuneItem::Require(e) => concat([text("require "), expr(e, Set::Loose)]),
    }
}

fn size_set(set: &SizeSet) -> Doc {
    let entries =
        set.entries.iter().map(|(n, v)| concat([text(format!("{}=", n.name)), expr(v, Set::Tight)]));
    concat([text("{"), fill(entries), text("}")])
}

fn task_item(kind: &TaskItemKind) -> Doc {
    let sets = |word: &str, sets: &[SizeSet]| concat([text(word), words(sets.iter().map(size_set))]);
    let list = |values: &[Expr]| fill(values.iter().map(|v| expr(v, Set::Loose)));
    match kind {
        TaskItemKind::Search(v) => sets("search ", v),
        TaskItemKind::Heldout(v) => sets("heldout ", v),
        TaskItemKind::Sealed(v) => sets("sealed ", v),
        TaskItemKind::Sizes { name, lo, hi, multiple } => {
            let mut docs = vec![text(format!("sizes {} in ", name.name)), range(lo, hi)];
            if let Some(m) = multiple {
                docs.extend([text(" multiple of "), expr(m, Set::Loose)]);
            }
            Doc::Concat(docs)
        }
        TaskItemKind::Init { name, dist } => match dist {
            Init::Dist(e) => concat([text(format!("init {} ~ ", name.name)), expr(e, Set::Loose)]),
            Init::Range(lo, hi) => concat([text(format!("init {} in ", name.name)), range(lo, hi)]),
            Init::Value(e) => concat([text(format!("init {} = ", name.name)), expr(e, Set::Loose)]),
        },
        TaskItemKind::Tol { name, bounds } => concat([text(format!("tol {}: ", name.name)), list(bounds)]),
        TaskItemKind::Cost { name, value } => {
            concat([text(format!("cost {} = ", name.name)), expr(value, Set::Loose)])
        }
        TaskItemKind::Allow(v) => concat([text("allow "), list(v)]),
        TaskItemKind::Check(e) => concat([text("check "), arg(&Arg::Expr(e.clone()))]),
    }
}
