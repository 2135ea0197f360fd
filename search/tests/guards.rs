//! Every guard of the evaluation, each against machine code that breaks what it guards: the candidate is rejected with
//! its label, and the next candidate is evaluated as if nothing had happened; likewise what a GPU does not end. This program
//! is its own worker process.

#[path = "../../runtime/tests/spirv/mod.rs"]
#[allow(dead_code, reason = "one kernel needs a part of it")]
mod spirv;

use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

use rooftile_artifact::host_expr::{HostBinary, HostExpr};
use rooftile_artifact::program::{Bindings, BufferDecl, Code, Kernel, Mode, Phase, Step, TensorParam};
use rooftile_artifact::target::CpuFeatures;
use rooftile_artifact::work::Work;
use rooftile_artifact::{DType, HostTensor, Program, Scalar};
use rooftile_compiler::oracle::{Outputs, Values};
use rooftile_compiler::schedule::plan::{Plan, Verb};
use rooftile_search::bench::{Bench, Effort, Failure, Reason, Sizes};
use rooftile_search::bench_device::Machine;
use rooftile_search::candidate::Recipe;
use rooftile_search::evaluate::local::{Cost, Local, Setup};
use rooftile_search::evaluate::protocol::{Request, Task, send};
use rooftile_search::evaluate::remote::{Launch, Remote, Timeouts};
use rooftile_search::evaluate::serve::serve;
use rooftile_search::evaluate::workload::{Case, Draw, Judged, Look, Workload};

/// `Y[i] = X[i] + X[i]`, as code that differs from recipe to recipe.
struct Twice {
    gpu: bool,
}

/// mov rax,[rdi]; mov r8,[rax]; mov r9,[rax+8]; mov r10,[rdi+8]; mov r10,[r10]
const HEAD: &[u8] =
    &[0x48, 0x8B, 0x07, 0x4C, 0x8B, 0x00, 0x4C, 0x8B, 0x48, 0x08, 0x4C, 0x8B, 0x57, 0x08, 0x4D, 0x8B, 0x12];
/// xor eax,eax; again: cmp rax,r10; jge end; movss xmm0,[r8+rax*4]; addss xmm0,xmm0; movss [r9+rax*4],xmm0; inc rax;
/// jmp again; end: ret
const LOOP: &[u8] = &[
    0x31, 0xC0, 0x4C, 0x39, 0xD0, 0x7D, 0x15, 0xF3, 0x41, 0x0F, 0x10, 0x04, 0x80, 0xF3, 0x0F, 0x58, 0xC0,
    0xF3, 0x41, 0x0F, 0x11, 0x04, 0x81, 0x48, 0xFF, 0xC0, 0xEB, 0xE6, 0xC3,
];

fn code(variant: &str) -> Result<Vec<u8>, Failure> {
    let with = |between: &[u8]| [HEAD, between, LOOP].concat();
    Ok(match variant {
        "right" | "right2" => with(&[]),
        // mulss in place of addss.
        "wrong" => {
            let mut all = with(&[]);
            let at = HEAD.len() + 15;
            all[at] = 0x59;
            all
        }
        // dec r10: the last element is left out.
        "short" => with(&[0x49, 0xFF, 0xCA]),
        // inc r10: one element too many.
        "beyond" => with(&[0x49, 0xFF, 0xC2]),
        // mov dword [r9-4], 0
        "before" => with(&[0x41, 0xC7, 0x41, 0xFC, 0, 0, 0, 0]),
        // mov dword [r8], 0
        "modify" => with(&[0x41, 0xC7, 0x00, 0, 0, 0, 0]),
        // cmp r10, 64; jle; mov r10d, 64: right only where it is checked first.
        "small_only" => with(&[0x49, 0x83, 0xFA, 0x40, 0x7E, 0x06, 0x41, 0xBA, 0x40, 0, 0, 0]),
        // ret: whatever is in the buffer is the result.
        "nothing" => vec![0xC3],
        // cmp r10, 64; jle; ret: nothing where the check is over, as if the last right answer still stood there.
        "small_or_nothing" => with(&[0x49, 0x83, 0xFA, 0x40, 0x7E, 0x01, 0xC3]),
        // jmp to itself
        "hang" => vec![0xEB, 0xFE],
        // ud2
        "crash" => vec![0x0F, 0x0B],
        "compile" => return Err(Failure::new(Reason::Compile, "no registers left")),
        "lost" => return Err(Failure::new(Reason::Crash, "the device is lost")),
        "dead" => return Err(Failure::new(Reason::Timeout, "the device does not answer")),
        "panic" => panic!("a bug of the compiler"),
        "greedy" => {
            // More than there are addresses: the allocator ends the process.
            drop(std::hint::black_box(vec![1u8; 1 << 60]));
            with(&[])
        }
        "scratch" => with(&[]),
        other => return Err(Failure::new(Reason::Illegal, other)),
    })
}

