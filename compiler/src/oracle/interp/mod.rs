//! The interpreter of hir. It executes statements as the language describes them, tile by tile, and checks every
//! access: bounds, reads of what was never written, races between tiles, full lists, broken promises of inputs.
//!
//! [`run`] sets up storage and enters the function; [`stmt`] runs statements of kernels and references, [`pipeline`]
//! those of pipelines, [`points`] walks axes, [`eval`] computes expressions at a point, [`arith`] single operations.

mod eval;
mod memory;
mod pipeline;
mod points;
mod race;
mod stmt;

pub(crate) mod arith;
pub(crate) mod special;

use std::collections::BTreeMap;

use rooftile_artifact::{DType, Scalar};

use self::arith::{Arith, Undefined};
use self::memory::{Binding, Cells, Storage};
use super::error::{ErrorKind, OracleError};
use super::rng::SplitMix;
use super::values::{Inputs, Outputs, Values};
use crate::diag::Span;
use crate::hir::ir::{AxisId, ExprId, File, Func, FuncId, FuncKind, ParamRef, Role, TensorId};

/// How floats are kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// All floats are `f64`, never rounded to their declared types.
    #[default]
    Exact,
    /// Every operation rounds to its declared type; reductions run in ascending order.
    Rounded,
}

/// The tile size of axes that [`Tiles::sizes`] does not name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TileDefault {
    /// The literal that is written, else one tile for the whole axis.
    #[default]
    Whole,
    /// That many points, literals notwithstanding.
    Each(i64),
    /// Random sizes, literals notwithstanding.
    Random,
}

/// How axes are cut into tiles, and in which order unordered tiles run.
#[derive(Clone, Debug, Default)]
pub struct Tiles {
    /// Tile sizes by the name of the tile, or by the name of the axis where the tile has none.
    pub sizes: BTreeMap<String, i64>,
    /// All others.
    pub default: TileDefault,
    /// Whether unordered tiles run in random order.
    pub shuffle: bool,
    /// Seed of random sizes and orders.
    pub seed: u64,
}

/// How a function is evaluated.
#[derive(Clone, Debug)]
pub struct Options {
    /// How floats are kept.
    pub mode: Mode,
    /// How axes are cut.
    pub tiles: Tiles,
    /// Whether races between tiles are errors.
    pub check_races: bool,
    /// Steps (evaluated expressions) after which the run is given up.
    pub budget: u64,
}

impl Default for Options {
    fn default() -> Options {
        Options { mode: Mode::Exact, tiles: Tiles::default(), check_races: true, budget: 2_000_000_000 }
    }
}

/// Evaluates a kernel, pipeline or reference.
///
/// # Errors
/// [`OracleError`] with the place, the index and the sizes, when the inputs do not fit or an operation is not
/// allowed; see [`ErrorKind`].
pub fn run(file: &File, func: FuncId, inputs: &Inputs, options: &Options) -> Result<Outputs, OracleError> {
    let mut machine = Machine::new(file, options);
    let body = file.funcs.get(func).ok_or_else(|| OracleError {
        kind: Box::new(ErrorKind::BadInput("there is no such function".to_owned())),
        span: Span::default(),
        func: String::new(),
        sizes: Vec::new(),
    })?;
    let mut exec = Exec::new(&mut machine, body, inputs.sizes.clone(), Vec::new());
    exec.enter(inputs).and_then(|()| exec.outputs()).map_err(|e| *e)
}

/// Extents and promised range of a tensor parameter at some sizes.
pub(crate) struct Shape {
    pub extents: Vec<i64>,
    pub range: Option<(i64, i64)>,
}

