//! Tiny programs of hand-made x86-64 code.
#![cfg(target_arch = "x86_64")]
#![allow(dead_code, reason = "not every test file uses every program")]

use rooftile_artifact::program::{Code, Contract, Kernel, Mode, Phase, Program, Step};
use rooftile_artifact::target::CpuFeatures;
use rooftile_artifact::{DType, HostExpr};

/// Loads `rax` with the first buffer and `r8d` with the first scalar, then runs `op` for `rdx` in `begin..end`.
fn element_loop(op: [u8; 4]) -> Vec<u8> {
    let mut code = vec![
        0x48, 0x8B, 0x07, // mov rax, [rdi]
        0x48, 0x8B, 0x00, // mov rax, [rax]
        0x4C, 0x8B, 0x47, 0x10, // mov r8, [rdi + 16]
        0x45, 0x8B, 0x00, // mov r8d, [r8]
        0x48, 0x39, 0xCA, // cmp rdx, rcx
        0x7D, 0x09, // jge end
    ];
    code.extend(op);
    code.extend([
        0x48, 0xFF, 0xC2, // inc rdx
        0xEB, 0xF2, // jmp cmp
        0xC3, // end: ret
    ]);
    code
}

/// `x[i] = s` for every chunk `i`; 32-bit elements.
pub(crate) fn store() -> Vec<u8> {
    element_loop([0x44, 0x89, 0x04, 0x90]) // mov [rax + rdx * 4], r8d
}

/// `x[i] += s` for every chunk `i`; 32-bit integers.
pub(crate) fn add() -> Vec<u8> {
    element_loop([0x44, 0x01, 0x04, 0x90]) // add [rax + rdx * 4], r8d
}

/// Sets bits of the status word.
pub(crate) fn report(bits: u8) -> Vec<u8> {
    vec![
        0x48, 0x8B, 0x47, 0x20, // mov rax, [rdi + 32]
        0xF0, 0x83, 0x08, bits, // lock or dword [rax], bits
        0xC3,
    ]
}

/// A kernel of one buffer, one size and one i32 scalar, with as many chunks as the size.
pub(crate) fn kernel(bytes: Vec<u8>) -> Kernel {
    Kernel {
        name: "k".into(),
        buffers: 1,
        sizes: 1,
        scalars: vec![DType::I32],
        local_bytes: 64.into(),
        phases: vec![Phase { chunks: HostExpr::Size(0) }],
        code: Code::Cpu { bytes, align: 16, features: CpuFeatures::default() },
    }
}

/// A launch of kernel 0 on a buffer.
pub(crate) fn launch(buffer: usize, chunks: HostExpr, scalar: HostExpr) -> Step {
    Step::Launch { kernel: 0, buffers: vec![buffer], sizes: vec![chunks], scalars: vec![scalar] }
}

/// A program of the size N, the scalar `s` (i32) and i32 tensors of N elements.
pub(crate) fn program(
    params: &[(&str, Mode)],
    temporaries: usize,
    kernels: Vec<Kernel>,
    steps: Vec<Step>,
) -> Program {
    crate::program::program(params, temporaries, DType::I32, kernels, steps)
}

/// A parameter that promises its range.
pub(crate) fn promise(program: &mut Program, param: usize, contract: Contract) {
    program.params[param].contracts.push(contract);
}
