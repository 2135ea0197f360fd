//! Why a command ended without success, and the exit code that says so.

use std::fmt;
use std::process::ExitCode;

/// A command's failure. What is to be shown has not been printed yet, except by [`Failure::Reported`].
#[derive(Debug)]
pub enum Failure {
    /// The user's input is wrong.
    Input(String),
    /// The user's input is wrong, and its diagnostics have been printed.
    Reported,
    /// The command line is wrong.
    Usage(String),
    /// A result does not agree with the oracle.
    NotVerified(String),
    /// The asked device is missing or lost.
    Device(String),
    /// A bug of ours.
    Bug(String),
}

/// What every command returns.
pub type Outcome = Result<(), Failure>;

impl Failure {
    /// The exit code: 1 input, 2 usage, 3 not verified, 4 no device, 70 our bug.
    #[must_use]
    pub fn exit_code(&self) -> ExitCode {
        ExitCode::from(match self {
            Failure::Input(_) | Failure::Reported => 1,
            Failure::Usage(_) => 2,
            Failure::NotVerified(_) => 3,
            Failure::Device(_) => 4,
            Failure::Bug(_) => 70,
        })
    }

    /// An input error from anything that can be shown.
    pub fn input(error: impl fmt::Display) -> Failure {
        Failure::Input(error.to_string())
    }

    /// A bug from anything that can be shown.
    pub fn bug(error: impl fmt::Display) -> Failure {
        Failure::Bug(error.to_string())
    }
}

impl From<rooftile_runtime::Error> for Failure {
    fn from(error: rooftile_runtime::Error) -> Failure {
        match error {
            rooftile_runtime::Error::Input(e) => Failure::Input(e.to_string()),
            rooftile_runtime::Error::Device(e) => Failure::Device(e.to_string()),
            rooftile_runtime::Error::Internal(e) => Failure::Bug(e.to_string()),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Reported => Ok(()),
            Failure::Input(text) | Failure::Usage(text) | Failure::Device(text) => write!(f, "error: {text}"),
            Failure::NotVerified(text) => write!(f, "not verified: {text}"),
            Failure::Bug(text) => write!(
                f,
                "internal error: {text}\nThis is a bug in rooftile. Please report it with the file and the command line."
            ),
        }
    }
}
