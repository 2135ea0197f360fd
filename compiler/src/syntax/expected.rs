//! Puts the parser's sets of possible tokens into the user's words.

use std::collections::BTreeSet;

/// Longest list of alternatives that still helps.
const SHOWN: usize = 4;

/// "an expression", "a name or `)`", ..; `None` when there is nothing short to say. `terminals` are the grammar's.
pub(super) fn expected(terminals: &[String]) -> Option<String> {
    let mut set: BTreeSet<&str> = terminals.iter().map(|t| plain(t)).collect();
    let mut parts: Vec<&str> = Vec::new();
    set.remove("bad token");
    category(&mut set, &mut parts, &["||", "&&"], &[OPERATORS, POSTFIX], "");
    category(&mut set, &mut parts, &["let", "buf"], &[STATEMENTS, WORDS], "a statement");
    category(
        &mut set,
        &mut parts,
        &["kernel", "task"],
        &[ITEMS, &["rooftile"]],
        "`kernel`, `task` or another item",
    );
    category(&mut set, &mut parts, &["FLOAT", "("], &[PRIMARIES, WORDS], "an expression");
    category(&mut set, &mut parts, &["+=", "="], &[ASSIGNMENTS], "an assignment");
    category(&mut set, &mut parts, &["in", "inout", "DTYPE"], &[&["out"]], "`in`, `out`, `inout` or a type");
    category(&mut set, &mut parts, &["DTYPE"], &[], "a type");
    category(&mut set, &mut parts, &["IDENT", "edge", "packed", "monotone"], &[WORDS], "an attribute");
    category(&mut set, &mut parts, &["IDENT", "init"], &[WORDS], "a name");
    category(&mut set, &mut parts, &["IDENT", "edge"], &[WORDS], "an attribute");
    category(&mut set, &mut parts, &["search", "tol"], &[WORDS], "an item of a task");
    category(&mut set, &mut parts, &["IDENT"], &[], "a name");
    category(&mut set, &mut parts, &["INT"], &[], "an integer");
    let mut parts: Vec<String> = parts.into_iter().filter(|p| !p.is_empty()).map(str::to_owned).collect();
    if parts.len() + set.len() <= SHOWN {
        parts.extend(set.iter().map(|t| format!("`{t}`")));
    } else {
        // Closing tokens and separators are what is most often forgotten.
        parts.extend(set.iter().filter(|t| ["}", ")", "]", ","].contains(t)).map(|t| format!("`{t}`")));
    }
    let last = parts.pop()?;
    Some(if parts.is_empty() { last } else { format!("{} or {last}", parts.join(", ")) })
}

/// The terminal as the user knows it.
fn plain(terminal: &str) -> &str {
    match terminal.trim_matches('"') {
        "LINE_IDENT" => "IDENT",
        "set {" => "{",
        "set }" => "}",
        "param ," => ",",
        "param )" => ")",
        other => other,
    }
}

/// If the set has all of `all`, says so in `words` and takes these and `gone` out.
fn category<'a>(
    set: &mut BTreeSet<&'a str>,
    parts: &mut Vec<&'a str>,
    all: &[&'static str],
    gone: &[&[&'static str]],
    words: &'static str,
) {
    if all.iter().all(|t| set.contains(t)) {
        parts.push(words);
        for t in all.iter().chain(gone.iter().copied().flatten()) {
            set.remove(t);
        }
    }
}

const OPERATORS: &[&str] =
    &["|", "^", "&", "<<", ">>", "+", "-", "*", "/", "%", "==", "!=", "<", "<=", ">", ">="];
const POSTFIX: &[&str] = &["[", "(", "."];
const ASSIGNMENTS: &[&str] = &["-=", "*=", "max=", "min="];
const PRIMARIES: &[&str] = &["INT", "IDENT", "DTYPE", "[", "-", "!", "~", "true", "false"];
const STATEMENTS: &[&str] = &["var", "for", "with", "seq", "fold", "next", "if", "repeat", "IDENT"];
const ITEMS: &[&str] = &["const", "fn", "pipeline", "reference", "tune", "variant", "schedule"];
const WORDS: &[&str] = &[
    "rooftile", "search", "heldout", "sealed", "init", "tol", "cost", "allow", "check", "sizes", "multiple",
    "of", "edge", "packed", "range", "when", "require",
];
