//! Lanes of what lies anywhere in a buffer: `x[ci[e]]`. Each lane's number is a vector's, and one instruction loads all of them
//! where the processor has one.

use rooftile_artifact::DType;

use super::super::ssa::{Bin, Lane, Ssa, Ty};
use super::Emitter;
use super::lanes::{Lanes, Val, lane_of};
use crate::nest::ir::{BufferId, ExprId, ExprKind};

/// What moves an address from lane to lane: numbers of 32 bits, or bytes in 64.
enum Numbers<V> {
    /// Each times so many bytes.
    Narrow(Lanes<V>, u8),
    Wide(Lanes<V>),
}

/// A part of an address in which lanes differ.
struct Varying<V> {
    /// Of the index; the lane's counter where there is none.
    part: Option<ExprId>,
    /// Bytes for one of it, times the symbol.
    bytes: i64,
    symbol: Option<V>,
}

impl<B: Ssa> Emitter<'_, B> {
    /// Elements of 32 or 64 bits at indices of which some part differs between lanes; `None` where lanes are better loaded one
    /// by one.
    pub(super) fn load_gathered(
        &mut self,
        buffer: BufferId,
        index: &[ExprId],
        n: usize,
    ) -> Option<Lanes<B::Value>> {
        let dtype = self.nest.buffers[buffer].dtype;
        let lane = lane_of(dtype);
        if lane.bytes() < 4 || self.running.is_some() {
            return None;
        }
        let (base, varying) = self.apart(buffer, index);
        let numbers = self.numbers(&varying, lane, n)?;
        let (ty, per) = (self.vector_of(lane), self.per_chunk(lane));
        let at = self.at(buffer, base, 0);
        let chunks = (0..n.div_ceil(per)).map(|c| {
            let count = (n - c * per).min(per);
            match &numbers {
                Numbers::Narrow(lanes, scale) => self.b.gather(ty, count, &lanes.chunks[c..=c], *scale, at),
                Numbers::Wide(lanes) => {
                    let parts = per / self.per_chunk(Lane::I64);
                    let end = ((c + 1) * parts).min(lanes.chunks.len());
                    self.b.gather(ty, count, &lanes.chunks[c * parts..end], 1, at)
                }
            }
        });
        let chunks: Option<_> = chunks.collect();
        Some(Lanes { ty: lane, chunks: chunks? })
    }

    /// The address of an element but for what differs between lanes, and that.
    fn apart(&mut self, buffer: BufferId, index: &[ExprId]) -> (B::Value, Vec<Varying<B::Value>>) {
        let size = self.nest.buffers[buffer].dtype.size() as i64;
        let mut base = match self.bases[buffer.index()] {
            Some(base) => base,
            None => self.int64(0),
        };
        let mut varying = Vec::new();
        for (d, &i) in index.iter().enumerate() {
            let linear = self.linear(i);
            let stride = self.strides[buffer.index()][d];
            let (factor, symbol) = (stride.factor.wrapping_mul(size), stride.symbol.map(|(_, v)| v));
            let mut add = |e: &mut Self, value: Option<B::Value>, times: i64| {
                let bytes = times.wrapping_mul(factor);
                let term = match (value, symbol) {
                    (None, None) => e.int64(bytes),
                    (Some(v), None) | (None, Some(v)) => e.op_const(Bin::Mul, v, bytes),
                    (Some(v), Some(s)) => {
                        let product = e.b.binary(Bin::Mul, v, s);
                        e.op_const(Bin::Mul, product, bytes)
                    }
                };
                base = e.b.binary(Bin::Add, base, term);
            };
            if linear.constant != 0 {
                add(self, None, linear.constant);
            }
            for (e, times) in linear.terms {
                match self.eval(e) {
                    Val::Uniform(v) => add(self, Some(v), times),
                    Val::Lanes(_) => {
                        varying.push(Varying { part: Some(e), bytes: times.wrapping_mul(factor), symbol });
                    }
                }
            }
            if linear.lane != 0 {
                varying.push(Varying { part: None, bytes: linear.lane.wrapping_mul(factor), symbol });
            }
        }
        (base, varying)
    }

    fn numbers(&mut self, varying: &[Varying<B::Value>], lane: Lane, n: usize) -> Option<Numbers<B::Value>> {
        // A number of 32 bits or fewer that only moves by elements stays as it is.
        if let [Varying { part: Some(e), bytes: bytes @ (1 | 2 | 4 | 8), symbol: None }] = varying
            && lane.bytes() == 4
            && let ExprKind::Cast(inner) = self.nest.exprs[*e].kind
            && let DType::Int { signed, bits } = self.nest.exprs[inner].dtype
            && (signed && bits == 32 || (8..32).contains(&bits))
            && let Val::Lanes(lanes) = self.eval(inner)
        {
            return Some(Numbers::Narrow(self.resize(&lanes, Lane::I32, signed, n), *bytes as u8));
        }
        let ty: Ty = self.vector_of(Lane::I64);
        let mut sum: Option<Lanes<B::Value>> = None;
        for Varying { part, bytes, symbol } in varying {
            let lanes = match part {
                Some(e) => match self.eval(*e) {
                    Val::Lanes(lanes) if lanes.ty == Lane::I64 => lanes,
                    _ => return None,
                },
                None => {
                    let values = self.lanes.as_ref()?.values.clone();
                    self.iota(Lane::I64, n, |l| values.get(l).copied().unwrap_or(0))
                }
            };
            let times = match symbol {
                None => None,
                Some(s) => {
                    let bytes = self.op_const(Bin::Mul, *s, *bytes);
                    Some(self.b.splat(bytes))
                }
            };
            let moved = self.map1(&lanes, Lane::I64, |e, v| match times {
                Some(times) => e.b.binary(Bin::Mul, v, times),
                None if *bytes > 0 && bytes.count_ones() == 1 => {
                    e.shift_const(Bin::Shl, v, bytes.trailing_zeros())
                }
                None => {
                    let bytes = e.b.int(ty, *bytes);
                    e.b.binary(Bin::Mul, v, bytes)
                }
            });
            sum = Some(match sum {
                None => moved,
                Some(before) => self.map2(&before, &moved, Lane::I64, |e, a, b| e.b.binary(Bin::Add, a, b)),
            });
        }
        sum.map(Numbers::Wide)
    }
}
