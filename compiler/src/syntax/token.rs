//! Text to tokens. The lexer never fails: what starts no token becomes [`Tok::Error`], and a diagnostic.
//!
//! Comments are no tokens; they are returned beside them for the printer.

use logos::Logos;
use rooftile_artifact::DType;

use crate::diag::{Code, Diagnostic, Span};

/// A token. Words that mean something only inside one block (`search`, `edge`, ..) have tokens of their own, which
/// the grammar also takes as names.
#[derive(Logos, Clone, Copy, Debug, PartialEq)]
#[logos(skip r"[ \t\r\n\f]+")]
pub(super) enum Tok<'s> {
    // Hard keywords.
    #[token("kernel")]
    Kernel,
    #[token("pipeline")]
    Pipeline,
    #[token("reference")]
    Reference,
    #[token("task")]
    Task,
    #[token("schedule")]
    Schedule,
    #[token("tune")]
    Tune,
    #[token("variant")]
    Variant,
    #[token("fn")]
    Fn,
    #[token("const")]
    Const,
    #[token("return")]
    Return,
    #[token("for")]
    For,
    #[token("seq")]
    Seq,
    #[token("fold")]
    Fold,
    #[token("in")]
    In,
    #[token("with")]
    With,
    #[token("carry")]
    Carry,
    #[token("next")]
    Next,
    #[token("tiles")]
    Tiles,
    #[token("let")]
    Let,
    #[token("var")]
    Var,
    #[token("if")]
    If,
    #[token("else")]
    Else,
    #[token("repeat")]
    Repeat,
    #[token("pingpong")]
    Pingpong,
    #[token("buf")]
    Buf,
    #[token("where")]
    Where,
    #[token("true")]
    True,
    #[token("false")]
    False,
    #[token("out")]
    Out,
    #[token("inout")]
    InOut,

    // Words with a meaning inside one block; names elsewhere.
    #[token("rooftile")]
    Rooftile,
    #[token("search")]
    Search,
    #[token("heldout")]
    Heldout,
    #[token("sealed")]
    Sealed,
    #[token("init")]
    Init,
    #[token("tol")]
    Tol,
    #[token("cost")]
    Cost,
    #[token("allow")]
    Allow,
    #[token("check")]
    Check,
    #[token("sizes")]
    Sizes,
    #[token("multiple")]
    Multiple,
    #[token("of")]
    Of,
    #[token("edge")]
    Edge,
    #[token("packed")]
    Packed,
    #[token("range")]
    Range,
    #[token("when")]
    When,
    #[token("require")]
    Require,

    // Words with a value.
    #[regex(r"f64|f32|tf32|f16|bf16|e4m3|e5m2|e2m1|e8m0|c64|c128|bool", dtype)]
    #[regex(r"[iu](4|8|16|32|64)", dtype)]
    #[regex(r"[iu]<[0-9]+>", dtype)]
    DType(DType),
    #[regex(r"[A-Za-z_][A-Za-z0-9_]*", priority = 1)]
    Ident(&'s str),
    /// A name that is the first token on its line, outside of brackets: see [`super::layout`].
    LineIdent(&'s str),
    /// Value, and whether it was written in hexadecimal.
    #[regex(r"[0-9]+", decimal, priority = 6)]
    #[regex(r"0x[0-9A-Fa-f]+", hexadecimal, priority = 6)]
    Int((u64, bool)),
    /// Value and text.
    #[regex(r"[0-9]+\.[0-9]+([eE][+-]?[0-9]+)?", float, priority = 6)]
    #[regex(r"[0-9]+[eE][+-]?[0-9]+", float, priority = 6)]
    Float((f64, &'s str)),

    // Punctuation.
    #[token("(")]
    ParenOpen,
    #[token(")")]
    ParenClose,
    #[token("[")]
    BracketOpen,
    #[token("]")]
    BracketClose,
    #[token("{")]
    BraceOpen,
    #[token("}")]
    BraceClose,
    /// A `{` around values, not items: see [`super::layout`].
    SetOpen,
    /// The `}` that belongs to a [`Tok::SetOpen`].
    SetClose,
    /// A `,` between the parameters of a kernel or pipeline: see [`super::layout`].
    ParamComma,
    /// The `)` behind them.
    ParamClose,
    #[token(",")]
    Comma,
    #[token(";")]
    Semi,
    #[token(":")]
    Colon,
    #[token("..")]
    DotDot,
    #[token(".")]
    Dot,
    #[token("->")]
    Arrow,
    #[token("~")]
    Tilde,
    #[token("=")]
    Assign,
    #[token("+=")]
    AddAssign,
    #[token("-=")]
    SubAssign,
    #[token("*=")]
    MulAssign,
    /// Not lexed as one: the name `max` and a `=` right behind it, where an assignment may continue.
    MaxAssign,
    /// As [`Tok::MaxAssign`], for `min`.
    MinAssign,
    #[token("==")]
    Eq,
    #[token("!=")]
    Ne,
    #[token("<=")]
    Le,
    #[token(">=")]
    Ge,
    #[token("<")]
    Lt,
    #[token(">")]
    Gt,
    #[token("&&")]
    And,
    #[token("||")]
    Or,
    #[token("!")]
    Not,
    #[token("&")]
    BitAnd,
    #[token("|")]
    BitOr,
    #[token("^")]
    BitXor,
    #[token("<<")]
    Shl,
    #[token(">>")]
    Shr,
    #[token("+")]
    Add,
    #[token("-")]
    Sub,
    #[token("*")]
    Mul,
    #[token("/")]
    Div,
    #[token("%")]
    Rem,

    #[regex(r"//[^\n]*", allow_greedy = true)]
    Comment,
    /// What starts no token. A number with letters in it is one error, not a number and a name.
    #[regex(r"[0-9][0-9A-Za-z_]*", |_| None::<()>, priority = 2)]
    Error,
}

fn dtype<'s>(lex: &mut logos::Lexer<'s, Tok<'s>>) -> Option<DType> {
    lex.slice().replace(['<', '>'], "").parse().ok()
}

fn decimal<'s>(lex: &mut logos::Lexer<'s, Tok<'s>>) -> Option<(u64, bool)> {
    lex.slice().parse().ok().map(|v| (v, false))
}

fn hexadecimal<'s>(lex: &mut logos::Lexer<'s, Tok<'s>>) -> Option<(u64, bool)> {
    u64::from_str_radix(&lex.slice()[2..], 16).ok().map(|v| (v, true))
}