/// The shapes of the tensor parameters at some sizes and scalars; `None` where a `where` condition does not hold or
/// an extent makes no sense.
pub(crate) fn signature(file: &File, func: FuncId, sizes: &[i64], scalars: &[Scalar]) -> Option<Vec<Shape>> {
    let options = Options { budget: 100_000, ..Options::default() };
    let mut machine = Machine::new(file, &options);
    let body = file.funcs.get(func)?;
    if sizes.len() != body.sizes.len() || scalars.len() != body.scalars.len() {
        return None;
    }
    let mut exec = Exec::new(&mut machine, body, sizes.to_vec(), scalars.to_vec());
    for &cond in &body.wheres {
        if !exec.eval(cond).ok()?.is_true() {
            return None;
        }
    }
    let mut shapes = Vec::new();
    for param in &body.params {
        let ParamRef::Tensor(id) = *param else { continue };
        let tensor = &body.tensors[id];
        let extents = exec.extents(tensor).ok()?;
        let range = match tensor.range {
            Some((lo, hi)) => Some((exec.eval(lo).ok()?.as_i64(), exec.eval(hi).ok()?.as_i64())),
            None => None,
        };
        shapes.push(Shape { extents, range });
    }
    Some(shapes)
}

type R<T> = Result<T, Box<OracleError>>;

/// What functions of one run share.
struct Machine<'a> {
    file: &'a File,
    options: &'a Options,
    arith: Arith,
    storages: Vec<Storage>,
    races: race::Tiles,
    /// Number of the current launch.
    launch: u32,
    rng: SplitMix,
    /// Ticks at every change of an axis and every statement; dates memoised values.
    clock: u64,
    steps: u64,
}

impl<'a> Machine<'a> {
    fn new(file: &'a File, options: &'a Options) -> Machine<'a> {
        Machine {
            file,
            options,
            arith: Arith { rounded: options.mode == Mode::Rounded },
            storages: Vec::new(),
            races: race::Tiles::new(),
            launch: 0,
            rng: SplitMix::new(options.tiles.seed),
            clock: 1,
            steps: 0,
        }
    }
}

/// The state of one function.
struct Exec<'m, 'a> {
    m: &'m mut Machine<'a>,
    func: &'a Func,
    sizes: Vec<i64>,
    scalars: Vec<Scalar>,
    /// By tensor.
    bindings: Vec<Option<Binding>>,
    /// Current index, by axis.
    axis: Vec<i64>,
    /// When the index was set.
    stamp: Vec<u64>,
    /// Offsets from the axis' first value that the current tile spans; `None` for all.
    window: Vec<Option<(i64, i64)>>,
    /// By tile value.
    values: Vec<Option<Cells>>,
    /// What a `let` was defined as: `scan` looks beyond the tile.
    lets: Vec<Option<ExprId>>,
    /// Expressions worth keeping: used more than once, or reductions.
    shared: Vec<bool>,
    /// When computed, and the value.
    memo: Vec<(u64, Scalar)>,
    /// Start of the current statement: nothing older is valid.
    base: u64,
    /// Depth of `scan`s being evaluated.
    scanning: u32,
    /// The axis of the fold whose body is being run.
    folding: Option<AxisId>,
}

impl<'m, 'a> Exec<'m, 'a> {
    fn new(m: &'m mut Machine<'a>, func: &'a Func, sizes: Vec<i64>, scalars: Vec<Scalar>) -> Exec<'m, 'a> {
        let exprs = func.exprs.len();
        Exec {
            m,
            func,
            sizes,
            scalars,
            bindings: vec![None; func.tensors.len()],
            axis: vec![0; func.axes.len()],
            stamp: vec![0; func.axes.len()],
            window: vec![None; func.axes.len()],
            values: vec![None; func.values.len()],
            lets: vec![None; func.values.len()],
            shared: eval::shared(func),
            memo: vec![(0, Scalar::Int(0)); exprs],
            base: 1,
            scanning: 0,
            folding: None,
        }
    }

    /// An error at a place.
    fn fail<T>(&self, kind: ErrorKind, span: Span) -> R<T> {
        let sizes = self.func.sizes.iter().zip(&self.sizes);
        Err(Box::new(OracleError {
            kind: Box::new(kind),
            span,
            func: self.func.name.clone(),
            sizes: sizes.map(|((_, s), &v)| (s.name.clone(), v)).collect(),
        }))
    }

    /// The result of an operation, its error placed.
    fn done<T>(&self, result: Result<T, Undefined>, span: Span) -> R<T> {
        match result {
            Ok(v) => Ok(v),
            Err(Undefined::Operation(what)) => self.fail(ErrorKind::Undefined(what), span),
            Err(Undefined::Types) => self.fail(ErrorKind::Internal("operand types"), span),
        }
    }

