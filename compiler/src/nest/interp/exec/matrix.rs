//! Statements of matrices, element by element.

use super::super::super::eval;
use super::super::super::ir::{BinaryOp, Block, BufferId, Matrix, MatrixOp};
use super::super::InterpError;
use super::super::memory::Access;
use super::{Run, Value};

/// A matrix in its buffer: rows one after the other.
struct Whole {
    buffer: BufferId,
    /// The first element.
    first: usize,
    rows: usize,
    columns: usize,
}

impl Whole {
    fn at(&self, row: usize, column: usize) -> usize {
        self.first + row * self.columns + column
    }
}

impl Run<'_> {
    pub(super) fn matrix(&mut self, op: &MatrixOp) -> Result<(), InterpError> {
        match op {
            MatrixOp::Fill { to, value } => {
                let (v, to) = (self.eval(*value)?, self.whole(to)?);
                for at in to.first..to.at(to.rows, 0) {
                    self.put(to.buffer, at, v)?;
                }
            }
            MatrixOp::Load { to, from } => {
                let to = self.whole(to)?;
                for (row, column, place) in self.elements(&to, from)? {
                    let v = self.get(from.buffer, place)?;
                    self.put(to.buffer, to.at(row, column), v)?;
                }
            }
            MatrixOp::MultiplyAdd { acc, a, b } => {
                let (acc, a, b) = (self.whole(acc)?, self.whole(a)?, self.whole(b)?);
                for row in 0..acc.rows {
                    for column in 0..acc.columns {
                        let mut sum = self.get(acc.buffer, acc.at(row, column))?;
                        for k in 0..a.columns {
                            let x = self.get(a.buffer, a.at(row, k))?;
                            let y = self.get(b.buffer, b.at(k, column))?;
                            sum = self.product_added(acc.buffer, a.buffer, [sum, x, y]);
                        }
                        self.put(acc.buffer, acc.at(row, column), sum)?;
                    }
                }
            }
            MatrixOp::Store { from, to } => {
                let from = self.whole(from)?;
                for (row, column, place) in self.elements(&from, to)? {
                    let v = self.get(from.buffer, from.at(row, column))?;
                    self.put(to.buffer, place, v)?;
                }
            }
        }
        Ok(())
    }

    /// `sum + x * y` in the type of the accumulator.
    fn product_added(&self, acc: BufferId, factor: BufferId, operands: [Value; 3]) -> Value {
        let [t, from] = [acc, factor].map(|b| self.nest().buffers[b].dtype);
        match operands {
            [Value::Defined(sum), Value::Defined(x), Value::Defined(y)] => {
                let [x, y] = [x, y].map(|v| eval::cast(v, from, t));
                let product = eval::binary(BinaryOp::Mul, x, y, t);
                let sum = product.and_then(|p| eval::binary(BinaryOp::Add, sum, p, t));
                sum.map_or(Value::Undefined(0), Value::Defined)
            }
            [sum, x, y] => {
                let undefined = [sum, x, y].into_iter().find(|v| matches!(v, Value::Undefined(_)));
                undefined.unwrap_or(Value::Undefined(0))
            }
        }
    }

    fn whole(&mut self, m: &Matrix) -> Result<Whole, InterpError> {
        let mut index = self.indices(&m.index)?;
        index.extend([0, 0]);
        let first = self.element_at(m.buffer, &index)?;
        let extents = self.views[m.buffer.index()].extents.iter().rev();
        let mut sides = extents.map(|&e| usize::try_from(e).unwrap_or(0));
        let (columns, rows) = (sides.next().unwrap_or(0), sides.next().unwrap_or(0));
        Ok(Whole { buffer: m.buffer, first, rows, columns })
    }

    /// Rows and columns of a matrix, with the elements of the block that belong to them.
    fn elements(&mut self, m: &Whole, block: &Block) -> Result<Vec<(usize, usize, usize)>, InterpError> {
        let corner = self.indices(&block.at)?;
        let mut out = Vec::with_capacity(m.rows * m.columns);
        for row in 0..m.rows {
            for column in 0..m.columns {
                let mut at = corner.clone();
                at[block.rows] = at[block.rows].saturating_add_unsigned(row as u64);
                at[block.columns] = at[block.columns].saturating_add_unsigned(column as u64);
                out.push((row, column, self.element_at(block.buffer, &at)?));
            }
        }
        Ok(out)
    }

    fn get(&mut self, buffer: BufferId, at: usize) -> Result<Value, InterpError> {
        self.touch(buffer, at, Access::Read)?;
        Ok(self.read(buffer, at))
    }

    fn put(&mut self, buffer: BufferId, at: usize, v: Value) -> Result<(), InterpError> {
        self.touch(buffer, at, Access::Write)?;
        self.write(buffer, at, v)
    }
}
