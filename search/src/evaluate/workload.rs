//! What the evaluation needs of a task: code for a recipe, inputs, and a judge.

use rooftile_artifact::program::Bindings;
use rooftile_artifact::work::Work;
use rooftile_artifact::{HostTensor, Program};
use rooftile_compiler::oracle::Outputs;

use crate::archive::Descriptor;
use crate::bench::{Failure, Sizes};
use crate::candidate::Recipe;

/// What lowering tells about a recipe.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Look {
    /// Canonical hash of the nests.
    pub nest: String,
    /// Its place in the archive.
    pub descriptor: Descriptor,
    /// Widest vector that it uses, bytes; 0 for none.
    pub vector_bytes: usize,
    /// Whether any part is shared out over the cores.
    pub parallel: bool,
    /// Seconds that the static model estimates at each size.
    pub model_s: Vec<f64>,
}

/// From where the values of inputs come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Draw {
    /// As the task says.
    Task,
    /// All zeros.
    Zeros,
    /// As the task says, times a large power of two.
    Large,
    /// As the task says, times a small power of two.
    Small,
    /// As the task says, each element at a scale of its own.
    Mixed,
}

impl Draw {
    /// The draws that are meant to break something.
    pub const ADVERSARIAL: [Draw; 4] = [Draw::Zeros, Draw::Large, Draw::Small, Draw::Mixed];
}

/// What a program is run on.
#[derive(Clone, Debug, Default)]
pub struct Case {
    /// Sizes and scalars, in the program's order.
    pub bindings: Bindings,
    /// Content of each parameter; `None` for those that are only written.
    pub tensors: Vec<Option<HostTensor>>,
    /// For each parameter the largest absolute error that rounding can explain, as far as that is known.
    pub bounds: Vec<Option<f64>>,
}

impl Case {
    /// Bytes of all inputs.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.tensors.iter().flatten().map(|t| t.bytes().len()).sum()
    }
}

/// What comparing gave, where it was accepted.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Judged {
    /// Largest relative error.
    pub max_rel_err: f64,
    /// The largest part of a tolerance that was used up, 0 to 1.
    pub used: f64,
}

/// A task, as the evaluation sees it.
pub trait Workload {
    /// A hash of everything that results depend on, besides sizes and seed.
    fn hash(&self) -> &str;

    /// Lowers a recipe.
    ///
    /// # Errors
    /// [`Failure`] when it is not legal.
    fn look(&mut self, recipe: &Recipe, sizes: &[Sizes]) -> Result<Look, Failure>;

    /// Makes code for a recipe.
    ///
    /// # Errors
    /// [`Failure`] when it is not legal, or the generator cannot do it.
    fn compile(&mut self, recipe: &Recipe) -> Result<Program, Failure>;

    /// The least work at a size.
    ///
    /// # Errors
    /// [`Failure`] when the size makes no sense.
    fn work(&self, sizes: &Sizes) -> Result<Work, Failure>;

    /// Small sizes for the first checks: odd, tiny, ragged.
    fn small_sizes(&self) -> Vec<Sizes>;

    /// Inputs of a size. Runtime scalars vary with the seed as the task declares.
    ///
    /// # Errors
    /// [`Failure`] when the size makes no sense, or the draw does not suit the task.
    fn case(&self, sizes: &Sizes, seed: u64, draw: Draw) -> Result<Case, Failure>;

    /// What the oracle says of a case.
    ///
    /// # Errors
    /// [`Failure`] when it cannot be judged.
    fn expect(&self, sizes: &Sizes, case: &Case) -> Result<Outputs, Failure>;

    /// For each parameter the largest absolute error that rounding can explain in this case; a result that is farther off is
    /// wrong whatever the task tolerates.
    fn bounds(&self, case: &Case) -> Vec<Option<f64>> {
        let _ = case;
        Vec::new()
    }

    /// Compares every element of every parameter that is written.
    ///
    /// # Errors
    /// [`Reason::WrongResult`](crate::bench::Reason::WrongResult) naming the worst element.
    fn judge(&self, case: &Case, expected: &Outputs, got: &[HostTensor]) -> Result<Judged, Failure>;

    /// A result that knows nothing of the computation and would be accepted all the same, in words: a task that accepts
    /// one judges nothing.
    fn null_model(&self, case: &Case, expected: &Outputs) -> Option<String>;

    /// The recipe that decides whether adversarial inputs are fair: one on which even it leaves the tolerance, or comes
    /// close to, says nothing about a candidate.
    fn baseline(&self) -> Recipe;
}
