//! The command line as data.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

/// Finds the fastest correct kernel for this machine.
#[derive(Debug, Parser)]
#[command(name = "rooftile", version, about, max_term_width = 110)]
#[command(
    after_help = "Exit codes: 0 success, 1 input, 2 usage, 3 not verified, 4 no such device, 70 a bug of rooftile."
)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The subcommands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Check files: syntax, types, legality, tasks, schedules for every target.
    #[command(after_help = "Example: rooftile check dsl-examples/*.tile --deep")]
    Check(CheckArgs),
    /// Rewrite files in canonical form, comments kept.
    #[command(after_help = "Example: rooftile fmt --check dsl-examples/*.tile")]
    Fmt(FmtArgs),
    /// Run a kernel or pipeline once, on generated inputs or on NumPy files.
    #[command(
        after_help = "Example: rooftile run dsl-examples/matmul.tile --size M=3,N=4,K=5 --in A=a.npy --out C=c.npy --verify"
    )]
    Run(RunArgs),
    /// Time a kernel or pipeline, with the roof and the fraction of it.
    #[command(
        after_help = "Example: rooftile bench dsl-examples/softmax.tile --size M=1024,N=1024 --threads 1 --json"
    )]
    Bench(BenchArgs),
    /// Time a kernel or pipeline one sample at a time, as asked over standard input: to pair it with another program.
    #[command(
        after_help = "Example: printf 'sample 10\\nquit\\n' | rooftile sample dsl-examples/saxpy.tile --size N=1048576 --threads 1"
    )]
    Sample(SampleArgs),
    /// Search for the fastest way to run a task on this machine.
    #[command(
        after_help = "Example: rooftile search dsl-examples/matmul.tile --budget 60s --out runs/matmul"
    )]
    Search(SearchArgs),
    /// Go on with a search that was interrupted.
    #[command(after_help = "Example: rooftile resume runs/matmul --budget 60s")]
    Resume(ResumeArgs),
    /// Write the report of a run again.
    #[command(after_help = "Example: rooftile report runs/matmul --svg roofline.svg")]
    Report(ReportArgs),
    /// Show several runs side by side.
    #[command(after_help = "Example: rooftile compare runs/a runs/b --json")]
    Compare(CompareArgs),
    /// Write the candidates, lineage and samples of a run as JSON and CSV.
    #[command(after_help = "Example: rooftile export-run runs/matmul")]
    ExportRun(DirArgs),
    /// Measure and show the roofs of this machine.
    #[command(after_help = "Example: rooftile machine --refresh --json")]
    Machine(MachineArgs),
    /// List devices, and why one is missing.
    #[command(after_help = "Example: rooftile devices --json")]
    Devices(JsonArgs),
    /// Explain a kernel: operations by class, bytes, roof, loops, memory.
    #[command(after_help = "Example: rooftile explain dsl-examples/heat2d.tile --size H=512,W=512,T=100")]
    Explain(ExplainArgs),
    /// Show or take away any stage of compilation.
    #[command(after_help = "Example: rooftile emit dsl-examples/matmul.tile --stage nest")]
    Emit(EmitArgs),
    /// Print a completion script for a shell.
    #[command(after_help = "Example: rooftile completions bash > rooftile.bash")]
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
    /// Evaluate candidates for a search, over standard input and output.
    #[command(hide = true)]
    Worker,
}

/// How messages are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum MessageFormat {
    /// For people.
    #[default]
    Human,
    /// One JSON document.
    Json,
}

/// `check`
#[derive(Debug, Args)]
pub struct CheckArgs {
    /// The files.
    #[arg(required = true)]
    pub files: Vec<PathBuf>,
    /// How diagnostics are written.
    #[arg(long, value_enum, default_value_t)]
    pub message_format: MessageFormat,
    /// Run the obligations as well: tile-size invariance, races, null models.
    #[arg(long)]
    pub deep: bool,
}

/// `fmt`
#[derive(Debug, Args)]
pub struct FmtArgs {
    /// The files.
    #[arg(required = true)]
    pub files: Vec<PathBuf>,
    /// Change nothing; fail when a file is not in canonical form.
    #[arg(long)]
    pub check: bool,
}

/// `--json`
#[derive(Debug, Args)]
pub struct JsonArgs {
    /// Print one JSON document.
    #[arg(long)]
    pub json: bool,
}

/// `rooftile report`
#[derive(Debug, Args)]
pub struct ReportArgs {
    /// The folder that a search wrote.
    pub dir: PathBuf,
    /// A file for the roofline plot by itself.
    #[arg(long)]
    pub svg: Option<PathBuf>,
}

/// A run's folder.
#[derive(Debug, Args)]
pub struct DirArgs {
    /// The folder that a search wrote.
    pub dir: PathBuf,
}

