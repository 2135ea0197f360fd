//! The interpreter against the same computations written out in Rust, on samples without a reference in the language.

use std::path::Path;

use rooftile_artifact::{DType, HostTensor, Scalar};
use rooftile_compiler::hir::check;
use rooftile_compiler::hir::ir::File;
use rooftile_compiler::oracle::{Inputs, Options, Outputs, SplitMix, TileDefault, Tiles, run};
use rooftile_compiler::syntax::parse;

fn sample(name: &str) -> File {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/samples").join(name);
    let (ast, _) = parse(&std::fs::read_to_string(path).expect("a sample"));
    check(&ast).0
}

/// Runs an entry at random tiles.
fn evaluate(
    file: &File,
    name: &str,
    sizes: &[(&str, i64)],
    scalars: &[Scalar],
    tensors: Vec<Option<HostTensor>>,
) -> Outputs {
    let func = file.entry(name).expect("the entry");
    let value = |wanted: &str| sizes.iter().find(|(n, _)| *n == wanted).expect("a size").1;
    let sizes = file.funcs[func].sizes.iter().map(|(_, s)| value(&s.name)).collect();
    let inputs = Inputs { sizes, scalars: scalars.to_vec(), tensors };
    let tiles = Tiles { default: TileDefault::Random, shuffle: true, seed: 11, ..Tiles::default() };
    run(file, func, &inputs, &Options { tiles, ..Options::default() }).expect("runs")
}

fn draw(dtype: DType, shape: &[usize], mut f: impl FnMut() -> f64) -> HostTensor {
    HostTensor::from_fn(dtype, shape, |_| Scalar::Float(f())).expect("small")
}

fn floats(t: &HostTensor) -> Vec<f64> {
    (0..t.len()).map(|i| t.get(i).as_f64()).collect()
}

fn close(outputs: &Outputs, param: usize, want: &[f64], tolerance: f64) {
    let got = &outputs.tensors[param];
    assert_eq!(got.len(), want.len());
    for (i, &want) in want.iter().enumerate() {
        let got = got.get(i).as_f64();
        assert!((got - want).abs() <= tolerance * want.abs().max(1.0), "element {i}: {got}, not {want}");
    }
}

/// Neighbour `i + d` of a ring of `n`.
fn ring(i: usize, d: i64, n: usize) -> usize {
    usize::try_from((i as i64 + d).rem_euclid(n as i64)).expect("small")
}

#[test]
fn heat() {
    let (h, w, steps) = (7, 9, 4);
    let mut rng = SplitMix::new(1);
    let u = draw(DType::F32, &[h, w], || rng.unit());
    let al = f64::from(0.1f32);
    let mut now = floats(&u);
    for _ in 0..steps {
        let old = now.clone();
        for y in 1..h - 1 {
            for x in 1..w - 1 {
                let at = |y: usize, x: usize| old[y * w + x];
                let around = at(y - 1, x) + at(y + 1, x) + at(y, x - 1) + at(y, x + 1);
                now[y * w + x] = at(y, x) + al * (around - 4.0 * at(y, x));
            }
        }
    }
    let file = sample("04_heat2d.tile");
    let scalars = [Scalar::Int(steps), Scalar::Float(0.1)];
    let out = evaluate(&file, "heat2d", &[("H", 7), ("W", 9)], &scalars, vec![Some(u)]);
    close(&out, 0, &now, 1e-13);
}

#[test]
fn lattice_boltzmann() {
    let (h, w, steps) = (5, 6, 3);
    let cx = [0i64, 1, 0, -1, 0, 1, -1, -1, 1];
    let cy = [0i64, 0, 1, 0, -1, 1, 1, -1, -1];
    let wt = [4.0 / 9.0, 1.0 / 9.0, 1.0 / 36.0].map(|v: f64| v);
    let weight = |q: usize| {
        wt[if q == 0 {
            0
        } else if q < 5 {
            1
        } else {
            2
        }]
    };
    let mut rng = SplitMix::new(2);
    let f = draw(DType::F32, &[9, h, w], || 0.1 + 0.05 * rng.unit());
    let omega = f64::from(1.2f32);
    let mut now = floats(&f);
    for _ in 0..steps {
        let old = now.clone();
        for y in 0..h {
            for x in 0..w {
                let s: Vec<f64> =
                    (0..9).map(|q| old[(q * h + ring(y, -cy[q], h)) * w + ring(x, -cx[q], w)]).collect();
                let rho: f64 = s.iter().sum();
                let ux = (0..9).map(|q| cx[q] as f64 * s[q]).sum::<f64>() / rho;
                let uy = (0..9).map(|q| cy[q] as f64 * s[q]).sum::<f64>() / rho;
                for q in 0..9 {
                    let cu = cx[q] as f64 * ux + cy[q] as f64 * uy;
                    let eq = weight(q) * rho * (1.0 + 3.0 * cu + 4.5 * cu * cu - 1.5 * (ux * ux + uy * uy));
                    now[(q * h + y) * w + x] = s[q] - omega * (s[q] - eq);
                }
            }
        }
    }
    let file = sample("05_lbm.tile");
    let scalars = [Scalar::Int(steps), Scalar::Float(1.2)];
    let out = evaluate(&file, "lbm", &[("H", 5), ("W", 6)], &scalars, vec![Some(f)]);
    // The file's weights have ten digits.
    close(&out, 0, &now, 1e-7);
}

