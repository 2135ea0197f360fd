//! Random nests that read elements of one to four bits as lanes, from the first bit of a byte on and from others, side by side,
//! a byte apart or in bytes of their own along another dimension, and what belongs to groups of them.

use rand::RngExt;
use rand::rngs::StdRng;
use rooftile_artifact::{DType, HostExpr, Scalar};
use rooftile_compiler::nest::Builder;
use rooftile_compiler::nest::ir::{BinaryOp, BufferId, ExprId, LoopKind, Space};

use crate::nests::{Case, module};

/// `f(x)` of the elements of a row and of their groups, in several types.
pub(crate) fn generate(rng: &mut StdRng) -> Case {
    let size = rng.random_range(1..4);
    let bits: i64 = rng.random_range(1..5);
    let (per, signed) = (8 / bits, rng.random_bool(0.5));
    let lanes = [2, 3, 4, 5, 8, 13, 16, 16, 32, 32, 64][rng.random_range(0..11)];
    let (passes, blocks) = (rng.random_range(1..5), rng.random_range(1..3));
    let shift = [0, 0, per, 1, 8][rng.random_range(0..5)];
    // Neighbouring lanes' elements are neighbours, or those of neighbouring bytes, or others.
    let stride = [1, 1, per, per, 2, 3][rng.random_range(0..6)];
    let across = rng.random_bool(0.3);
    let most = lanes * (passes + stride) + 8 * blocks + 8;
    let mut b = Builder::new("packed");
    let n = b.add_size("n");
    let scalars: Vec<(ExprId, DType)> = (0..2).map(|_| (b.add_scalar("s", DType::I64), DType::I64)).collect();
    let results = [DType::F32, DType::I32, DType::F64, DType::F16, DType::U8, DType::I8];
    let mut decls = vec![
        (DType::U8, vec![HostExpr::Size(0), (most / per + 1).into()]),
        (DType::F32, vec![HostExpr::Size(0), most.into()]),
        (DType::F16, vec![HostExpr::Size(0), most.into()]),
    ];
    let points = lanes * passes * blocks;
    decls.extend(results.iter().map(|t| (*t, vec![HostExpr::Size(0), points.into()])));
    let bytes = most / per + 1;
    decls.push((DType::U8, vec![HostExpr::Size(0), bytes.into(), points.into()]));
    let buffers: Vec<BufferId> = decls
        .iter()
        .enumerate()
        .map(|(slot, (t, _))| {
            let columns = match slot {
                0 => vec![bytes],
                1 | 2 => vec![most],
                9 => vec![bytes, points],
                _ => vec![points],
            };
            let shape: Vec<ExprId> =
                std::iter::once(n).chain(columns.into_iter().map(|c| b.int(c))).collect();
            b.add_buffer(&format!("g{slot}"), *t, &shape, Space::Global(slot as u32))
        })
        .collect();
    let clamped = |b: &mut Builder, v: ExprId, lo: i64, hi: i64| {
        let (lo, hi) = (b.int(lo), b.int(hi));
        let v = b.max(v, lo);
        b.min(v, hi)
    };
    // Where the row's elements begin, and how many are in a group: known or not.
    let begin = match rng.random_range(0..3) {
        0 => b.int(0),
        1 => b.int(shift.min(7)),
        _ => clamped(&mut b, scalars[0].0, 0, 7),
    };
    let group = match rng.random_range(0..4) {
        0 => b.int(rng.random_range(1..70)),
        1 => b.add_int(n, rng.random_range(0..60)),
        _ => clamped(&mut b, scalars[1].0, 1, 70),
    };
    let zero = b.int(0);
    let (core, row) = b.core_loop("i", (zero, n, 1));
    let end = b.int(lanes * passes);
    let (width, several) = (b.int(lanes), b.int(blocks));
    let eight = b.constant(Scalar::Float(8.0), DType::F32);
    let two = b.constant(Scalar::Float(2.5), DType::F32);
    let choice = rng.random_range(0..4);
    let body = b.for_loop(LoopKind::Serial, "k", (zero, end, lanes), |b, k| {
        vec![b.for_loop(LoopKind::Unrolled, "u", (zero, several, 1), |b, u| {
            vec![b.for_loop(LoopKind::Lanes, "l", (zero, width, 1), |b, l| {
                let (moved, apart) = (b.mul_int(u, shift), b.mul(u, end));
                let (first, point) = (b.add(k, begin), b.add(k, l));
                let lane = b.mul_int(l, if across { 0 } else { stride });
                let x = b.add(first, lane);
                let x = b.add(x, moved);
                let to = b.add(apart, point);
                let of = if across { (buffers[9], x, vec![to]) } else { (buffers[0], x, vec![]) };
                let q = element(b, row, of, (bits, per, signed));
                let number = b.cast(DType::F32, q);
                let about = b.sub(number, eight);
                let about = b.mul(about, two);
                let g = b.binary(BinaryOp::DivNonNeg, x, group);
                let scale = b.load(buffers[1], &[row, g]);
                let scaled = match choice {
                    0 => about,
                    1 => scale,
                    _ => b.mul(about, scale),
                };
                let half = b.load(buffers[2], &[row, g]);
                let values = [scaled, b.cast(DType::I32, q), b.cast(DType::F64, q), half, q, q];
                let mut stores = Vec::new();
                for (n, (value, t)) in values.into_iter().zip(results).enumerate() {
                    let value = b.cast(t, value);
                    stores.push(b.store(buffers[3 + n], &[row, to], value));
                }
                stores
            })]
        })]
    });
    b.add_phase(vec![core], vec![body]);
    let types: Vec<DType> = scalars.iter().map(|s| s.1).collect();
    Case { module: module(b, &decls, &types), size, functions: false, scalars: types }
}

/// An element of so many bits, of so many in a byte.
fn element(
    b: &mut Builder,
    row: ExprId,
    (buffer, x, after): (BufferId, ExprId, Vec<ExprId>),
    (bits, per, signed): (i64, i64, bool),
) -> ExprId {
    let per = b.int(per);
    let place = b.binary(BinaryOp::RemNonNeg, x, per);
    let byte = b.binary(BinaryOp::DivNonNeg, x, per);
    let index: Vec<ExprId> = [row, byte].into_iter().chain(after).collect();
    let byte = b.load(buffer, &index);
    let count = b.mul_int(place, bits);
    let count = b.cast(DType::U8, count);
    let low = b.binary(BinaryOp::Shr, byte, count);
    if !signed {
        let mask = b.constant(Scalar::Int((1 << bits) - 1), DType::U8);
        return b.binary(BinaryOp::And, low, mask);
    }
    let low = b.cast(DType::I8, low);
    let by = b.constant(Scalar::Int(8 - bits), DType::I8);
    let up = b.binary(BinaryOp::Shl, low, by);
    b.binary(BinaryOp::Shr, up, by)
}