/// The kernel as SPIR-V, a thread for each element.
fn gpu_kernel(variant: &str) -> Result<Kernel, Failure> {
    // More steps than any device makes in a day.
    const FOR_EVER: u64 = 1 << 50;
    let wrong = match variant {
        "right" | "right2" => false,
        "wrong" => true,
        "hang" | "scratch" => false,
        other => return Err(Failure::new(Reason::Illegal, other)),
    };
    let asm = spirv::Asm::new().phase(|a, at| {
        let (x, y) = (a.buffer(at, 0), a.buffer(at, 1));
        let (x, y) = (a.element(x, at.chunk), a.element(y, at.chunk));
        let (v, factor) = (a.load(a.f32, x), a.int(if wrong { 0x4000_0000 } else { 0x3F80_0000 }));
        let factor = a.low(factor);
        let factor = a.float(factor);
        let v = a.fma(v, factor, v);
        a.store(a.f32, y, v);
        if variant == "hang" {
            let last = a.chain(at.chunk, FOR_EVER);
            let last = a.low(last);
            a.store(a.u32, y, last);
        }
    });
    Ok(Kernel { name: "twice".into(), ..asm.kernel(2, Vec::new(), 0) })
}

fn cpu_kernel(variant: &str) -> Result<Kernel, Failure> {
    Ok(Kernel {
        name: "twice".into(),
        buffers: 2,
        sizes: 1,
        scalars: Vec::new(),
        local_bytes: 0.into(),
        phases: vec![Phase { chunks: 1.into() }],
        code: Code::Cpu { bytes: code(variant)?, align: 16, features: CpuFeatures::default() },
    })
}

fn recipe(variant: &str) -> Recipe {
    let verb = Verb::Other { name: variant.to_owned(), anchors: Vec::new(), text: String::new() };
    Recipe { plan: Plan { verbs: vec![verb] }, ..Recipe::default() }
}

fn variant(recipe: &Recipe) -> &str {
    match &recipe.plan.verbs[..] {
        [Verb::Other { name, .. }] => name,
        _ => "",
    }
}

fn sizes(n: i64) -> Sizes {
    Sizes::from([("N".to_owned(), n)])
}

impl Workload for Twice {
    fn hash(&self) -> &str {
        "twice"
    }

    fn look(&mut self, recipe: &Recipe, sizes: &[Sizes]) -> Result<Look, Failure> {
        if variant(recipe) == "illegal" {
            return Err(Failure::new(Reason::Illegal, "no such anchor"));
        }
        Ok(Look { nest: recipe.key(), model_s: vec![1.0; sizes.len()], ..Look::default() })
    }

    fn compile(&mut self, recipe: &Recipe) -> Result<Program, Failure> {
        let variant = variant(recipe);
        let mut kernel = if self.gpu { gpu_kernel(variant)? } else { cpu_kernel(variant)? };
        if variant == "scratch" {
            // A pebibyte for each thread, but none where it is checked first.
            let thousands = HostExpr::binary(HostBinary::Div, HostExpr::Size(0), 1000.into());
            kernel.local_bytes = HostExpr::binary(HostBinary::Mul, thousands, (1i64 << 50).into());
        }
        let buffer = |name: &str| BufferDecl {
            name: name.to_owned(),
            dtype: DType::F32,
            shape: vec![HostExpr::Size(0)],
            packed: None,
        };
        let param = |name: &str, mode| TensorParam { name: name.to_owned(), mode, contracts: Vec::new() };
        Ok(Program {
            name: "twice".into(),
            sizes: vec!["N".into()],
            scalars: Vec::new(),
            params: vec![param("X", Mode::In), param("Y", Mode::Out)],
            buffers: vec![buffer("X"), buffer("Y")],
            requires: Vec::new(),
            kernels: vec![kernel],
            step_vars: 0,
            prepare: Vec::new(),
            steps: vec![Step::Launch {
                kernel: 0,
                buffers: vec![0, 1],
                sizes: vec![HostExpr::Size(0)],
                scalars: Vec::new(),
            }],
        })
    }

