//! What line ends and braces tell about where something starts and ends. The language does not need them; the parser
//! does, to find its way after an error.

use super::token::{Spanned, Tok};

/// Marks the names that start a line outside of brackets, the braces around values of a `tune` or `task`, which are
/// not to be mistaken for those that end the block, and the commas and the parenthesis of a list of parameters, so that
/// an error in the body of a kernel never leads back to its head.
pub(super) fn classify(source: &str, tokens: &mut [Spanned<'_>]) {
    let mut at = At::Block;
    let mut brackets = 0usize;
    let mut braces = 0usize;
    let mut end = 0;
    let mut before = Tok::Error;
    for (tok, span) in tokens {
        let between = source.get(end..span.start as usize).unwrap_or_default();
        let starts_line = between.contains('\n') || end == 0;
        end = span.end as usize;
        let behind_operand = std::mem::replace(&mut before, *tok).ends_operand();
        if tok.starts_item() {
            (brackets, braces) = (0, 0);
            at = match tok {
                Tok::Tune | Tok::Task => At::Values,
                Tok::Kernel | Tok::Pipeline => At::Params,
                _ => At::Block,
            };
            continue;
        }
        // A set that is not closed ends where the next element starts: no expression goes on with a word there.
        if at == At::Set && starts_line && behind_operand && starts_element(*tok) {
            (brackets, at) = (0, At::Values);
        }
        match tok {
            Tok::ParenOpen | Tok::BracketOpen => brackets += 1,
            Tok::Comma if at == At::Params && brackets == 1 => *tok = Tok::ParamComma,
            Tok::ParenClose if at == At::Params && brackets == 1 => {
                (*tok, brackets, at) = (Tok::ParamClose, 0, At::Block);
            }
            Tok::ParenClose | Tok::BracketClose => brackets = brackets.saturating_sub(1),
            Tok::BraceOpen if at == At::Values && braces == 1 => {
                (*tok, brackets, at) = (Tok::SetOpen, 0, At::Set)
            }
            Tok::BraceOpen => {
                (braces, brackets) = (braces + 1, 0);
                if at == At::Params {
                    at = At::Block;
                }
            }
            Tok::BraceClose if at == At::Set => (*tok, brackets, at) = (Tok::SetClose, 0, At::Values),
            Tok::BraceClose => (braces, brackets) = (braces.saturating_sub(1), 0),
            Tok::Ident(name) if starts_line && brackets == 0 && at != At::Set => *tok = Tok::LineIdent(name),
            _ => {}
        }
    }
}

/// Where a token stands, as far as braces and commas are concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    /// The parameters of a kernel or pipeline, or its name.
    Params,
    /// A `tune` or `task`.
    Values,
    /// The braces around the values of a tunable, or around sizes.
    Set,
    /// Anything else.
    Block,
}

/// Whether the word starts an element of a `tune` or `task`.
fn starts_element(tok: Tok<'_>) -> bool {
    use Tok::*;
    matches!(tok, Require | Search | Heldout | Sealed | Sizes | Init | Tol | Cost | Allow | Check)
}
