//! Why a task has no data for given sizes.

use crate::diag::{Code, Diagnostic, Span};

/// Why inputs cannot be made. All are the user's to mend.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TaskError {
    /// A size or integer parameter that nothing binds.
    #[error("no value for the size `{0}`; give it with --size {0}=..")]
    Missing(String),
    /// Two sources give a size different values.
    #[error("`{name}` is {given}, but {source_of} needs it to be {needed}")]
    Conflict {
        /// The size.
        name: String,
        /// Its value.
        given: i64,
        /// Who disagrees.
        source_of: String,
        /// The value that it needs.
        needed: i64,
    },
    /// A size that is not positive, or a name that is no size.
    #[error("{0}")]
    Size(String),
    /// Sizes that a `where` forbids.
    #[error("the sizes {values} violate the `where` condition number {}", number + 1)]
    Where {
        /// Position among the conditions.
        number: usize,
        /// The condition.
        span: Span,
        /// The sizes in it.
        values: String,
    },
    /// An `init` that cannot be evaluated, or does not fit its parameter.
    #[error("init `{name}`: {reason}")]
    Init {
        /// The parameter.
        name: String,
        /// What is wrong.
        reason: String,
    },
    /// Data that do not fit in memory.
    #[error("the data take {bytes} bytes, more than the {limit} that may be used")]
    TooLarge {
        /// Bytes needed.
        bytes: u128,
        /// Bytes allowed.
        limit: u128,
    },
    /// A tensor that is larger than the device takes.
    #[error("`{name}` has {count} {unit} at these sizes, more than the {limit} that the device takes")]
    TensorTooLarge {
        /// The tensor.
        name: String,
        /// How many of the unit it has.
        count: u128,
        /// `elements` or `bytes`.
        unit: &'static str,
        /// The most that the device takes.
        limit: u128,
    },
    /// A tensor given by the user that is not what the parameter needs.
    #[error("`{name}`: {reason}")]
    Given {
        /// The parameter.
        name: String,
        /// What is wrong.
        reason: String,
    },
}

impl TaskError {
    /// The code of its diagnostic.
    #[must_use]
    pub fn code(&self) -> Code {
        match self {
            TaskError::Init { .. } => Code::BadTask,
            _ => Code::Size,
        }
    }

    /// As a diagnostic at a place of the task.
    #[must_use]
    pub fn diagnostic(&self, span: Span) -> Diagnostic {
        let d = Diagnostic::error(self.code(), span, self.to_string());
        match self {
            TaskError::Where { span, .. } => d.cause(*span, "this condition"),
            _ => d,
        }
    }
}