    fn work(&self, sizes: &Sizes) -> Result<Work, Failure> {
        let n = sizes["N"] as f64;
        Ok(Work { bytes_read: 4.0 * n, bytes_written: 4.0 * n, flops: n, ..Work::default() })
    }

    fn small_sizes(&self) -> Vec<Sizes> {
        vec![sizes(1), sizes(7), sizes(33)]
    }

    fn case(&self, sizes: &Sizes, seed: u64, draw: Draw) -> Result<Case, Failure> {
        let scale = if draw == Draw::Zeros { 0.0 } else { 1.0 };
        let n = usize::try_from(sizes["N"]).expect("positive");
        let x = HostTensor::from_fn(DType::F32, &[n], |i| {
            let v = (i as u64).wrapping_mul(2654435761).wrapping_add(seed) % 1000;
            Scalar::Float(scale * (v as f64 + 3.0))
        });
        let x = x.map_err(|e| Failure::new(Reason::Memory, e.to_string()))?;
        Ok(Case {
            bindings: Bindings { sizes: vec![sizes["N"]], scalars: Vec::new() },
            tensors: vec![Some(x), None],
            bounds: Vec::new(),
        })
    }

    fn expect(&self, _sizes: &Sizes, case: &Case) -> Result<Outputs, Failure> {
        let x = case.tensors[0].as_ref().expect("an input");
        let twice = (0..x.len()).map(|i| Scalar::Float(2.0 * x.get(i).as_f64()));
        Ok(Outputs { tensors: vec![Values::from_host(x), Values::new(DType::F32, x.shape(), twice)] })
    }

    fn judge(&self, _case: &Case, expected: &Outputs, got: &[HostTensor]) -> Result<Judged, Failure> {
        for i in 0..got[1].len() {
            if got[1].get(i).as_f64() != expected.tensors[1].get(i).as_f64() {
                return Err(Failure::new(Reason::WrongResult, format!("Y[{i}] = {:?}", got[1].get(i))));
            }
        }
        Ok(Judged::default())
    }

    fn null_model(&self, _case: &Case, _expected: &Outputs) -> Option<String> {
        None
    }

    fn baseline(&self) -> Recipe {
        recipe("right")
    }
}

fn open(task: &Task) -> Result<Box<dyn Bench>, Failure> {
    let machine = Machine::open(&task.device, task.threads)?;
    let setup = Setup { profile: None, seed: task.seed, cost: task.cost, cache: None };
    Ok(Box::new(Local::new(Twice { gpu: machine.target().gpu().is_some() }, machine, setup)))
}

fn task() -> Task {
    Task {
        file: "twice".into(),
        text: String::new(),
        entry: None,
        device: "cpu".into(),
        threads: 1,
        profile: None,
        seed: 11,
        cost: Cost::Clock,
        cache: None,
    }
}

fn this() -> PathBuf {
    std::env::current_exe().expect("this test")
}

fn launch(memory: Option<u64>) -> Launch {
    Launch { program: this(), args: vec!["worker".into()], memory }
}

fn remote(memory: Option<u64>) -> Remote {
    let timeouts = Timeouts { setup_s: 30.0, check_s: 1.0, measure_s: 5.0 };
    Remote::start(launch(memory), task(), timeouts).expect("a worker")
}

/// Runs a candidate through all checks and the measurement of one size.
fn judge(bench: &mut dyn Bench, variant: &str) -> Result<f64, Reason> {
    let r = recipe(variant);
    let all = |bench: &mut dyn Bench| -> Result<f64, Failure> {
        bench.prepare(&r, &[sizes(1000)])?;
        bench.verify(&r, 3)?;
        let measured = bench.measure(&r, &sizes(1000), Effort::short(None, None))?;
        Ok(measured.samples[0])
    };
    all(bench).map_err(|f| f.reason)
}

