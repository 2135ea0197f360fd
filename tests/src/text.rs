//! Damaged and recombined texts, for suites that feed the compiler what nobody would write.

use rooftile_compiler::oracle::SplitMix;
use rooftile_compiler::syntax::ast::{Expr, ExprKind, File, Item, ItemKind, Stmt, StmtKind};
use rooftile_compiler::syntax::{parse, print_canonical};

/// Pieces that mean something somewhere, and some that mean nothing anywhere.
const PIECES: [&str; 64] = [
    "{",
    "}",
    "(",
    ")",
    "[",
    "]",
    ",",
    "..",
    "=",
    "==",
    "+=",
    "max=",
    "-",
    "!",
    "~",
    "<<",
    "%",
    "/ 0",
    "0",
    "1",
    "-1",
    "9223372036854775807",
    "99999999999999999999",
    "1e999",
    "0x",
    "0.0",
    ".5",
    "u1",
    "i7",
    "u<9>",
    "c64",
    "f16[i]",
    "bool",
    "for",
    "with k in K",
    "in",
    "seq t in 0..T",
    "fold",
    "carry (a: f32 = 0.0)",
    "next a = a",
    "if",
    "else",
    "let x = x",
    "var s: f32[i] = 0.0",
    "sum[k]",
    "dot[k](A, A)",
    "scan[i](x, add)",
    "select(c, a, b)",
    "pow2(1..64)",
    "require",
    "where",
    "edge wrap",
    "packed(0)",
    "range 0..0",
    "monotone",
    "bag",
    "search {N=0}",
    "tol Y: exact",
    "init X ~ csr(laplacian5)",
    "schedule k for cpu { tile(i, 0) }",
    "\u{0}",
    "é",
    "\u{202e}",
    "\n// c\n",
];

/// A text made from the given ones by a few random edits.
#[must_use]
pub fn mutated(texts: &[String], rng: &mut SplitMix) -> String {
    let mut text = pick(texts, rng).clone();
    if below(rng, 3) == 0 {
        text = recombined(texts, rng);
    }
    for _ in 0..below(rng, 5) {
        match below(rng, 3) {
            0 => bytes(&mut text, rng),
            1 => tokens(&mut text, texts, rng),
            _ => numbers(&mut text, rng),
        }
    }
    text
}

fn below(rng: &mut SplitMix, n: usize) -> usize {
    usize::try_from(rng.next_u64() % (n.max(1) as u64)).unwrap_or(0)
}

fn pick<'a, T>(items: &'a [T], rng: &mut SplitMix) -> &'a T {
    &items[below(rng, items.len())]
}

/// Takes out, doubles, or moves a run of bytes.
fn bytes(text: &mut String, rng: &mut SplitMix) {
    let start = text.floor_char_boundary(below(rng, text.len() + 1));
    let end = text.floor_char_boundary((start + below(rng, 16)).min(text.len()));
    let piece = text[start..end].to_owned();
    match below(rng, 3) {
        0 => text.replace_range(start..end, ""),
        1 => text.insert_str(start, &piece),
        _ => {
            text.replace_range(start..end, "");
            let at = text.floor_char_boundary(below(rng, text.len() + 1));
            text.insert_str(at, &piece);
        }
    }
}

/// The places of a text's words and signs.
fn words(text: &str) -> Vec<(usize, usize)> {
    let word = |c: char| c.is_alphanumeric() || c == '_';
    let mut out: Vec<(usize, usize)> = Vec::new();
    let mut in_word = false;
    for (at, c) in text.char_indices().filter(|(_, c)| !c.is_whitespace()) {
        let end = at + c.len_utf8();
        match out.last_mut() {
            Some(last) if in_word && word(c) && last.1 == at => last.1 = end,
            _ => out.push((at, end)),
        }
        in_word = word(c);
    }
    out
}

/// Replaces, inserts, exchanges or removes words.
fn tokens(text: &mut String, texts: &[String], rng: &mut SplitMix) {
    let places = words(text);
    if places.is_empty() {
        return;
    }
    let (start, end) = *pick(&places, rng);
    match below(rng, 5) {
        0 => text.replace_range(start..end, pick::<&str>(&PIECES, rng)),
        1 => text.insert_str(start, &format!("{} ", pick(&PIECES, rng))),
        2 => text.replace_range(start..end, ""),
        3 => {
            let (a, b) = *pick(&places, rng);
            let word = text[a..b].to_owned();
            text.replace_range(start..end, &word);
        }
        _ => {
            let other = pick(texts, rng);
            let (a, b) = *pick(&words(other), rng);
            text.replace_range(start..end, &other[a..b]);
        }
    }
}

/// Replaces a number by one at the edge of something.
fn numbers(text: &mut String, rng: &mut SplitMix) {
    const EDGES: [&str; 12] = [
        "0",
        "1",
        "2",
        "3",
        "255",
        "256",
        "65535",
        "2147483648",
        "4294967296",
        "9223372036854775807",
        "9223372036854775808",
        "1e308",
    ];
    let places: Vec<_> =
        words(text).into_iter().filter(|&(a, _)| text.as_bytes()[a].is_ascii_digit()).collect();
    if !places.is_empty() {
        let (start, end) = *pick(&places, rng);
        text.replace_range(start..end, pick::<&str>(&EDGES, rng));
    }
}