    fn bad<T>(&self, what: impl Into<String>) -> R<T> {
        self.fail(ErrorKind::BadInput(what.into()), self.func.span)
    }

    /// Binds the inputs of the outermost function, checks them and runs it.
    fn enter(&mut self, inputs: &Inputs) -> R<()> {
        let func = self.func;
        if self.sizes.len() != func.sizes.len() {
            return self.bad(format!("{} sizes for {}", self.sizes.len(), func.sizes.len()));
        }
        if let Some(((_, size), _)) = func.sizes.iter().zip(&self.sizes).find(|&(_, &v)| v < 0) {
            return self.bad(format!("size `{}` is negative", size.name));
        }
        if inputs.scalars.len() != func.scalars.len() {
            return self.bad(format!("{} scalars for {}", inputs.scalars.len(), func.scalars.len()));
        }
        // A reference takes the scalars that its kernel takes, rounded to the kernel's types.
        let signature = match func.kind {
            FuncKind::Reference => self.m.file.entry(&func.name).map_or(func, |id| &self.m.file.funcs[id]),
            _ => func,
        };
        let given = inputs.scalars.iter().zip(signature.scalars.iter());
        self.scalars = given.map(|(v, (_, p))| v.cast(p.dtype)).collect();
        let mut given = inputs.tensors.iter();
        for param in &func.params {
            if let ParamRef::Tensor(id) = *param {
                let Some(content) = given.next() else {
                    return self.bad("fewer tensors than the function has");
                };
                self.bind(id, content.as_ref())?;
            }
        }
        if given.next().is_some() {
            return self.bad("more tensors than the function has");
        }
        self.body()
    }

    /// Checks conditions and promises, allocates buffers, and runs the body. Parameters are bound.
    fn body(&mut self) -> R<()> {
        let func = self.func;
        for &cond in &func.wheres {
            if !self.eval(cond)?.is_true() {
                return self.fail(
                    ErrorKind::BadInput("the sizes break a `where` condition".to_owned()),
                    func.exprs[cond].span,
                );
            }
        }
        for (id, tensor) in func.tensors.iter() {
            if tensor.role == Role::Buf {
                self.allocate(id)?;
            } else {
                self.check_contract(id)?;
            }
        }
        self.block(&func.body)
    }

    /// The tensor parameters after the run.
    fn outputs(&mut self) -> R<Outputs> {
        let func = self.func;
        let mut tensors = Vec::new();
        for param in &func.params {
            let ParamRef::Tensor(id) = *param else { continue };
            let tensor = &func.tensors[id];
            let Some(binding) = self.bindings[id.index()].clone() else {
                return self.fail(ErrorKind::Internal("an unbound tensor"), tensor.span);
            };
            let cells = &self.m.storages[binding.storage].cells;
            let mut missing = None;
            let content: Vec<Scalar> = binding
                .positions()
                .map(|(index, at)| {
                    cells[at].unwrap_or_else(|| {
                        missing.get_or_insert(index);
                        Scalar::Int(0).cast(tensor.dtype)
                    })
                })
                .collect();
            if let (Some(index), Role::Out, false) = (missing, tensor.role, tensor.bag) {
                return self
                    .fail(ErrorKind::PartlyWritten { tensor: tensor.name.clone(), index }, tensor.span);
            }
            // The declared type is the kernel's, also where a reference keeps floats as f64.
            let shape: Vec<usize> =
                binding.extents.iter().map(|&n| usize::try_from(n).unwrap_or(0)).collect();
            tensors.push(Values::new(tensor.dtype, &shape, content.into_iter()));
        }
        Ok(Outputs { tensors })
    }

    /// An element as a tensor of type `dtype` keeps it.
    fn keep(&self, v: Scalar, dtype: DType) -> Scalar {
        if self.m.arith.rounded && self.func.kind != FuncKind::Reference { v.cast(dtype) } else { v }
    }

    fn tensor_name(&self, id: TensorId) -> String {
        self.func.tensors[id].name.clone()
    }
}
