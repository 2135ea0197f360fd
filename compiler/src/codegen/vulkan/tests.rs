//! Modules for every operator, type, conversion and loop, checked by `spirv-val` where the variable
//! `ROOFTILE_SPIRV_VAL` names that program.

use std::io::Write;
use std::process::{Command, Stdio};

use rooftile_artifact::program::{Code, Kernel, SpirvCode};
use rooftile_artifact::target::{GpuFeatures, MatrixShape};
use rooftile_artifact::{DType, GpuTarget, Scalar};
use rspirv::dr::{self, Operand};
use rspirv::spirv::{Decoration, ExecutionMode, MemoryAccess, Op};

use super::{CodegenError, compile_nest, disassemble};
use crate::nest::ir::{BinaryOp, BufferId, ExprId, ExprKind, LoopKind, MathFn, Nest, Space, Stmt, UnaryOp};
use crate::nest::{Builder, verify};

const TYPES: [DType; 13] = [
    DType::F64,
    DType::F32,
    DType::F16,
    DType::Bf16,
    DType::Bool,
    DType::I8,
    DType::U8,
    DType::I16,
    DType::U16,
    DType::I32,
    DType::U32,
    DType::I64,
    DType::U64,
];

/// Everything that a device may have.
pub(super) fn full() -> GpuTarget {
    let target = GpuTarget::default();
    let features = GpuFeatures {
        atomics64: true,
        special_values: true,
        subnormals: true,
        whole_subgroups: true,
        half_subnormals: true,
        ..target.features
    };
    GpuTarget { features, ..target }
}

/// The kernel's code, valid as far as can be told here.
pub(super) fn code(nest: Nest, target: &GpuTarget) -> SpirvCode {
    let kernel = kernel(nest, target);
    match kernel.code {
        Code::Spirv(code) => {
            validate(&kernel.name, &code.words);
            code
        }
        Code::Cpu { .. } => panic!("not SPIR-V"),
    }
}

fn kernel(nest: Nest, target: &GpuTarget) -> Kernel {
    let nest = verify(nest).expect("keeps the rules");
    compile_nest(&nest, target).expect("code")
}