fn float<'s>(lex: &mut logos::Lexer<'s, Tok<'s>>) -> Option<(f64, &'s str)> {
    let text = lex.slice();
    text.parse().ok().filter(|v: &f64| v.is_finite()).map(|v| (v, text))
}

impl Tok<'_> {
    /// Whether the word is a keyword that can never be a name.
    #[rustfmt::skip]
    #[must_use]
    pub(super) fn is_keyword(self) -> bool {
        use Tok::*;
        matches!(
            self,
            Kernel | Pipeline | Reference | Task | Schedule | Tune | Variant | Fn | Const | Return
                | For | Seq | Fold | In | With | Carry | Next | Tiles | Let | Var | If | Else | Repeat
                | Pingpong | Buf | Where | True | False | Out | InOut
        )
    }

    /// Whether the word may be used as a name, whatever else it means in some block.
    #[rustfmt::skip]
    #[must_use]
    pub(super) fn is_name(self) -> bool {
        use Tok::*;
        matches!(
            self,
            Ident(_) | LineIdent(_) | Rooftile | Search | Heldout | Sealed | Init | Tol | Cost
                | Allow | Check | Sizes | Multiple | Of | Edge | Packed | Range | When | Require
        )
    }

    /// Whether the token starts an item and nothing else. (`const` is also an edge.)
    #[rustfmt::skip]
    #[must_use]
    pub(super) fn starts_item(self) -> bool {
        use Tok::*;
        matches!(
            self,
            Kernel | Pipeline | Reference | Task | Schedule | Tune | Variant | Fn
        )
    }

    /// Whether an operand of an expression can end with the token.
    pub(super) fn ends_operand(self) -> bool {
        use Tok::*;
        self.is_name()
            || matches!(
                self,
                Int(_)
                    | Float(_)
                    | DType(_)
                    | True
                    | False
                    | ParenClose
                    | BracketClose
                    | BraceClose
                    | SetClose
            )
    }

    /// Whether the token joins operands or prefixes one.
    #[rustfmt::skip]
    pub(super) fn is_operator(self) -> bool {
        use Tok::*;
        matches!(
            self,
            Dot | Tilde | Eq | Ne | Le | Ge | Lt | Gt | And | Or | Not | BitAnd | BitOr | BitXor
                | Shl | Shr | Add | Sub | Mul | Div | Rem
        )
    }
}

/// A token with its place.
pub(super) type Spanned<'s> = (Tok<'s>, Span);

/// The tokens of a text, its comments (from `//` to the end of the line, the line end excluded) and what was wrong.
#[derive(Debug, Default)]
pub(super) struct Lexed<'s> {
    /// Tokens in order, comments left out.
    pub(super) tokens: Vec<Spanned<'s>>,
    /// Comments in order.
    pub(super) comments: Vec<Span>,
    /// One diagnostic for each run of characters that starts no token.
    pub(super) diagnostics: Vec<Diagnostic>,
}

/// Cuts a text into tokens.
#[must_use]
pub(super) fn lex(source: &str) -> Lexed<'_> {
    let mut out = Lexed::default();
    for (result, range) in Tok::lexer(source).spanned() {
        let span = Span::new(range.start, range.end);
        match result {
            Ok(Tok::Comment) => out.comments.push(span),
            Ok(Tok::Assign) => match fused(&out.tokens, span) {
                Some(tok) => {
                    if let Some(last) = out.tokens.last_mut() {
                        *last = (tok, last.1.to(span));
                    }
                }
                None => out.tokens.push((Tok::Assign, span)),
            },
            Ok(tok) => out.tokens.push((tok, span)),
            Err(()) => match out.tokens.last_mut() {
                // A run of bad characters is one error.
                Some((Tok::Error, last)) if last.end == span.start => last.end = span.end,
                _ => out.tokens.push((Tok::Error, span)),
            },
        }
    }
    let bad = out.tokens.iter().filter(|(tok, _)| *tok == Tok::Error);
    out.diagnostics = bad.map(|&(_, span)| bad_token(source, span)).collect();
    out
}