#[test]
fn bodies() {
    let (n, steps) = (7, 3);
    let mut rng = SplitMix::new(3);
    let p = draw(DType::F32, &[n, 3], || rng.normal());
    let v = draw(DType::F32, &[n, 3], || rng.normal());
    let m = draw(DType::F32, &[n], || 0.5 + rng.unit());
    let (dt, eps2) = (f64::from(0.01f32), f64::from(0.1f32));
    let (mut pos, mut vel, mass) = (floats(&p), floats(&v), floats(&m));
    for _ in 0..steps {
        let old = pos.clone();
        for i in 0..n {
            let mut a = [0.0; 3];
            for j in 0..n {
                let d: Vec<f64> = (0..3).map(|c| old[j * 3 + c] - old[i * 3 + c]).collect();
                let r2 = d.iter().map(|d| d * d).sum::<f64>() + eps2;
                let w = mass[j] / (r2 * r2 * r2).sqrt();
                (0..3).for_each(|c| a[c] += w * d[c]);
            }
            for c in 0..3 {
                vel[i * 3 + c] += dt * a[c];
                pos[i * 3 + c] += dt * vel[i * 3 + c];
            }
        }
    }
    let file = sample("06_nbody.tile");
    let scalars = [Scalar::Int(steps), Scalar::Float(0.01), Scalar::Float(0.1)];
    let out = evaluate(&file, "nbody", &[("N", 7)], &scalars, vec![Some(p), Some(v), Some(m)]);
    close(&out, 0, &pos, 1e-12);
    close(&out, 1, &vel, 1e-12);
}

#[test]
fn molecules() {
    let (n, steps) = (20, 5);
    let (length, rc2, _, dt) =
        (f64::from(6.0f32), f64::from(2.25f32), f64::from(3.24f32), f64::from(0.001f32));
    let mut rng = SplitMix::new(4);
    // A loose lattice, so that forces stay small.
    let mut site = 0;
    let p = draw(DType::F32, &[n, 3], || {
        let (i, c) = (site / 3, site % 3);
        site += 1;
        let cell = [i % 3, i / 3 % 3, i / 9][c];
        2.0 * cell as f64 + 0.6 + 0.6 * rng.unit()
    });
    let v = draw(DType::F32, &[n, 3], || 0.1 * rng.normal());
    let (mut pos, mut vel) = (floats(&p), floats(&v));
    let image = |d: f64| d - length * (d / length).round_ties_even();
    for _ in 0..steps {
        let mut force = vec![0.0; 3 * n];
        for i in 0..n {
            for j in (0..n).filter(|&j| j != i) {
                let d: Vec<f64> = (0..3).map(|c| image(pos[j * 3 + c] - pos[i * 3 + c])).collect();
                let r2: f64 = d.iter().map(|d| d * d).sum();
                if r2 < rc2 {
                    let inv = 1.0 / r2;
                    let inv6 = inv * inv * inv;
                    let g = 24.0 * (2.0 * inv6 * inv6 - inv6) * inv;
                    (0..3).for_each(|c| force[i * 3 + c] -= g * d[c]);
                }
            }
        }
        for i in 0..3 * n {
            vel[i] += dt * force[i];
            let moved = pos[i] + dt * vel[i];
            pos[i] = moved - length * (moved / length).floor();
        }
    }
    let file = sample("07_lj.tile");
    let sizes = [("N", 20), ("M", 3), ("CAP", 20), ("NMAX", 20)];
    let floats = [6.0, 2.25, 3.24, 0.001].map(Scalar::Float);
    let scalars: Vec<Scalar> = [steps, 2].map(Scalar::Int).into_iter().chain(floats).collect();
    let out = evaluate(&file, "lj", &sizes, &scalars, vec![Some(p), Some(v)]);
    close(&out, 0, &pos, 1e-10);
    close(&out, 1, &vel, 1e-10);
}