/// `NAME=VALUE,NAME=VALUE`
#[derive(Clone, Debug, PartialEq)]
pub struct Pairs(pub Vec<(String, String)>);

impl std::str::FromStr for Pairs {
    type Err = String;

    fn from_str(s: &str) -> Result<Pairs, String> {
        s.split(',')
            .map(|pair| match pair.split_once('=') {
                Some((name, value)) if !name.trim().is_empty() && !value.trim().is_empty() => {
                    Ok((name.trim().to_owned(), value.trim().to_owned()))
                }
                _ => Err(format!("`{pair}` is not NAME=VALUE")),
            })
            .collect::<Result<_, _>>()
            .map(Pairs)
    }
}

/// What to run, on what, at which sizes.
#[derive(Debug, Args)]
pub struct SubjectArgs {
    /// The file.
    pub file: PathBuf,
    /// The kernel or pipeline; by default the only one, or the one with a task.
    pub name: Option<String>,
    /// Sizes: M=64,K=32. May be given several times; `bench` then times each.
    #[arg(long = "size", value_name = "N=V,..")]
    pub sizes: Vec<Pairs>,
    /// Scalar arguments: alpha=0.1.
    #[arg(long = "set", value_name = "X=V,..")]
    pub set: Vec<Pairs>,
    /// The device: cpu, avx2, cranelift, vulkan, vulkan:1, nest, oracle.
    #[arg(long, default_value = "cpu")]
    pub device: String,
    /// The kernel's threads; by default all physical cores.
    #[arg(long)]
    pub threads: Option<usize>,
    /// The schedule: naive, default, or file (what the file says, else default).
    #[arg(long, value_enum, default_value_t)]
    pub schedule: ScheduleChoice,
    /// Seed of the generated inputs.
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
}

/// Which schedule is used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum ScheduleChoice {
    /// One loop nest a statement, no vectors.
    Naive,
    /// The cost model's.
    Default,
    /// The file's, where it has one for the device.
    #[default]
    File,
}

/// `run`
#[derive(Debug, Args)]
pub struct RunArgs {
    /// What to run.
    #[command(flatten)]
    pub subject: SubjectArgs,
    /// Inputs from NumPy files: A=a.npy.
    #[arg(long = "in", value_name = "X=FILE")]
    pub inputs: Vec<Pairs>,
    /// Outputs to NumPy files: C=c.npy.
    #[arg(long = "out", value_name = "Y=FILE")]
    pub outputs: Vec<Pairs>,
    /// Compare every element with the oracle.
    #[arg(long)]
    pub verify: bool,
}

/// `bench`
#[derive(Debug, Args)]
pub struct BenchArgs {
    /// What to time.
    #[command(flatten)]
    pub subject: SubjectArgs,
    /// Empty the caches before each sample.
    #[arg(long)]
    pub cold: bool,
    /// A kernel of yours, compared with the oracle and timed in turns with ours: `int32_t SYMBOL(void *const *tensors,
    /// const int64_t *sizes, const uint64_t *scalars, int64_t threads)`, as `docs/measuring.md` says.
    #[arg(long, value_name = "LIB.so:SYMBOL")]
    pub against: Option<Against>,
    /// A machine profile to use instead of this machine's.
    #[arg(long)]
    pub profile: Option<PathBuf>,
    /// Print one JSON document.
    #[arg(long)]
    pub json: bool,
}

/// `LIB.so:SYMBOL`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Against {
    /// The shared library.
    pub library: PathBuf,
    /// The function.
    pub symbol: String,
}

impl std::str::FromStr for Against {
    type Err = String;

    fn from_str(s: &str) -> Result<Against, String> {
        match s.rsplit_once(':') {
            Some((library, symbol)) if !library.is_empty() && !symbol.is_empty() => {
                Ok(Against { library: library.into(), symbol: symbol.to_owned() })
            }
            _ => Err(format!("`{s}` is not LIB.so:SYMBOL")),
        }
    }
}

/// `sample`
#[derive(Debug, Args)]
pub struct SampleArgs {
    /// What to time.
    #[command(flatten)]
    pub subject: SubjectArgs,
    /// Inputs from NumPy files: A=a.npy.
    #[arg(long = "in", value_name = "X=FILE")]
    pub inputs: Vec<Pairs>,
}

/// `--workers`
#[derive(Debug, Args)]
pub struct WorkersArgs {
    /// Worker processes that lower, compile and check candidates side by side. Times are taken one at a time, and the
    /// course of a search does not depend on their number.
    #[arg(long, default_value = "2")]
    pub workers: NonZeroUsize,
}

