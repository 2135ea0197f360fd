//! Why an evaluation stopped.

use std::fmt;

use crate::diag::{Code, Diagnostic, Span};

/// An evaluation that stopped, with the place in the source and the sizes it ran at.
#[derive(Clone, Debug, PartialEq)]
pub struct OracleError {
    /// What happened.
    pub kind: Box<ErrorKind>,
    /// Where.
    pub span: Span,
    /// The function that was evaluated.
    pub func: String,
    /// Names and values of its sizes.
    pub sizes: Vec<(String, i64)>,
}

/// What happened.
#[derive(Clone, Debug, PartialEq)]
pub enum ErrorKind {
    /// A read outside a tensor along a dimension without an edge rule.
    ReadOutside {
        /// The tensor.
        tensor: String,
        /// The index.
        index: Vec<i64>,
        /// The tensor's extents.
        shape: Vec<i64>,
    },
    /// A write outside a tensor.
    WriteOutside {
        /// The tensor.
        tensor: String,
        /// The index.
        index: Vec<i64>,
        /// The tensor's extents.
        shape: Vec<i64>,
    },
    /// A read of an element that nothing has written.
    Unwritten {
        /// The tensor.
        tensor: String,
        /// The element.
        index: Vec<i64>,
    },
    /// A tile value at a point that it does not have.
    NoPoint {
        /// The tile value.
        value: String,
        /// The point.
        index: Vec<i64>,
    },
    /// Two unordered tiles touch one element, and one of them writes it.
    Race {
        /// The tensor.
        tensor: String,
        /// The element.
        index: Vec<i64>,
        /// What the other tile did it with.
        other: Span,
        /// Whether both write.
        both_write: bool,
    },
    /// Two points of one statement write the same element.
    DuplicateWrite {
        /// The tensor.
        tensor: String,
        /// The element.
        index: Vec<i64>,
    },
    /// The maps of a `next` are not a bijection.
    NotBijective {
        /// The carry.
        value: String,
        /// A point written twice or never.
        index: Vec<i64>,
        /// Whether it is written twice.
        twice: bool,
    },
    /// An `out` has an element that was not written.
    PartlyWritten {
        /// The tensor.
        tensor: String,
        /// The element.
        index: Vec<i64>,
    },
    /// `append` to a full list.
    ListFull {
        /// The list.
        list: String,
        /// The number of the list.
        key: Vec<i64>,
        /// How much it holds.
        capacity: i64,
    },
    /// An input breaks a promise of its declaration.
    Contract {
        /// The tensor.
        tensor: String,
        /// The element.
        index: Vec<i64>,
        /// The promise.
        promise: &'static str,
    },
    /// An operation without a result: division by zero, a shift by the width or more, `ilog2` of zero.
    Undefined(&'static str),
    /// Sizes, scalars or tensors that the function cannot be run on.
    BadInput(String),
    /// The budget of steps is used up.
    Budget(u64),
    /// A construct that the checker should have refused.
    Internal(&'static str),
}

impl OracleError {
    /// The error as a report about the user's text.
    #[must_use]
    pub fn diagnostic(&self) -> Diagnostic {
        let code = match &*self.kind {
            ErrorKind::ReadOutside { .. } => Code::NoEdge,
            ErrorKind::WriteOutside { .. } | ErrorKind::NoPoint { .. } | ErrorKind::ListFull { .. } => {
                Code::OutOfBounds
            }
            ErrorKind::Race { .. } => Code::Race,
            ErrorKind::DuplicateWrite { .. } => Code::DuplicateWrite,
            ErrorKind::NotBijective { .. } => Code::NotBijective,
            ErrorKind::Unwritten { .. } | ErrorKind::PartlyWritten { .. } => Code::PartlyWritten,
            ErrorKind::Contract { .. } | ErrorKind::BadInput(_) => Code::Size,
            ErrorKind::Budget(_) => Code::SlowOracle,
            ErrorKind::Undefined(_) | ErrorKind::Internal(_) => Code::Arguments,
        };
        let mut diagnostic = Diagnostic::error(code, self.span, self.kind.to_string());
        if let ErrorKind::Race { other, both_write, .. } = &*self.kind {
            diagnostic =
                diagnostic.cause(*other, if *both_write { "also written here" } else { "the other access" });
        }
        if !self.sizes.is_empty() {
            diagnostic = diagnostic.note(format!("seen at {}", self.sizes_text()));
        }
        diagnostic
    }

    fn sizes_text(&self) -> String {
        let parts: Vec<String> = self.sizes.iter().map(|(n, v)| format!("{n} = {v}")).collect();
        parts.join(", ")
    }
}

impl fmt::Display for OracleError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.func, self.kind)?;
        if self.sizes.is_empty() { Ok(()) } else { write!(f, " ({})", self.sizes_text()) }
    }
}

impl std::error::Error for OracleError {}

/// An index as the language writes it.
struct At<'a>(&'a [i64]);

impl fmt::Display for At<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[")?;
        for (n, i) in self.0.iter().enumerate() {
            write!(f, "{}{i}", if n == 0 { "" } else { "," })?;
        }
        f.write_str("]")
    }
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ErrorKind::ReadOutside { tensor, index, shape } => {
                write!(
                    f,
                    "reads `{tensor}{}`, outside its extents {} and without an edge rule",
                    At(index),
                    At(shape)
                )
            }
            ErrorKind::WriteOutside { tensor, index, shape } => {
                write!(f, "writes `{tensor}{}`, outside its extents {}", At(index), At(shape))
            }
            ErrorKind::Unwritten { tensor, index } => {
                write!(f, "reads `{tensor}{}`, which nothing has written", At(index))
            }
            ErrorKind::NoPoint { value, index } => {
                write!(f, "reads `{value}{}`, a point that it does not have in this tile", At(index))
            }
            ErrorKind::Race { tensor, index, both_write: true, .. } => {
                write!(f, "two tiles write `{tensor}{}`", At(index))
            }
            ErrorKind::Race { tensor, index, .. } => {
                write!(f, "one tile reads `{tensor}{}`, which another writes", At(index))
            }
            ErrorKind::DuplicateWrite { tensor, index } => {
                write!(f, "two points of one statement write `{tensor}{}`", At(index))
            }
            ErrorKind::NotBijective { value, index, twice } => {
                let how = if *twice { "is written twice" } else { "is not written" };
                write!(f, "`next` is not a bijection: `{value}{}` {how}", At(index))
            }
            ErrorKind::PartlyWritten { tensor, index } => {
                write!(f, "`{tensor}` is an `out`, but `{tensor}{}` is not written", At(index))
            }
            ErrorKind::ListFull { list, key, capacity } => {
                write!(f, "`append` to `{list}{}`, which is full with {capacity} elements", At(key))
            }
            ErrorKind::Contract { tensor, index, promise } => {
                write!(f, "`{tensor}{}` breaks the promise `{promise}`", At(index))
            }
            ErrorKind::Undefined(what) => f.write_str(what),
            ErrorKind::BadInput(what) => f.write_str(what),
            ErrorKind::Budget(steps) => write!(f, "the evaluation takes more than {steps} steps"),
            ErrorKind::Internal(what) => write!(f, "cannot be evaluated: {what}"),
        }
    }
}
