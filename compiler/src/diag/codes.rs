//! The stable codes. A code is never given a new meaning; `docs/language.md` lists them.

use std::fmt;

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $number:literal $word:literal,)*) => {
        /// A stable diagnostic code.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Code {
            $($(#[$doc])* $name,)*
        }

        impl Code {
            /// Every code, in order of number.
            pub const ALL: &[Code] = &[$(Code::$name,)*];

            /// The number behind the `E`.
            #[must_use]
            pub fn number(self) -> u16 {
                match self { $(Code::$name => $number,)* }
            }

            /// A word or two that name the kind of problem.
            #[must_use]
            pub fn word(self) -> &'static str {
                match self { $(Code::$name => $word,)* }
            }
        }
    };
}

codes! {
    // 01xx: text
    /// A character that starts no token, or a malformed literal.
    BadToken = 101 "bad token",
    /// A token where none of its kind may stand.
    Syntax = 102 "syntax",
    /// The text ends inside a construct.
    UnexpectedEnd = 103 "unexpected end",
    /// The file asks for a newer language version.
    Version = 104 "version",
    /// Nesting or size beyond what the compiler accepts.
    TooDeep = 105 "too deep",

    // 02xx: names, axes, types
    /// A name that nothing defines.
    UnknownName = 201 "unknown name",
    /// A name defined twice.
    Duplicate = 202 "duplicate",
    /// An axis still alive where it must be gone.
    LiveAxis = 203 "live axis",
    /// An axis missing from a store or a declared type.
    MissingAxis = 204 "missing axis",
    /// Element types that do not go together.
    TypeMismatch = 205 "type mismatch",
    /// Wrong number or kind of arguments.
    Arguments = 206 "arguments",
    /// A value that depends on how the axis was cut into tiles.
    Partial = 207 "partial",
    /// A reduction over an axis that its operand does not have.
    UselessReduce = 208 "useless reduce",
    /// The reduction's operator does not match the accumulator's.
    WrongMonoid = 209 "wrong monoid",
    /// A name used as what it is not.
    NotA = 210 "wrong kind of name",
    /// A tile name or block size read by the algorithm.
    TileSizeRead = 211 "tile size read",
    /// A construct that may not stand here.
    Misplaced = 212 "misplaced",

    // 03xx: memory
    /// A read that can leave the tensor, which declares no edge.
    NoEdge = 301 "no edge",
    /// A write that can leave the tensor.
    OutOfBounds = 302 "out of bounds",
    /// Two tiles touch the same element, one of them writing.
    Race = 303 "race",
    /// Maps that are not a bijection.
    NotBijective = 304 "not a bijection",
    /// An `out` that is not written whole.
    PartlyWritten = 305 "partly written",
    /// A write through data that may name one element twice.
    DuplicateWrite = 306 "duplicate write",

    // 04xx: tune and capacity
    /// A tunable's domain or default is not what it must be.
    BadTune = 401 "tune",
    /// A staging or local buffer that does not fit.
    Space = 402 "space",
    /// No point satisfies the constraints.
    EmptySpace = 410 "empty",

    // 05xx: schedules
    /// An anchor that names nothing in the algorithm.
    Anchor = 501 "anchor",
    /// A verb that does not exist.
    UnknownVerb = 502 "unknown verb",
    /// Arguments that the verb does not take.
    VerbArguments = 503 "verb arguments",
    /// A verb that may not be applied here.
    Illegal = 504 "illegal schedule",
    /// A verb that the target does not support.
    Unsupported = 505 "unsupported",

    // 06xx: tasks
    /// A task item that is malformed or refers to nothing.
    BadTask = 601 "task",
    /// A tolerance that a null model passes.
    LooseTolerance = 602 "loose tolerance",
    /// A size that nothing binds, or sizes that disagree.
    Size = 603 "size",
    /// An oracle too slow for a size.
    SlowOracle = 604 "slow oracle",

    // 07xx: targets
    /// A construct that a backend does not compile.
    Backend = 701 "backend",
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "E{:04}", self.number())
    }
}

impl serde::Serialize for Code {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}