/// `max=` and `min=` after what can be assigned to; `f(max=3)` keeps its two tokens.
fn fused<'s>(tokens: &[Spanned<'s>], assign: Span) -> Option<Tok<'s>> {
    let [.., (before, _), (Tok::Ident(word), span)] = tokens else { return None };
    if span.end != assign.start || !(before.is_name() || *before == Tok::BracketClose) {
        return None;
    }
    match *word {
        "max" => Some(Tok::MaxAssign),
        "min" => Some(Tok::MinAssign),
        _ => None,
    }
}

fn bad_token(source: &str, span: Span) -> Diagnostic {
    let text = source.get(span.range()).unwrap_or_default();
    let digits = |s: &str| !s.is_empty() && s.bytes().all(|b| b.is_ascii_digit());
    let hex =
        text.strip_prefix("0x").is_some_and(|s| s.bytes().all(|b| b.is_ascii_hexdigit()) && !s.is_empty());
    if digits(text) || hex {
        return Diagnostic::error(Code::BadToken, span, "this integer does not fit in 64 bits");
    }
    if text.starts_with(|c: char| c.is_ascii_digit()) {
        if text.bytes().all(|b| b.is_ascii_digit() || b".eE+-".contains(&b)) {
            return Diagnostic::error(Code::BadToken, span, "this number does not fit in an f64");
        }
        return Diagnostic::error(Code::BadToken, span, format!("`{}` is not a number", shown(text)))
            .help("numbers are written `16`, `0x1F`, `1.0`, `2.5e-3`");
    }
    if text.ends_with('>') {
        return Diagnostic::error(Code::BadToken, span, format!("`{text}` is not an element type"))
            .help("integers have 1 to 8, 16, 32 or 64 bits: `u<3>`, `i8`, `u64`");
    }
    Diagnostic::error(Code::BadToken, span, format!("`{}` does not start any token", shown(text)))
}

/// The text, shortened and without control characters.
fn shown(text: &str) -> String {
    let mut out: String = text.chars().take(20).flat_map(char::escape_debug).collect();
    if text.chars().nth(20).is_some() {
        out.push_str("..");
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn toks(source: &str) -> Vec<Tok<'_>> {
        lex(source).tokens.into_iter().map(|t| t.0).collect()
    }

    #[test]
    fn numbers_ranges_and_levels() {
        use Tok::*;
        assert_eq!(toks("0..4"), [Int((0, false)), DotDot, Int((4, false))]);
        assert_eq!(toks("i.0"), [Ident("i"), Dot, Int((0, false))]);
        assert_eq!(toks("i.0..3"), [Ident("i"), Dot, Int((0, false)), DotDot, Int((3, false))]);
        assert_eq!(
            toks("0xFF 1.5e-3 1e3"),
            [Int((255, true)), Float((1.5e-3, "1.5e-3")), Float((1e3, "1e3"))]
        );
        assert_eq!(toks("18446744073709551615"), [Int((u64::MAX, false))]);
    }

    #[test]
    fn types_and_comparisons() {
        use Tok::*;
        let u3 = "u3".parse().expect("u3");
        assert_eq!(toks("u<3> i8 u1"), [DType(u3), DType(rooftile_artifact::DType::I8), Ident("u1")]);
        assert_eq!(toks("i<3,"), [Ident("i"), Lt, Int((3, false)), Comma]);
    }

    #[test]
    fn max_assign_only_where_an_assignment_continues() {
        use Tok::*;
        assert_eq!(toks("a max= b"), [Ident("a"), MaxAssign, Ident("b")]);
        assert_eq!(toks("a[i] min=b")[4..], [MinAssign, Ident("b")]);
        assert_eq!(toks("f(max=b)")[2..4], [Ident("max"), Assign]);
        assert_eq!(toks("a max==b")[1..3], [Ident("max"), Eq]);
    }

    #[test]
    fn errors_are_tokens() {
        let lexed = lex("a 2x $$ 99999999999999999999 u<9> 1e999 é");
        let codes: Vec<_> = lexed.diagnostics.iter().map(|d| d.message.as_str()).collect();
        assert_eq!(
            codes,
            [
                "`2x` is not a number",
                "`$$` does not start any token",
                "this integer does not fit in 64 bits",
                "`u<9>` is not an element type",
                "this number does not fit in an f64",
                "`é` does not start any token",
            ]
        );
    }

    #[test]
    fn comments_are_kept_beside() {
        let lexed = lex("a // one\n// two");
        assert_eq!(lexed.tokens.len(), 1);
        assert_eq!(lexed.comments, [Span::new(2, 8), Span::new(9, 15)]);
    }
}
