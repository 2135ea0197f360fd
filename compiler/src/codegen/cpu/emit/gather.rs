//! Lanes of what lies anywhere in a buffer: `x[ci[e]]`. Each lane's number is a vector's, and one instruction loads all of them
//! where the processor has one.

use rooftile_artifact::DType;

use super::super::ssa::{Bin, Lane, Ssa};
use super::Emitter;
use super::address::Varying;
use super::lanes::{Lanes, Val, lane_of};
use crate::nest::ir::{BufferId, ExprId, ExprKind};

/// What moves an address from lane to lane: numbers of 32 bits, or bytes in 64.
enum Numbers<V> {
    /// Each times so many bytes.
    Narrow(Lanes<V>, u8),
    Wide(Lanes<V>),
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
        let (sum, _) = self.address_sum(buffer, index);
        let numbers = self.numbers(&sum.varying, &sum.lanes, lane, n)?;
        let base = self.address(sum.steady);
        let (base, displacement) = self.displaced(base, sum.displacement);
        let (ty, per) = (self.vector_of(lane), self.per_chunk(lane));
        let at = self.at(buffer, base, displacement);
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

    /// What moves the address from lane to lane.
    fn numbers(
        &mut self,
        varying: &[Varying<B::Value>],
        lanes: &[(Option<B::Value>, i64)],
        lane: Lane,
        n: usize,
    ) -> Option<Numbers<B::Value>> {
        // A number of 32 bits or fewer that only moves by elements stays as it is.
        if let ([Varying { part, bytes: bytes @ (1 | 2 | 4 | 8), symbol: None }], []) = (varying, lanes)
            && lane.bytes() == 4
            && let ExprKind::Cast(inner) = self.nest.exprs[*part].kind
            && let DType::Int { signed, bits } = self.nest.exprs[inner].dtype
            && (signed && bits == 32 || (8..32).contains(&bits))
            && let Val::Lanes(numbers) = self.eval(inner)
        {
            return Some(Numbers::Narrow(self.resize(&numbers, Lane::I32, signed, n), *bytes as u8));
        }
        let mut moved = Vec::with_capacity(varying.len() + lanes.len());
        for Varying { part, bytes, symbol } in varying {
            match self.eval(*part) {
                Val::Lanes(numbers) if numbers.ty == Lane::I64 => moved.push((numbers, *symbol, *bytes)),
                _ => return None,
            }
        }
        for (symbol, bytes) in lanes {
            let values = self.lanes.as_ref()?.values.clone();
            let counter = self.iota(Lane::I64, n, |l| values.get(l).copied().unwrap_or(0));
            moved.push((counter, *symbol, *bytes));
        }
        let moved: Vec<_> =
            moved.into_iter().map(|(numbers, symbol, bytes)| self.times(&numbers, symbol, bytes)).collect();
        let add = |a: Lanes<B::Value>, b: Lanes<B::Value>| {
            self.map2(&a, &b, Lane::I64, |e, a, b| e.b.binary(Bin::Add, a, b))
        };
        moved.into_iter().reduce(add).map(Numbers::Wide)
    }

    /// Numbers of 64 bits times bytes and a symbol.
    fn times(&mut self, numbers: &Lanes<B::Value>, symbol: Option<B::Value>, bytes: i64) -> Lanes<B::Value> {
        if symbol.is_none() && bytes > 0 && bytes.count_ones() == 1 {
            return self.map1(numbers, Lane::I64, |e, v| e.shift_const(Bin::Shl, v, bytes.trailing_zeros()));
        }
        let by = match symbol {
            None => self.int64(bytes),
            Some(s) => self.op_const(Bin::Mul, s, bytes),
        };
        let by = self.b.splat(by);
        self.map1(numbers, Lane::I64, |e, v| e.b.binary(Bin::Mul, v, by))
    }
}