#[test]
fn spins() {
    let (h, w, steps, seed) = (6usize, 8usize, 5u32, 42u32);
    let mix = |x: u32| {
        let a = (x ^ (x >> 16)).wrapping_mul(0x85EB_CA6B);
        let b = (a ^ (a >> 13)).wrapping_mul(0xC2B2_AE35);
        b ^ (b >> 16)
    };
    let mut rng = SplitMix::new(5);
    let s = draw(DType::I8, &[h, w], || if rng.below(0, 2) == 0 { -1.0 } else { 1.0 });
    let pa = HostTensor::from_fn(DType::F32, &[5], |i| Scalar::Float([1.0, 1.0, 0.5, 0.2, 0.05][i]))
        .expect("small");
    let accept = floats(&pa);
    let mut now: Vec<i64> = (0..h * w).map(|i| s.get(i).as_i64()).collect();
    for step in 0..2 * steps {
        let old = now.clone();
        for y in 0..h {
            for x in 0..w {
                let at = |dy, dx| old[ring(y, dy, h) * w + ring(x, dx, w)];
                let v = at(0, 0);
                let field = at(-1, 0) + at(1, 0) + at(0, -1) + at(0, 1);
                let site = u32::try_from(y * w + x).expect("small");
                let bits = mix(mix(seed.wrapping_add(step.wrapping_mul(0x9E37_79B9))) ^ site) >> 8;
                let u = f64::from(bits) * 5.960_464_477_539_063e-8;
                let p = accept[usize::try_from((v * field + 4).div_euclid(2)).expect("an index")];
                if (x + y) % 2 == step as usize % 2 && u < p {
                    now[y * w + x] = -v;
                }
            }
        }
    }
    let file = sample("08_ising.tile");
    let scalars = [Scalar::Int(i64::from(steps)), Scalar::Int(i64::from(seed))];
    let out = evaluate(&file, "ising", &[("H", 6), ("W", 8)], &scalars, vec![Some(s), Some(pa)]);
    let got: Vec<i64> = (0..h * w).map(|i| out.tensors[0].get(i).as_i64()).collect();
    assert_eq!(got, now);
}

fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

#[test]
fn recurrent_networks() {
    let (t, b, n, d) = (4, 2, 2, 3);
    let mut rng = SplitMix::new(6);
    let wx = draw(DType::Bf16, &[t, 4, b, n, d], || rng.normal());
    let r = draw(DType::Bf16, &[4, n, d, d], || 0.3 * rng.normal());
    let bias = draw(DType::F32, &[4, n, d], || rng.normal());
    let (x, m, c0) = (floats(&wx), floats(&r), floats(&bias));
    let mut want = vec![0.0; t * b * n * d];
    for (bi, ni) in (0..b).flat_map(|b| (0..n).map(move |n| (b, n))) {
        let (mut h, mut c, mut z, mut mx) = (vec![0.0; d], vec![0.0; d], vec![0.0; d], vec![0.0; d]);
        for ti in 0..t {
            let old = h.clone();
            for di in 0..d {
                let gate = |g: usize| {
                    let dot: f64 = (0..d).map(|p| old[p] * m[((g * n + ni) * d + p) * d + di]).sum();
                    x[(((ti * 4 + g) * b + bi) * n + ni) * d + di] + dot + c0[(g * n + ni) * d + di]
                };
                let (i, f, zg, o) = (gate(0), gate(1), gate(2), gate(3));
                let lf = mx[di] + sigmoid(f).ln();
                let new = if ti == 0 { i } else { i.max(lf) };
                let (ig, fg) = ((i - new).exp(), (lf - new).exp());
                c[di] = fg * c[di] + ig * zg.tanh();
                z[di] = (fg * z[di] + ig).max(1.0);
                h[di] = sigmoid(o) * c[di] / z[di];
                mx[di] = new;
                want[((ti * b + bi) * n + ni) * d + di] = h[di];
            }
        }
    }
    let file = sample("14_rnn.tile");
    let sizes = [("T", 4), ("B", 2), ("NH", 2), ("DH", 3)];
    let out = evaluate(&file, "slstm", &sizes, &[], vec![Some(wx), Some(r), Some(bias), None]);
    close(&out, 3, &want, 1e-12);

    let wx = draw(DType::Bf16, &[t, 4, b, d], || rng.normal());
    let r = draw(DType::Bf16, &[4, d, d], || 0.3 * rng.normal());
    let (x, m) = (floats(&wx), floats(&r));
    let mut want = vec![0.0; t * b * d];
    for bi in 0..b {
        let (mut h, mut c) = (vec![0.0; d], vec![0.0; d]);
        for ti in 0..t {
            let old = h.clone();
            for di in 0..d {
                let gate = |g: usize| {
                    let dot: f64 = (0..d).map(|p| old[p] * m[(g * d + p) * d + di]).sum();
                    x[((ti * 4 + g) * b + bi) * d + di] + dot
                };
                c[di] = sigmoid(gate(1)) * c[di] + sigmoid(gate(0)) * gate(2).tanh();
                h[di] = sigmoid(gate(3)) * c[di].tanh();
                want[(ti * b + bi) * d + di] = h[di];
            }
        }
    }
    let out = evaluate(&file, "lstm", &sizes[..], &[], vec![Some(wx), Some(r), None]);
    close(&out, 2, &want, 1e-12);
}