/// Trees of two files put together, with statements and expressions exchanged, printed again.
fn recombined(texts: &[String], rng: &mut SplitMix) -> String {
    let mut file = parse(pick::<String>(texts, rng)).0;
    let other = parse(pick::<String>(texts, rng)).0;
    let bodies: Vec<&Vec<Stmt>> = other.items.iter().filter_map(body).collect();
    for _ in 0..1 + below(rng, 3) {
        match below(rng, 5) {
            0 => items(&mut file, &other, rng),
            1 if file.items.len() > 1 => {
                let at = below(rng, file.items.len());
                file.items.remove(at);
            }
            2 if !bodies.is_empty() => {
                let donor = *pick(&bodies, rng);
                let stmt = donor.get(below(rng, donor.len())).cloned();
                if let (Some(stmt), Some(body)) = (stmt, some_body(&mut file, rng)) {
                    let at = below(rng, body.len() + 1);
                    body.insert(at, stmt);
                }
            }
            3 => {
                if let Some(body) = some_body(&mut file, rng)
                    && body.len() > 1
                {
                    let (a, b) = (below(rng, body.len()), below(rng, body.len()));
                    body.swap(a, b);
                }
            }
            _ => {
                if let Some(body) = some_body(&mut file, rng) {
                    exchange(body, rng);
                }
            }
        }
    }
    print_canonical(&file)
}

fn items(file: &mut File, other: &File, rng: &mut SplitMix) {
    if let Some(item) = other.items.get(below(rng, other.items.len())) {
        let at = below(rng, file.items.len() + 1);
        file.items.insert(at, item.clone());
    }
}

fn body(item: &Item) -> Option<&Vec<Stmt>> {
    match &item.kind {
        ItemKind::Kernel(k) | ItemKind::Pipeline(k) => Some(&k.body),
        ItemKind::Reference(r) => Some(&r.body),
        _ => None,
    }
}

/// The statements of some kernel, or of a loop inside it.
fn some_body<'a>(file: &'a mut File, rng: &mut SplitMix) -> Option<&'a mut Vec<Stmt>> {
    let bodies: Vec<&mut Vec<Stmt>> = file
        .items
        .iter_mut()
        .filter_map(|item| match &mut item.kind {
            ItemKind::Kernel(k) | ItemKind::Pipeline(k) => Some(&mut k.body),
            ItemKind::Reference(r) => Some(&mut r.body),
            _ => None,
        })
        .collect();
    let n = below(rng, bodies.len());
    let depth = below(rng, 4);
    bodies.into_iter().nth(n).map(|body| inner(body, depth))
}

/// The body of the first loop, of the first loop in that, and so on, as far as there are any.
fn inner(body: &mut Vec<Stmt>, depth: usize) -> &mut Vec<Stmt> {
    let is_loop = |s: &Stmt| matches!(s.kind, StmtKind::For { .. } | StmtKind::Seq { .. });
    match body.iter().position(is_loop) {
        Some(at) if depth > 0 => match &mut body[at].kind {
            StmtKind::For { body, .. } | StmtKind::Seq { body, .. } => inner(body, depth - 1),
            _ => unreachable!("a loop was found here"),
        },
        _ => body,
    }
}

/// Exchanges an operand of one statement's expression for one of another's.
fn exchange(body: &mut [Stmt], rng: &mut SplitMix) {
    let exprs: Vec<Expr> = body.iter().filter_map(|s| value(s).cloned()).collect();
    if exprs.is_empty() {
        return;
    }
    let mut donor = pick(&exprs, rng);
    for _ in 0..below(rng, 4) {
        if let ExprKind::Binary(_, a, b) = &donor.kind {
            donor = if below(rng, 2) == 0 { a } else { b };
        }
    }
    let donor = donor.clone();
    let n = below(rng, exprs.len());
    let depth = below(rng, 4);
    if let Some(target) = body.iter_mut().filter_map(value_mut).nth(n) {
        *operand(target, depth, rng) = donor;
    }
}

/// An operand of an operand, as far as there are operators.
fn operand<'a>(e: &'a mut Expr, depth: usize, rng: &mut SplitMix) -> &'a mut Expr {
    if depth == 0 || !matches!(e.kind, ExprKind::Binary(..)) {
        return e;
    }
    match &mut e.kind {
        ExprKind::Binary(_, a, b) => operand(if below(rng, 2) == 0 { a } else { b }, depth - 1, rng),
        _ => unreachable!("an operator was found here"),
    }
}

fn value(stmt: &Stmt) -> Option<&Expr> {
    match &stmt.kind {
        StmtKind::Let { value, .. } | StmtKind::Var { value, .. } | StmtKind::Assign { value, .. } => {
            Some(value)
        }
        _ => None,
    }
}

fn value_mut(stmt: &mut Stmt) -> Option<&mut Expr> {
    match &mut stmt.kind {
        StmtKind::Let { value, .. } | StmtKind::Var { value, .. } | StmtKind::Assign { value, .. } => {
            Some(value)
        }
        _ => None,
    }
}