fn validate(name: &str, words: &[u32]) {
    let program = match std::env::var_os("ROOFTILE_SPIRV_VAL") {
        Some(program) => program,
        None => return println!("SKIPPED: spirv-val (ROOFTILE_SPIRV_VAL is not set)"),
    };
    let bytes: Vec<u8> = words.iter().flat_map(|w| w.to_le_bytes()).collect();
    let mut child = Command::new(program)
        .args(["--target-env", "vulkan1.3", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("spirv-val starts");
    child.stdin.take().expect("a pipe").write_all(&bytes).expect("reads");
    let out = child.wait_with_output().expect("ends");
    if !out.status.success() {
        let said = String::from_utf8_lossy(&out.stderr).into_owned() + &String::from_utf8_lossy(&out.stdout);
        let module = rspirv::dr::load_words(words).map(|m| rspirv::binary::Disassemble::disassemble(&m));
        panic!("{name}: {said}\n{}", module.unwrap_or_default());
    }
}

pub(super) fn module(code: &SpirvCode) -> dr::Module {
    dr::load_words(&code.words).expect("a module")
}

pub(super) fn count(module: &dr::Module, op: Op) -> usize {
    module.all_inst_iter().filter(|i| i.class.opcode == op).count()
}

/// A kernel that computes one element of type `to` for each of `inputs`, with `n` points.
fn pointwise(inputs: &[DType], to: DType, f: impl FnOnce(&mut Builder, &[ExprId]) -> ExprId) -> Nest {
    let mut b = Builder::new("pointwise");
    let n = b.add_size("n");
    let zero = b.int(0);
    let buffers: Vec<_> =
        (0..).zip(inputs).map(|(slot, &t)| b.add_buffer("x", t, &[n], Space::Global(slot))).collect();
    let y = b.add_buffer("y", to, &[n], Space::Global(inputs.len() as u32));
    let (core, i) = b.core_loop("i", (zero, n, 1));
    let operands: Vec<ExprId> = buffers.iter().map(|&x| b.load(x, &[i])).collect();
    let v = f(&mut b, &operands);
    let store = b.store(y, &[i], v);
    b.add_phase(vec![core], vec![store]);
    b.finish()
}

fn is_half(t: DType) -> bool {
    matches!(t, DType::F16 | DType::Bf16)
}

#[test]
fn every_conversion() {
    for from in TYPES {
        for to in TYPES {
            code(pointwise(&[from], to, |b, v| b.cast(to, v[0])), &full());
        }
    }
}

#[test]
fn every_operator_of_one() {
    use UnaryOp as U;
    for t in TYPES.into_iter().filter(|&t| !is_half(t)) {
        let ops: &[UnaryOp] = match t {
            DType::Bool => &[U::Not],
            DType::F32 | DType::F64 => &[U::Neg, U::Abs, U::Floor, U::Ceil, U::Round, U::Trunc, U::Sqrt],
            _ => &[U::Neg, U::Not, U::Abs, U::Popcount, U::LeadingZeros, U::ReverseBits],
        };
        for &op in ops {
            code(pointwise(&[t], t, |b, v| b.unary(op, v[0])), &full());
        }
    }
}

#[test]
fn every_operator_of_two() {
    use BinaryOp as B;
    for t in TYPES.into_iter().filter(|&t| !is_half(t)) {
        let ops: &[BinaryOp] = match t {
            DType::Bool => &[B::And, B::Or, B::Xor, B::Eq, B::Ne],
            DType::F32 | DType::F64 => {
                &[B::Add, B::Sub, B::Mul, B::Div, B::Min, B::Max, B::Pow, B::Eq, B::Ne, B::Lt, B::Le]
            }
            _ => &[
                B::Add,
                B::Sub,
                B::Mul,
                B::Div,
                B::Rem,
                B::DivNonNeg,
                B::RemNonNeg,
                B::Min,
                B::Max,
                B::And,
                B::Or,
                B::Xor,
                B::Shl,
                B::Shr,
                B::Eq,
                B::Ne,
                B::Lt,
                B::Le,
            ],
        };
        for &op in ops {
            let to = if op.is_comparison() { DType::Bool } else { t };
            code(pointwise(&[t, t], to, |b, v| b.raw(ExprKind::Binary(op, v[0], v[1]), to)), &full());
        }
    }
}

#[test]
fn functions_and_the_rest() {
    for t in [DType::F32, DType::F64] {
        for f in MathFn::ALL {
            code(pointwise(&[t], t, |b, v| b.math(f, v[0])), &full());
        }
        code(pointwise(&[t, t, t], t, |b, v| b.fma(v[0], v[1], v[2])), &full());
    }
    for t in TYPES {
        code(pointwise(&[DType::Bool, t, t], t, |b, v| b.select(v[0], v[1], v[2])), &full());
        let mut b = Builder::new("constant");
        let one = b.constant(Scalar::Float(1.0), t);
        let s = b.add_scalar("s", t);
        let zero = b.int(0);
        let extent = b.int(1);
        let y = b.add_buffer("y", t, &[extent], Space::Global(0));
        let c = b.load(y, &[zero]);
        let held = b.cast(DType::Bool, c);
        let v = b.select(held, one, s);
        let store = b.store(y, &[zero], v);
        b.add_phase(Vec::new(), vec![store]);
        let code = code(b.finish(), &full());
        // One chunk has one thread.
        assert_eq!((code.phases[0].group, code.phases[0].chunks_per_group), (1, 1));
    }
}

#[test]
fn roundings_are_kept() {
    let nest = pointwise(&[DType::F32, DType::F32, DType::F32], DType::F32, |b, v| {
        let p = b.mul(v[0], v[1]);
        b.add(p, v[2])
    });
    let module = module(&code(nest, &full()));
    let no_contraction = Operand::Decoration(Decoration::NoContraction);
    let count =
        |m: &dr::Module| m.annotations.iter().filter(|a| a.operands.contains(&no_contraction)).count();
    assert_eq!(count(&module), 2);
    let there_and_back = pointwise(&[DType::F64], DType::F64, |b, v| {
        let narrow = b.cast(DType::F32, v[0]);
        b.cast(DType::F64, narrow)
    });
    assert_eq!(count(&self::module(&code(there_and_back, &full()))), 2);
    let keeps = |mode: ExecutionMode| {
        let mode = Operand::ExecutionMode(mode);
        module.execution_modes.iter().any(|m| m.operands.contains(&mode))
    };
    assert!(keeps(ExecutionMode::SignedZeroInfNanPreserve) && keeps(ExecutionMode::DenormPreserve));
}

#[test]
fn indices_are_computed_in_32_bits() {
    let mut b = Builder::new("narrow");
    let (m, n) = (b.add_size("m"), b.add_size("n"));
    let x = b.add_buffer("x", DType::F32, &[m, n], Space::Global(0));
    let (zero, eight) = (b.int(0), b.int(8));
    let (ci, i) = b.core_loop("i", (zero, m, 1));
    let (cj, j0) = b.core_loop("j0", (zero, n, 8));
    let body = b.for_loop(LoopKind::Unrolled, "u", (zero, eight, 1), |b, u| {
        let j = b.add(j0, u);
        let last = b.add_int(n, -1);
        let j = b.min(j, last);
        let v = b.load(x, &[i, j]);
        vec![b.store(x, &[i, j], v)]
    });
    b.add_phase(vec![ci, cj], vec![body]);
    let module = module(&code(b.finish(), &full()));
    let wide = module
        .types_global_values
        .iter()
        .find(|t| t.class.opcode == Op::TypeInt && t.operands.first() == Some(&Operand::LiteralBit32(64)));
    let wide = wide.and_then(|t| t.result_id);
    let slow = [Op::UDiv, Op::SDiv, Op::UMod, Op::Select, Op::SLessThan];
    let is_slow = |i: &&dr::Instruction| slow.contains(&i.class.opcode) && i.result_type == wide;
    assert_eq!(module.all_inst_iter().filter(is_slow).count(), 0);
}

/// The sum of products in a block of 8 by 8 registers, from memory or from tiles.
fn matmul_block() -> Nest {
    let mut b = Builder::new("matmul");
    let (m, n, k) = (b.add_size("m"), b.add_size("n"), b.add_size("k"));
    let x = b.add_buffer("x", DType::F32, &[m, k], Space::Global(0));
    let y = b.add_buffer("y", DType::F32, &[k, n], Space::Global(1));
    let z = b.add_buffer("z", DType::F32, &[m, n], Space::Global(2));
    let (zero, eight) = (b.int(0), b.int(8));
    let acc = b.add_buffer("acc", DType::F32, &[eight, eight], Space::Register);
    let nothing = b.constant(Scalar::Float(0.0), DType::F32);
    let (ci, i0) = b.core_loop("i0", (zero, m, 8));
    let (cj, j0) = b.core_loop("j0", (zero, n, 8));
    let block = |b: &mut Builder, f: &mut dyn FnMut(&mut Builder, ExprId, ExprId) -> Vec<Stmt>| {
        b.for_loop(LoopKind::Unrolled, "u", (zero, eight, 1), |b, u| {
            vec![b.for_loop(LoopKind::Lanes, "l", (zero, eight, 1), |b, l| f(b, u, l))]
        })
    };
    let clear = block(&mut b, &mut |b, u, l| vec![b.store(acc, &[u, l], nothing)]);
    let multiply = b.for_loop(LoopKind::Serial, "k", (zero, k, 1), |b, kk| {
        vec![block(b, &mut |b, u, l| {
            let (i, j) = (b.add(i0, u), b.add(j0, l));
            let (p, q) = (b.load(x, &[i, kk]), b.load(y, &[kk, j]));
            let old = b.load(acc, &[u, l]);
            let sum = b.fma(p, q, old);
            vec![b.store(acc, &[u, l], sum)]
        })]
    });
    let write = block(&mut b, &mut |b, u, l| {
        let (i, j) = (b.add(i0, u), b.add(j0, l));
        let v = b.load(acc, &[u, l]);
        vec![b.store(z, &[i, j], v)]
    });
    b.add_phase(vec![ci, cj], vec![clear, multiply, write]);
    b.finish()
}

#[test]
fn a_block_of_registers_is_small_code() {
    let code = code(matmul_block(), &full());
    let module = module(&code);
    // In the loop 16 elements and 64 registers are read, each once; then the registers again.
    let float_loads = count(&module, Op::Load);
    assert!(float_loads < 16 + 64 + 64 + 20, "{float_loads} loads");
    assert_eq!(count(&module, Op::ExtInst), 64);
    println!("8 x 8 block: {} bytes", 4 * code.words.len());
    assert!(code.words.len() < 4000, "{} words", code.words.len());
    let text = disassemble(&kernel(matmul_block(), &full()));
    assert!(text.contains("OpEntryPoint GLCompute") && text.contains("phase0"), "{text}");
}

#[test]
fn every_loop_and_statement() {
    let mut b = Builder::new("loops");
    let n = b.add_size("n");
    let (zero, three, forty) = (b.int(0), b.int(3), b.int(40));
    let x = b.add_buffer("x", DType::I64, &[n, forty], Space::Global(0));
    let near = b.add_buffer("near", DType::Bool, &[forty], Space::Local);
    let far = b.add_buffer("far", DType::U8, &[n, forty], Space::Local);
    let r = b.add_buffer("r", DType::F16, &[three], Space::Register);
    let (core, i) = b.core_loop("i", (zero, n, 3));
    let half = b.constant(Scalar::Float(0.5), DType::F16);
    let fill = b.for_loop(LoopKind::Unrolled, "u", (zero, three, 1), |b, u| vec![b.store(r, &[u], half)]);
    let work = b.for_loop(LoopKind::Serial, "j", (zero, forty, 1), |b, j| {
        let v = b.load(x, &[i, j]);
        let (bind, v) = b.bind("v", v);
        let positive = b.lt(zero, v);
        let (mark, byte) = (b.store(near, &[j], positive), b.cast(DType::U8, v));
        let keep = b.store(far, &[i, j], byte);
        let inner = b.for_loop(LoopKind::Serial, "k", (zero, v, 1), |b, k| {
            let old = b.load(x, &[i, j]);
            let sum = b.add(old, k);
            vec![b.store(x, &[i, j], sum)]
        });
        let (seen, kept) = (b.load(near, &[j]), b.load(far, &[i, j]));
        let kept = b.cast(DType::I64, kept);
        let h = b.constant(Scalar::Int(2), DType::I64);
        let h = b.binary(BinaryOp::RemNonNeg, kept, h);
        let odd = b.cast(DType::Bool, h);
        let then = vec![Stmt::SetStatus(2), inner];
        let otherwise = vec![b.store(x, &[i, j], kept)];
        let choice = Stmt::If { cond: seen, then, otherwise };
        let reg = b.load(r, &[zero]);
        let reg = b.cast(DType::I64, reg);
        let last = Stmt::If { cond: odd, then: vec![b.store(x, &[i, zero], reg)], otherwise: Vec::new() };
        vec![bind, mark, keep, choice, last]
    });
    b.add_phase(vec![core], vec![fill, work]);
    let code = code(b.finish(), &full());
    assert!(code.features.storage8 && !code.features.f64);
}

#[test]
fn atomics_of_both_widths() {
    use BinaryOp as B;
    for t in [DType::I32, DType::U32, DType::I64, DType::U64] {
        let mut b = Builder::new("atomics");
        let n = b.add_size("n");
        let zero = b.int(0);
        let x = b.add_buffer("x", t, &[n], Space::Global(0));
        let y = b.add_buffer("y", t, &[n], Space::Global(1));
        let (core, i) = b.core_loop("i", (zero, n, 1));
        let value = b.load(y, &[i]);
        let mut body: Vec<Stmt> = [B::Add, B::Min, B::Max, B::And, B::Or, B::Xor]
            .into_iter()
            .map(|op| Stmt::Atomic { op, buffer: x, index: vec![zero], value, old: None })
            .collect();
        let old = b.add_var("old", t);
        body.push(Stmt::Atomic { op: B::Add, buffer: x, index: vec![zero], value, old: Some(old) });
        let old = b.var(old);
        body.push(b.store(y, &[i], old));
        b.add_phase(vec![core], body);
        let nest = b.finish();
        assert_eq!(code(nest.clone(), &full()).features.atomics64, t.size() == 8);
        let refused = compile_nest(&verify(nest).expect("keeps the rules"), &GpuTarget::default());
        let refused = refused.err().map(|e| e.to_string());
        assert_eq!(refused.is_some_and(|what| what.contains("atomics on 64-bit integers")), t.size() == 8);
    }
}

/// 16 rows of threads exchange what they loaded, by shared memory.
fn exchange(t: DType, count: u32) -> Nest {
    let mut b = Builder::new("exchange");
    let n = b.add_size("n");
    let x = b.add_buffer("x", t, &[n], Space::Global(0));
    let (zero, all) = (b.int(0), b.int(count.into()));
    let s = b.add_buffer("s", t, &[all], Space::Shared);
    let (core, i0) = b.core_loop("i0", (zero, n, i64::from(count)));
    let left = b.sub(n, i0);
    let hi = b.min(left, all);
    let load = b.for_loop(LoopKind::Threads { count }, "t", (zero, hi, 1), |b, t| {
        let i = b.add(i0, t);
        let v = b.load(x, &[i]);
        vec![b.store(s, &[t], v)]
    });
    let store = b.for_loop(LoopKind::Threads { count }, "t", (zero, hi, 1), |b, t| {
        let from = b.sub(hi, t);
        let from = b.add_int(from, -1);
        let (i, v) = (b.add(i0, t), b.load(s, &[from]));
        vec![b.store(x, &[i], v)]
    });
    b.add_phase(vec![core], vec![load, store]);
    b.finish()
}

#[test]
fn groups_share_memory() {
    for t in TYPES {
        let code = code(exchange(t, 40), &full());
        let phase = &code.phases[0];
        // Whole subgroups.
        assert_eq!((phase.group, phase.chunks_per_group), (64, 1));
        assert_eq!(phase.shared_bytes, 40 * t.size() as u32, "{t}");
        assert_eq!(count(&module(&code), Op::ControlBarrier), 2);
    }
    let narrow = GpuTarget { features: GpuFeatures { i8: false, i16: false, ..full().features }, ..full() };
    for t in TYPES {
        let code = code(exchange(t, 40), &narrow);
        assert_eq!(code.phases[0].shared_bytes, 40 * t.size().max(4) as u32, "{t}");
    }
}

/// Threads give each other what they have in registers.
fn partners(t: DType, count: u32, bits: i64) -> Nest {
    let mut b = Builder::new("partners");
    let n = b.add_size("n");
    let x = b.add_buffer("x", t, &[n], Space::Global(0));
    let (zero, all) = (b.int(0), b.int(count.into()));
    let own = b.add_buffer("own", t, &[all], Space::Register);
    let (core, i0) = b.core_loop("i0", (zero, n, i64::from(count)));
    let by_threads = LoopKind::Threads { count };
    let load = b.for_loop(by_threads, "t", (zero, all, 1), |b, t| {
        let i = b.add(i0, t);
        let v = b.load(x, &[i]);
        vec![b.store(own, &[t], v)]
    });
    let store = b.for_loop(by_threads, "t", (zero, all, 1), |b, t| {
        let bits = b.int(bits);
        let (i, other) = (b.add(i0, t), b.binary(BinaryOp::Xor, t, bits));
        let v = b.load(own, &[other]);
        vec![b.store(x, &[i], v)]
    });
    b.add_phase(vec![core], vec![load, store]);
    b.finish()
}

#[test]
fn threads_exchange_registers() {
    for t in TYPES {
        let code = code(partners(t, 64, 16), &full());
        assert!(code.features.subgroup_shuffle && code.features.whole_subgroups, "{t}");
        let module = module(&code);
        let exchanges = if t.is_int() && t.size() == 8 { 2 } else { 1 };
        assert_eq!(count(&module, Op::GroupNonUniformShuffleXor), exchanges, "{t}");
        assert_eq!(count(&module, Op::ControlBarrier), 0);
    }
    let far = verify(partners(DType::F32, 64, 32)).expect("keeps the rules");
    assert!(compile_nest(&far, &full()).is_err_and(|e| e.to_string().contains("further apart than 32")));
    let none = GpuFeatures { subgroup_shuffle: false, ..full().features };
    let near = verify(partners(DType::F32, 64, 16)).expect("keeps the rules");
    let refused = compile_nest(&near, &GpuTarget { features: none, ..full() });
    assert!(refused.is_err_and(|e| e.to_string().contains("subgroup shuffles")));
}

#[test]
fn what_is_too_large_is_refused() {
    let refused = |nest: Nest, target: &GpuTarget| match compile_nest(
        &verify(nest).expect("keeps the rules"),
        target,
    ) {
        Err(CodegenError::Unsupported { what, .. }) => what,
        other => panic!("{other:?}"),
    };
    let small = GpuTarget { group_threads: 32, ..full() };
    assert!(refused(exchange(DType::F32, 40), &small).contains("40 threads"));
    let small = GpuTarget { shared_bytes: 100, ..full() };
    assert!(refused(exchange(DType::F32, 40), &small).contains("100 bytes"));
    let none = GpuTarget { features: GpuFeatures::default(), ..full() };
    assert!(refused(exchange(DType::F64, 4), &none).contains("f64"));
}

/// A device with a matrix unit.
fn units() -> GpuTarget {
    let shape = |factor, result| MatrixShape { m: 8, n: 4, k: 16, factor, result };
    let matrices = vec![
        shape(DType::F16, DType::F32),
        shape(DType::F16, DType::F16),
        shape(DType::I8, DType::I32),
        shape(DType::U8, DType::U32),
        MatrixShape { m: 8, n: 8, k: 8, factor: DType::F16, result: DType::F16 },
    ];
    GpuTarget { features: GpuFeatures { matrix: true, ..full().features }, matrices, ..full() }
}

/// How a nest of matrices differs from one that each unit takes.
#[derive(Clone, Copy)]
struct Form {
    subgroups: u32,
    /// Columns of the tile that the left factor is loaded from.
    width: i64,
}

const FORM: Form = Form { subgroups: 2, width: 16 };

/// Subgroups multiply a tile in shared memory, and what the launch has, by a factor that is alike everywhere.
fn products(factor: DType, result: DType, form: Form) -> Nest {
    let mut b = Builder::new("products");
    let n = b.add_size("n");
    let (zero, one) = (b.int(0), b.int(1));
    let [m, k, c, width, own] = [8, 16, 4, form.width, form.subgroups.into()].map(|e| b.int(e));
    let x = b.add_buffer("x", factor, &[n, m, k], Space::Global(0));
    let z = b.add_buffer("z", result, &[n, own, c, m], Space::Global(1));
    let tile = b.add_buffer("tile", factor, &[m, width], Space::Shared);
    let left = b.add_buffer("left", factor, &[own, m, k], Space::Matrix);
    let right = b.add_buffer("right", factor, &[own, k, c], Space::Matrix);
    let acc = b.add_buffer("acc", result, &[own, m, c], Space::Matrix);
    let (core, i) = b.core_loop("i", (zero, n, 1));
    let load = b.for_loop(LoopKind::Threads { count: 8 }, "t", (zero, m, 1), |b, t| {
        vec![b.for_loop(LoopKind::Serial, "j", (zero, k, 1), |b, j| {
            let v = b.load(x, &[i, t, j]);
            vec![b.store(tile, &[t, j], v)]
        })]
    });
    let [alike, start] = [factor, result].map(|t| b.constant(Scalar::Int(3), t));
    let work = b.subgroups(form.subgroups, "g", |b, g| {
        let v = b.load(tile, &[g, one]);
        let v = b.cast(result, v);
        let first = vec![b.fill_matrix((acc, &[g]), v)];
        let cond = b.lt(g, one);
        let multiply = |b: &mut Builder| b.multiply_add((acc, &[g]), (left, &[g]), (right, &[g]));
        vec![
            b.fill_matrix((right, &[g]), alike),
            b.fill_matrix((acc, &[g]), start),
            Stmt::If { cond, then: first, otherwise: Vec::new() },
            b.load_matrix((left, &[g]), (tile, &[zero, zero]), (0, 1)),
            b.for_loop(LoopKind::Serial, "k", (zero, n, 1), |b, _| vec![multiply(b)]),
            b.load_matrix((left, &[g]), (x, &[i, zero, zero]), (1, 2)),
            multiply(b),
            b.store_matrix((acc, &[g]), (z, &[i, g, zero, zero]), (3, 2)),
        ]
    });
    b.add_phase(vec![core], vec![load, work]);
    b.finish()
}

#[test]
fn products_of_matrices() {
    for shape in &units().matrices[..4] {
        let code = code(products(shape.factor, shape.result, FORM), &units());
        assert!(code.features.matrix && code.features.whole_subgroups && !code.features.subgroup_shuffle);
        assert_eq!(code.phases[0].group, 64);
        let module = module(&code);
        assert_eq!(count(&module, Op::CooperativeMatrixMulAddKHR), 2);
        assert_eq!(count(&module, Op::CooperativeMatrixLoadKHR), 2);
        assert_eq!(count(&module, Op::CooperativeMatrixStoreKHR), 1);
        // The tile is read when it is whole, and is not written again before.
        assert_eq!(count(&module, Op::ControlBarrier), 2);
        let signed = module.all_inst_iter().any(|i| {
            i.operands.iter().any(|o| matches!(o, Operand::CooperativeMatrixOperands(of) if of.bits() == 15))
        });
        assert_eq!(signed, shape.factor == DType::I8);
    }
    // Matrices aside, nothing asks for a unit.
    assert!(!code(exchange(DType::F16, 40), &units()).features.matrix);
}

#[test]
fn threads_share_memory_beside_matrices() {
    let plain = module(&code(exchange(DType::I8, 40), &units()));
    let matrices = module(&code(products(DType::I8, DType::I32, FORM), &units()));
    let not_private = |m: &dr::Module, op: Op| {
        let marked = |i: &&dr::Instruction| {
            i.operands.iter().any(
                |o| matches!(o, Operand::MemoryAccess(a) if a.contains(MemoryAccess::NON_PRIVATE_POINTER)),
            )
        };
        m.all_inst_iter().filter(|i| i.class.opcode == op).filter(marked).count()
    };
    for op in [Op::Load, Op::Store, Op::CooperativeMatrixLoadKHR, Op::CooperativeMatrixStoreKHR] {
        assert_eq!(not_private(&plain, op), 0);
    }
    // The copy of an element, and all that moves matrices to and from memory.
    assert_eq!(not_private(&matrices, Op::Store), 1);
    assert_eq!(not_private(&matrices, Op::CooperativeMatrixLoadKHR), 2);
    assert_eq!(not_private(&matrices, Op::CooperativeMatrixStoreKHR), 1);
    assert!(not_private(&matrices, Op::Load) >= 2);
}

#[test]
fn what_a_matrix_unit_does_not_do_is_refused() {
    let refused = |nest: Nest, target: &GpuTarget| match compile_nest(
        &verify(nest).expect("keeps the rules"),
        target,
    ) {
        Err(CodegenError::Unsupported { what, .. }) => what,
        other => panic!("{other:?}"),
    };
    let of = |form| products(DType::F16, DType::F32, form);
    let none = GpuTarget { matrices: Vec::new(), ..units() };
    assert_eq!(refused(of(FORM), &none), "a matrix unit for products of 8x16 by 16x4 of f16 in f32");
    let without = |features| GpuTarget { features, ..units() };
    let features = units().features;
    let what = refused(of(FORM), &without(GpuFeatures { matrix: false, ..features }));
    assert!(what.contains("a matrix unit"), "{what}");
    let what = refused(of(FORM), &without(GpuFeatures { whole_subgroups: false, ..features }));
    assert!(what.contains("whole subgroups"), "{what}");
    let what = refused(of(FORM), &without(GpuFeatures { i16: false, ..features }));
    assert!(what.contains("elements of 2 bytes"), "{what}");
    let what = refused(of(Form { subgroups: 16, ..FORM }), &units());
    assert!(what.contains("512 threads"), "{what}");
    let what = refused(of(Form { width: 20, ..FORM }), &units());
    assert!(what.contains("`tile`") && what.contains("aligned to 16 bytes"), "{what}");

    // Other uses of one product of `8 x 8 x 8`.
    let small = |f: &dyn Fn(&mut Builder, [BufferId; 4]) -> Vec<Stmt>| {
        let mut b = Builder::new("small");
        let (eight, n) = (b.int(8), b.add_size("n"));
        let x = b.add_buffer("x", DType::F16, &[eight, eight, n], Space::Global(0));
        let [p, q, r] =
            ["p", "q", "r"].map(|name| b.add_buffer(name, DType::F16, &[eight, eight], Space::Matrix));
        let one = b.constant(Scalar::Int(1), DType::F16);
        let work = b.subgroups(1, "g", |b, _| {
            let mut body: Vec<Stmt> = [p, q, r].map(|m| b.fill_matrix((m, &[]), one)).to_vec();
            body.extend(f(b, [x, p, q, r]));
            let own = b.multiply_add((p, &[]), (q, &[]), (r, &[]));
            body.push(own);
            body
        });
        b.add_phase(Vec::new(), vec![work]);
        refused(b.finish(), &units())
    };
    let twice = small(&|b, [_, p, q, r]| vec![b.multiply_add((r, &[]), (p, &[]), (q, &[]))]);
    assert!(twice.contains("has two roles"), "{twice}");
    let apart = small(&|b, [x, p, ..]| {
        let zero = b.int(0);
        vec![b.load_matrix((p, &[]), (x, &[zero, zero, zero]), (0, 1))]
    });
    assert!(apart.contains("neither rows nor columns"), "{apart}");
    let ragged = small(&|b, [x, p, ..]| {
        let zero = b.int(0);
        vec![b.load_matrix((p, &[]), (x, &[zero, zero, zero]), (1, 2))]
    });
    assert!(ragged.contains("`x`") && ragged.contains("may not be aligned"), "{ragged}");
    let idle = small(&|b, _| {
        let (eight, one) = (b.int(8), b.constant(Scalar::Int(1), DType::F16));
        let idle = b.add_buffer("idle", DType::F16, &[eight, eight], Space::Matrix);
        vec![b.fill_matrix((idle, &[]), one)]
    });
    assert!(idle.contains("`idle`, which no product has"), "{idle}");
}
