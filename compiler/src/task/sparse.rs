//! Sparse structures: row pointers and columns of matrices in CSR form.

use super::hash::{Stream, logarithm};

/// A family with its numbers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Family {
    /// The 5-point Laplacian of a grid.
    Laplacian5,
    /// Rows of 0 to twice the mean.
    Random(f64),
    /// Row lengths with density `length^-2`.
    PowerLaw(f64),
    /// As [`Family::Random`], without columns.
    Ragged(f64),
}

/// The pattern of a matrix.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Pattern {
    /// One more than rows; starts with 0.
    pub(super) pointers: Vec<i64>,
    /// One per element, ascending in each row.
    pub(super) columns: Vec<i64>,
    /// One per element: 4 on the diagonal and -1 beside it for the Laplacian; else empty.
    pub(super) values: Vec<f64>,
}

/// About how many bytes the pattern of so many rows takes.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "an estimate; too much stays too much"
)]
pub(super) fn bytes(family: Family, rows: u64) -> u128 {
    const WORD: u128 = size_of::<i64>() as u128;
    let per_row = match family {
        // A column and a value for each of five points.
        Family::Laplacian5 => 10,
        Family::Random(mean) | Family::PowerLaw(mean) => mean.max(0.0).ceil() as u128,
        Family::Ragged(_) => 0,
    };
    u128::from(rows).saturating_mul(per_row.saturating_add(1)).saturating_mul(WORD)
}

/// The pattern of `rows` rows and `columns` columns. Row lengths come from `stream` at the row's number, columns at the
/// number of rows plus the element's number.
pub(super) fn pattern(family: Family, rows: u64, columns: u64, stream: Stream) -> Pattern {
    match family {
        Family::Laplacian5 => laplacian(rows),
        Family::Random(mean) | Family::Ragged(mean) => {
            let most = (2.0 * mean).round().max(0.0) as u64;
            let cap = if matches!(family, Family::Ragged(_)) { u64::MAX } else { columns };
            let lengths = (0..rows).map(|r| stream.below(r, most + 1).min(cap));
            fill(lengths, rows, columns, stream, !matches!(family, Family::Ragged(_)))
        }
        Family::PowerLaw(mean) => {
            let least = smallest(mean, columns as f64);
            let length = |r| ((least / stream.unit(r).max(f64::MIN_POSITIVE)) as u64).min(columns);
            fill((0..rows).map(length), rows, columns, stream, true)
        }
    }
}

/// The smallest length `x` of a distribution of density `x / length^2` on `x..cap` (all above `cap` at `cap`) whose mean,
/// `x (1 + ln(cap / x))`, is `mean`.
fn smallest(mean: f64, cap: f64) -> f64 {
    let (mut lo, mut hi) = (1e-9, mean.min(cap).max(1e-9));
    for _ in 0..60 {
        let x = 0.5 * (lo + hi);
        if x * (1.0 + logarithm(cap / x)) < mean {
            lo = x;
        } else {
            hi = x;
        }
    }
    lo
}

fn fill(
    lengths: impl Iterator<Item = u64>,
    rows: u64,
    columns: u64,
    stream: Stream,
    placed: bool,
) -> Pattern {
    let mut out = Pattern { pointers: vec![0], ..Pattern::default() };
    let mut elements = 0u64;
    for n in lengths {
        for k in 0..if placed { n } else { 0 } {
            // Each element has a part of the columns to itself, so they are different and ascending.
            let part = |k: u64| (u128::from(k) * u128::from(columns) / u128::from(n)) as u64;
            let at = part(k) + stream.below(rows + elements + k, part(k + 1) - part(k));
            out.columns.push(signed(at));
        }
        elements += n;
        out.pointers.push(signed(elements));
    }
    out
}

fn signed(v: u64) -> i64 {
    i64::try_from(v).unwrap_or(i64::MAX)
}

fn laplacian(rows: u64) -> Pattern {
    let height = (1..).take_while(|h| h * h <= rows).filter(|h| rows.is_multiple_of(*h)).last().unwrap_or(1);
    let width = rows / height.max(1);
    let mut out = Pattern { pointers: vec![0], ..Pattern::default() };
    for r in 0..rows {
        let (y, x) = (r / width, r % width);
        let mut add = |there: bool, column: u64, value: f64| {
            if there {
                out.columns.push(signed(column));
                out.values.push(value);
            }
        };
        add(y > 0, r.wrapping_sub(width), -1.0);
        add(x > 0, r.wrapping_sub(1), -1.0);
        add(true, r, 4.0);
        add(x + 1 < width, r + 1, -1.0);
        add(y + 1 < height, r + width, -1.0);
        out.pointers.push(signed(out.columns.len() as u64));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(p: &Pattern, rows: u64, columns: u64) {
        assert_eq!(p.pointers.len() as u64, rows + 1);
        assert_eq!(*p.pointers.last().expect("one more than rows"), p.columns.len() as i64);
        for row in p.pointers.windows(2) {
            assert!(row[0] <= row[1]);
            let row = &p.columns[row[0] as usize..row[1] as usize];
            assert!(row.windows(2).all(|c| c[0] < c[1]), "{row:?}");
            assert!(row.iter().all(|c| (0..columns as i64).contains(c)));
        }
    }

    #[test]
    fn rows_are_sorted_sets_of_columns() {
        let stream = Stream::new(3, "rp");
        for (rows, columns) in [(1, 1), (7, 5), (100, 1000), (1000, 3)] {
            for family in [Family::Random(2.5), Family::PowerLaw(3.0)] {
                check(&pattern(family, rows, columns, stream), rows, columns);
            }
        }
        let p = pattern(Family::Random(8.0), 10_000, 10_000, stream);
        assert!((p.columns.len() as f64 / 10_000.0 - 8.0).abs() < 0.2);
        let p = pattern(Family::PowerLaw(8.0), 10_000, 10_000, stream);
        let mean = p.columns.len() as f64 / 10_000.0;
        let longest = p.pointers.windows(2).map(|w| w[1] - w[0]).max().expect("rows");
        assert!((4.0..16.0).contains(&mean) && longest > 1000, "{mean} {longest}");
    }

    #[test]
    fn the_laplacian_is_symmetric_and_has_five_points() {
        let p = pattern(Family::Laplacian5, 12, 12, Stream::new(0, ""));
        check(&p, 12, 12);
        // 3 by 4: twelve diagonals, and twice the 8 + 9 edges.
        assert_eq!(p.columns.len(), 12 + 2 * (8 + 9));
        assert_eq!(p.values.iter().sum::<f64>(), 4.0 * 12.0 - 34.0);
        check(&pattern(Family::Laplacian5, 13, 13, Stream::new(0, "")), 13, 13);
    }
}