fn labels() {
    let mut worker = remote(None);
    let cases = [
        ("right", None),
        ("wrong", Some(Reason::WrongResult)),
        ("short", Some(Reason::Unwritten)),
        ("beyond", Some(Reason::OutOfBounds)),
        ("before", Some(Reason::OutOfBounds)),
        ("modify", Some(Reason::InputModified)),
        ("small_only", Some(Reason::Unwritten)),
        ("nothing", Some(Reason::Unwritten)),
        ("small_or_nothing", Some(Reason::Unwritten)),
        ("hang", Some(Reason::Timeout)),
        ("crash", Some(Reason::Crash)),
        ("compile", Some(Reason::Compile)),
        ("lost", Some(Reason::Crash)),
        ("dead", Some(Reason::Timeout)),
        ("panic", Some(Reason::Internal)),
        ("illegal", Some(Reason::Illegal)),
        ("scratch", Some(Reason::Memory)),
        ("greedy", Some(Reason::Memory)),
        ("right2", None),
    ];
    for (variant, want) in cases {
        let got = judge(&mut worker, variant);
        assert_eq!(got.err(), want, "{variant}");
        // Whatever happened, the next one is right.
        assert!(judge(&mut worker, "right").is_ok_and(|s| s > 0.0 && s < 1.0), "after {variant}");
    }
    assert_eq!(
        worker.starts(),
        6,
        "who hangs, who crashes, who loses the device and who takes all memory ends the worker"
    );
    let pairs = worker.pair(&recipe("right"), &recipe("right2"), &sizes(1000), 9).expect("both run");
    assert!(pairs.len() == 9 && pairs.iter().all(|(a, b)| *a > 0.0 && *b > 0.0));
}

/// A kernel that never ends on a GPU, which no driver can stop: the process goes, and the next has a fresh device.
fn gpu() {
    let vulkan = Task { device: "vulkan".into(), ..task() };
    if let Err(why) = Machine::open("vulkan", 1) {
        println!("SKIPPED: faults of vulkan ({})", why.detail);
        return;
    }
    // The driver may compile within the check.
    let timeouts = Timeouts { setup_s: 30.0, check_s: 5.0, measure_s: 10.0 };
    let mut worker = Remote::start(launch(None), vulkan, timeouts).expect("a worker");
    for (variant, want) in [
        ("right", None),
        ("wrong", Some(Reason::WrongResult)),
        ("scratch", Some(Reason::Memory)),
        ("hang", Some(Reason::Timeout)),
        ("right2", None),
    ] {
        match (judge(&mut worker, variant).err(), want) {
            // Some devices are reset by their driver first.
            (Some(Reason::Crash), Some(Reason::Timeout)) => {}
            (got, want) => assert_eq!(got, want, "{variant}"),
        }
        assert!(judge(&mut worker, "right").is_ok_and(|s| s > 0.0 && s < 1.0), "after {variant}");
    }
    assert_eq!(worker.starts(), 2, "only the one that hangs ends the worker");
}

fn memory_limit() {
    let mut worker = remote(Some(2 << 30));
    let huge = worker.measure(&recipe("right"), &sizes(1 << 32), Effort::short(None, None));
    let huge = huge.expect_err("more than the limit");
    assert_eq!(huge.reason, Reason::Memory);
    assert!(huge.detail.contains("17179869184 bytes"), "{huge}");
    assert_eq!(worker.starts(), 1, "what is asked for first ends no worker");
    assert!(judge(&mut worker, "right").is_ok());
}

/// A worker whose search is gone ends, even out of a kernel that never returns.
fn orphan() {
    let mut child = Command::new(this())
        .arg("worker")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .expect("starts");
    let mut input = child.stdin.take().expect("a pipe");
    send(&mut input, &Request::Setup(Box::new(task()))).expect("sends");
    send(&mut input, &Request::Verify(recipe("hang"), 0)).expect("sends");
    input.flush().expect("sends");
    std::thread::sleep(Duration::from_millis(300));
    assert!(child.try_wait().expect("waits").is_none(), "it hangs");
    drop(input);
    for _ in 0..500 {
        if child.try_wait().expect("waits").is_some() {
            return;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    child.kill().expect("kills");
    panic!("it outlived its search");
}

fn main() -> ExitCode {
    if std::env::args().nth(1).as_deref() == Some("worker") {
        std::panic::set_hook(Box::new(|_| ()));
        serve(std::io::stdin(), &mut std::io::stdout(), &open);
        return ExitCode::SUCCESS;
    }
    if !cfg!(all(target_arch = "x86_64", target_os = "linux")) {
        println!("skipped: the kernels are x86-64 code for Linux");
        return ExitCode::SUCCESS;
    }
    let tests: [(&str, fn()); 4] =
        [("labels", labels), ("gpu", gpu), ("memory_limit", memory_limit), ("orphan", orphan)];
    for (name, test) in tests {
        test();
        println!("test {name} ... ok");
    }
    ExitCode::SUCCESS
}