/// `search`
#[derive(Debug, Args)]
pub struct SearchArgs {
    /// The file.
    pub file: PathBuf,
    /// The task; by default the file's only one.
    pub name: Option<String>,
    /// The device.
    #[arg(long, default_value = "cpu")]
    pub device: String,
    /// Time to search: 60s, 5m, 1h.
    #[arg(long, value_parser = duration)]
    pub budget: Option<f64>,
    /// Candidates to evaluate.
    #[arg(long)]
    pub evals: Option<u64>,
    /// Seed of the search.
    #[arg(long)]
    pub seed: Option<u64>,
    /// evolution, random, one-plus-one, pattern, exhaustive.
    #[arg(long, default_value = "evolution")]
    pub strategy: String,
    /// The kernel's threads; by default all physical cores.
    #[arg(long)]
    pub threads: Option<usize>,
    /// Who evaluates.
    #[command(flatten)]
    pub workers: WorkersArgs,
    /// A `.tile` file whose schedule joins the first population.
    #[arg(long)]
    pub from: Option<PathBuf>,
    /// The folder to write; by default a new one under `runs/`.
    #[arg(long)]
    pub out: Option<PathBuf>,
    /// What a candidate costs: measured by the clock, or by the model.
    #[arg(long, default_value = "clock")]
    pub cost: String,
    /// A machine profile to use instead of this machine's.
    #[arg(long)]
    pub profile: Option<PathBuf>,
    /// Print progress as JSON lines; the last one is the result.
    #[arg(long)]
    pub json: bool,
}

/// `resume`
#[derive(Debug, Args)]
pub struct ResumeArgs {
    /// The folder that a search wrote.
    pub dir: PathBuf,
    /// Time to search on; by default what was left.
    #[arg(long, value_parser = duration)]
    pub budget: Option<f64>,
    /// Who evaluates.
    #[command(flatten)]
    pub workers: WorkersArgs,
    /// Candidates to evaluate in all; by default as at first.
    #[arg(long)]
    pub evals: Option<u64>,
    /// Print progress as JSON lines; the last one is the result.
    #[arg(long)]
    pub json: bool,
}

/// `compare`
#[derive(Debug, Args)]
pub struct CompareArgs {
    /// Folders that searches wrote.
    #[arg(required = true)]
    pub dirs: Vec<PathBuf>,
    /// Print one JSON document.
    #[arg(long)]
    pub json: bool,
}

/// `machine`
#[derive(Debug, Args)]
pub struct MachineArgs {
    /// The device.
    #[arg(long, default_value = "cpu")]
    pub device: String,
    /// Measure again, whatever is stored.
    #[arg(long)]
    pub refresh: bool,
    /// Print one JSON document.
    #[arg(long)]
    pub json: bool,
}

/// `explain`
#[derive(Debug, Args)]
pub struct ExplainArgs {
    /// What to explain.
    #[command(flatten)]
    pub subject: SubjectArgs,
    /// Print one JSON document.
    #[arg(long)]
    pub json: bool,
}

/// A stage of compilation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Stage {
    /// The syntax tree, printed canonically.
    Ast,
    /// The typed tile program.
    Hir,
    /// The loops.
    Nest,
    /// Cranelift's intermediate form.
    Clif,
    /// Machine code.
    Asm,
    /// The SPIR-V of a Vulkan device, disassembled.
    Spirv,
}

/// `emit`
#[derive(Debug, Args)]
pub struct EmitArgs {
    /// What to emit.
    #[command(flatten)]
    pub subject: SubjectArgs,
    /// The stage.
    #[arg(long, value_enum)]
    pub stage: Stage,
    /// The file to write; by default standard output.
    #[arg(short, long)]
    pub output: Option<PathBuf>,
}

/// Seconds from `60s`, `5m`, `1.5h` or a bare number of seconds.
fn duration(text: &str) -> Result<f64, String> {
    let (number, scale) = match text.strip_suffix(['s', 'm', 'h']) {
        Some(number) if text.ends_with('m') => (number, 60.0),
        Some(number) if text.ends_with('h') => (number, 3600.0),
        Some(number) => (number, 1.0),
        None => (text, 1.0),
    };
    match number.parse::<f64>() {
        Ok(v) if v.is_finite() && v > 0.0 => Ok(v * scale),
        _ => Err(format!("`{text}` is not a time; write 60s, 5m or 1h")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn durations_and_pairs() {
        assert_eq!(duration("60s"), Ok(60.0));
        assert_eq!(duration("1.5m"), Ok(90.0));
        assert!(duration("-1").is_err() && duration("x").is_err());
        assert_eq!("M=1, K=2".parse::<Pairs>().expect("pairs").0.len(), 2);
        assert!("M".parse::<Pairs>().is_err());
    }
}
