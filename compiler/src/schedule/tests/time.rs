//! Repeats of which several steps are taken at once.

use super::super::plan::TimeStyle;
use super::*;

/// Two dimensions; at the border the nearest point counts.
const HEAT: &str = "pipeline heat(u: inout f32[H,W], T: i32, al: f32) {
  buf v: f32[H,W]
  repeat t in 0..T pingpong (u, v) { step(u, v, al) }
}
kernel step(u: in f32[H,W] edge clamp, v: out f32[H,W], al: f32) {
  for (y, x) in tiles(H, W; by, bx) {
    let c = u[y,x]
    let lap = u[y-1,x] + u[y+1,x] + u[y,x-1] + u[y,x+1] - 4.0 * c
    let inn = y > 0 && y < H - 1 && x > 0 && x < W - 1
    v[y,x] = select(inn, c + 0.2 * al * lap, c)
  }
}";

/// Three dimensions, and two states: the older one becomes the newest.
const WAVE: &str = "pipeline wave(u: inout f32[D,H,W], p: inout f32[D,H,W], T: i32) {
  repeat t in 0..T pingpong (u, p) { step(u, p) }
}
kernel step(u: in f32[D,H,W] edge clamp, p: inout f32[D,H,W]) {
  for (z, y, x) in tiles(D, H, W; bz, by, bx) {
    let v = u[z,y,x]
    let lap = u[z-1,y,x] + u[z+1,y,x] + u[z,y-1,x] + u[z,y+1,x] + u[z,y,x-1] + u[z,y,x+1] - 6.0 * v
    p[z,y,x] = select(z > 0 && y > 0 && x < W - 1, 2.0 * v - p[z,y,x] + 0.1 * lap, v)
  }
}";

/// Offsets from tables, periodic, a dimension beside the grid.
const LATTICE: &str = "const CX: i32[3] = [0, 1, -1]
const CY: i32[3] = [0, -1, 1]
pipeline lattice(f: inout f32[3,H,W], T: i32) {
  buf g: f32[3,H,W]
  repeat t in 0..T pingpong (f, g) { step(f, g) }
}
kernel step(f: in f32[3,H,W] edge wrap, g: out f32[3,H,W]) {
  for (y, x) in tiles(H, W; by, bx) with q in 3 {
    let s = f[q,y-CY[q],x-CX[q]]
    let rho = sum[q](s)
    g[q,y,x] = s - 0.5 * (s - rho / 3.0)
  }
}";

/// Indices as numbers, coefficients on the grid, and a scalar that changes with the steps, all of it periodic.
const PLACES: &str = "pipeline places(u: inout i32[H,W], c: in i32[H,W], r: in i32[W], T: i32) {
  buf v: i32[H,W]
  repeat t in 1..T pingpong (u, v) { step(u, c, r, v, t * 3) }
}
kernel step(u: in i32[H,W] edge wrap, c: in i32[H,W] edge clamp, r: in i32[W], v: out i32[H,W], k: i32) {
  for (y, x) in tiles(H, W; by, bx) {
    let n = u[y-2,x] + 3 * u[y,x+1] + c[y,x] + 5 * c[y-1,x] + r[x]
    v[y,x] = select((y + x + k) % 2 == 0, n % 1000, u[y,x] + i32(y * W + x) * k)
  }
}";

/// Two fields with two pairs.
const FIELDS: &str = "pipeline fields(a: inout f32[H,W], b: inout f32[H,W], T: i32, k: f32) {
  buf c: f32[H,W]
  buf d: f32[H,W]
  repeat t in 0..T pingpong (a, c), (b, d) { step(a, b, c, d, k) }
}
kernel step(a: in f32[H,W] edge wrap, b: in f32[H,W] edge wrap, c: out f32[H,W], d: out f32[H,W], k: f32) {
  for (y, x) in tiles(H, W; by, bx) {
    let r = a[y,x] * b[y,x] * b[y,x] * 0.01 * k
    c[y,x] = 0.6 * a[y,x] + 0.1 * (a[y-1,x] + a[y+1,x] + a[y,x-1] + a[y,x+1]) - r
    d[y,x] = 0.6 * b[y,x] + 0.1 * (b[y-1,x] + b[y+1,x] + b[y,x-1] + b[y,x+1]) + r
  }
}";

/// Two kernels a step, no exchange, and reads further to one side.
const SEQUENCE: &str = "pipeline sequence(u: inout f32[N,M], T: i32) {
  buf w: f32[N,M]
  repeat t in 0..T { first(u, w)  second(w, u) }
}
kernel first(u: in f32[N,M] edge (n reflect, m symmetric), w: out f32[N,M]) {
  for (n, m) in tiles(N, M; bn, bm) { w[n,m] = 0.5 * u[n-3,m] + 0.5 * u[n,m+2] }
}
kernel second(w: in f32[N,M] edge const(0.25), u: out f32[N,M]) {
  for (y, x) in tiles(N, M; bn, bm) { u[y,x] = 0.5 * w[y+1,x] + 0.25 * w[y,x-1] + 0.25 * w[y,x] }
}";

/// Reads that a condition keeps inside, and a line for a grid.
const LINE: &str = "pipeline line(u: inout f32[N], v: inout f32[N], T: i32) {
  repeat t in 0..T pingpong (u, v) { step(u, v) }
}
kernel step(u: in f32[N], v: out f32[N]) {
  for x in tiles(N; bx) {
    v[x] = select(x > 1, u[x-2] * 0.5, 1.0) + select(x < N - 1, u[x+1] * 0.5, 0.0)
  }
}";

const ALL: [&str; 7] = [HEAT, WAVE, LATTICE, PLACES, FIELDS, SEQUENCE, LINE];

fn pipeline(text: &str) -> (File, FuncId) {
    let (file, _) = kernel(text);
    let id = file.funcs.handles().find(|f| file.funcs[*f].kind == FuncKind::Pipeline).expect("a pipeline");
    (file, id)
}

/// Holds a schedule to the oracle at sizes and a number of steps.
fn holds(text: &str, verbs: &str, sizes: &[i64], steps: i64) {
    let (file, id) = pipeline(text);
    let choice = written(verbs, &cpu());
    let mut inputs = cases::inputs_at(&file, id, sizes, 7).expect("inputs");
    for ((_, s), v) in file.funcs[id].scalars.iter().zip(&mut inputs.scalars) {
        if s.name == "T" {
            *v = Scalar::Int(steps);
        }
    }
    let judged = judge(&file, id, &choice, &inputs);
    assert_eq!(judged, Ok(()), "{verbs} at {sizes:?}, {steps} steps of\n{text}");
}

fn sizes(text: &str, extents: [i64; 3]) -> Vec<i64> {
    let (file, id) = pipeline(text);
    let n = file.funcs[id].sizes.len();
    extents[3 - n..].to_vec()
}

#[test]
fn steps_at_once_agree_with_the_oracle() {
    for text in ALL {
        for (verbs, extents) in [
            ("time_tile(t, 2)", [3, 4, 5]),
            ("time_tile(t, 3) tile(y, 4) tile(x, 4) tile(z, 2) tile(n, 3) tile(m, 5)", [5, 7, 11]),
            ("time_tile(t, 2) parallel(y) vector(x, 4) tile(x, 8)", [3, 9, 21]),
            (
                "time_tile(t, 4) parallel(z, y, x) tile(x, 8) tile(y, 5) vector(x, 4) unroll(y, 2)",
                [4, 13, 19],
            ),
            ("time_tile(t, 3) tile(y, 8, 4) tile(x, 16, 8) order(x.0, y.0, x.1, y.1) unroll(q)", [2, 17, 23]),
            ("time_tile(t, 2, style = wavefront)", [3, 4, 5]),
            (
                "time_tile(t, 4, style = wavefront) tile(y, 8, 3) tile(x, 16) vector(x, 16) unroll(q) tile(n, 4)",
                [9, 17, 53],
            ),
            ("time_tile(t, 2, style = wavefront) parallel(z, y, n) vector(x, 16) unroll(z, 2)", [70, 5, 39]),
            ("time_tile(t, 2, style = trapezoid)", [3, 4, 5]),
            (
                "time_tile(t, 3, style = trapezoid) tile(z, 8) tile(y, 16) tile(n, 33) vector(x, 4)",
                [17, 33, 9],
            ),
            (
                "time_tile(t, 2, style = trapezoid) parallel(z, y, n, x) tile(z, 6) tile(y, 11, 4) tile(n, 24) tile(x, 8)",
                [13, 53, 5],
            ),
        ] {
            for steps in [0, 1, 2, 5, 6, 7, 8] {
                holds(text, verbs, &sizes(text, extents), steps);
            }
        }
    }
}

#[test]
fn extents_of_one_and_below_the_halo() {
    for text in ALL {
        for extents in [[1, 1, 1], [1, 2, 1], [2, 1, 3], [3, 3, 2]] {
            for verbs in [
                "time_tile(t, 4)",
                "time_tile(t, 8) tile(x, 2) tile(y, 2)",
                "time_tile(t, 2) tile(x, 64) vector(x, 8)",
                "time_tile(t, 4, style = wavefront) vector(x, 16)",
                "time_tile(t, 8, style = wavefront) tile(x, 2) tile(y, 2)",
                "time_tile(t, 2, style = trapezoid) parallel(z, y, n, x) vector(x, 16)",
            ] {
                for steps in [1, 8, 11] {
                    holds(text, verbs, &sizes(text, extents), steps);
                }
            }
        }
    }
}

/// Whatever else a plan says, several steps at once give what single ones do.
#[test]
fn drawn_plans_with_steps_at_once_agree_with_the_oracle() {
    let doses: u64 = std::env::var("ROOFTILE_PLANS").ok().and_then(|v| v.parse().ok()).unwrap_or(6);
    let (mut legal, mut refused) = (0usize, BTreeMap::<String, usize>::new());
    for text in ALL {
        let (file, id) = pipeline(text);
        let found = anchors::anchors(&file, id);
        assert_eq!(found.repeats, ["t"], "{text}");
        for seed in 0..doses {
            let mut rng = SplitMix::new(seed * 6007 + 5);
            let mut pick = |n: usize| usize::try_from(rng.next_u64() % n as u64).unwrap_or(0);
            let mut plan = draw::random_plan(&found, &mut pick);
            if !plan.verbs.iter().any(|v| matches!(v, Verb::TimeTile { .. })) {
                let steps = Amount::Int([2, 3, 5][pick(3)]);
                let style = [TimeStyle::Overlapped, TimeStyle::Wavefront, TimeStyle::Trapezoid][pick(3)];
                plan.verbs.push(Verb::TimeTile { axis: "t".into(), steps, style });
            }
            let extents = [[3, 10, 21], [2, 5, 34], [4, 17, 9]][pick(3)];
            let mut inputs = cases::inputs_at(&file, id, &sizes(text, extents), seed).expect("inputs");
            for ((_, s), v) in file.funcs[id].scalars.iter().zip(&mut inputs.scalars) {
                if s.name == "T" {
                    *v = Scalar::Int(i64::try_from(pick(9)).unwrap_or(0));
                }
            }
            let allow = Allow { reassoc: true, ..Allow::default() };
            let choice = Choice::Planned { plan, assignment: BTreeMap::new(), allow };
            match judge(&file, id, &choice, &inputs) {
                Ok(()) => legal += 1,
                Err(e) if e.starts_with("[Diagnostic") => *refused.entry(reason(&e)).or_default() += 1,
                Err(e) => panic!("{e}\n{choice:?}\n{inputs:?}\n{text}"),
            }
        }
    }
    assert!(legal > refused.values().sum::<usize>(), "{legal} legal, {refused:?}");
}

/// What a schedule of a pipeline is refused for: the message, the place, and the mend.
fn refusal(text: &str, verbs: &str) -> String {
    let (file, id) = pipeline(text);
    let Err(found) = lower(&file, id, &written(verbs, &cpu()), &cpu()) else { return "legal".into() };
    let shown = found.iter().map(|d| {
        let place = &text[d.primary.span.start as usize..d.primary.span.end as usize];
        format!("{} {} at `{place}`  help: {}", d.code, d.message, d.help.clone().unwrap_or_default())
    });
    shown.collect::<Vec<_>>().join("\n")
}

/// A pipeline of one kernel whose body and parameters are given.
fn stepping(params: &str, body: &str) -> String {
    format!(
        "pipeline p(u: inout f32[H,W], c: in f32[H,W], n: in i32[H,W] range 0..H, T: i32) where H == W {{
  buf v: f32[H,W]
  repeat t in 0..T pingpong (u, v) {{ k(u, v, c, n) }}
}}
kernel k(u: in f32[H,W] edge clamp, v: {params} f32[H,W] edge wrap, c: in f32[H,W], n: in i32[H,W] range 0..H) where H == W {{
{body}
}}"
    )
}

#[test]
fn what_is_no_stencil_is_refused() {
    let said: Vec<String> = [
        ("out", "for (y, x) in tiles(H, W; by, bx) { v[y,x] = u[n[y,x],x] }"),
        ("out", "for (y, x) in tiles(H, W; by, bx) { v[y,x] = u[0,x] + u[y,x] }"),
        ("out", "for (y, x) in tiles(H, W; by, bx) { v[y,x] = u[x,y] }"),
        ("out", "for (y, x) in tiles(H, W; by, bx) { v[y,x] = u[2 * y,x] }"),
        ("out", "for (y, x) in tiles(H, W; by, bx) { v[y,x] = sum[k in 0..y + 1](c[k,x]) + u[y,x] }"),
        ("out", "for y in tiles(H; by) with x in W { v[y,x] = sum[x](u[y,x]) * c[y,x] }"),
        ("inout", "for (y, x) in tiles(1..H - 1, W; by, bx) { v[y,x] = u[y-1,x] }"),
        ("inout", "for (y, x) in tiles(H, W; by, bx) { v[y,x] += u[y-1,x] }"),
        ("inout", "for (y, x) in tiles(H, W; by, bx) { v[n[y,x],x] += u[y,x] }"),
        ("inout", "for (y, x) in tiles(H, W; by, bx) { v[y,x] = u[y-1,x]\n v[y,x] = v[y,x] * 2.0 }"),
        ("out", "for (y, x) in tiles(H, W; by, bx) { v[y,x] = u[y,x] }\nfor (y, x) in tiles(H, W; by, bx) { v[y,x] = c[y,x] }"),
        ("out", "for (y, x) in tiles(H, W; by, bx) { v[y,x] = u[y-1,x] }"),
    ]
    .iter()
    .map(|(params, body)| refusal(&stepping(params, body), "time_tile(t, 2)"))
    .collect();
    insta::assert_snapshot!(said.join("\n"), @r"
    E0504 `time_tile`: this read of `u` is not within a constant distance of `y` at `n[y,x]`  help: index it by `y` plus a number or an element of a constant table
    E0504 `time_tile`: this read of `u` does not move with `y` at `u[0,x]`  help: what is the same for all points has to come from a tensor that the repeat does not write
    E0504 `time_tile`: `u` is not a grid of the extent of `x` at `u[x,y]`  help: tensors of the state have the extents that the loop runs over
    E0504 `time_tile`: this read of `u` is not within a constant distance of `y` at `2 * y`  help: index it by `y` plus a number or an element of a constant table
    E0504 `time_tile`: the bounds of `k` depend on `y` at `k`  help: let it run over all values, and select those that count
    legal
    E0504 `time_tile`: `y` does not run over all of the grid at `y`  help: let the loop start at 0, and select what the border gets in its body
    E0504 `time_tile`: `v` is updated, not set at `v[y,x] += u[y-1,x]`  help: gather instead: `v[..] = ..`, once for each point of the grid
    E0504 `time_tile`: `v` is updated, not set at `v[n[y,x],x] += u[y,x]`  help: gather instead: `v[..] = ..`, once for each point of the grid
    E0504 `time_tile`: `v` is used after it was written at `v[y,x] = v[y,x] * 2.0`  help: keep the new value in a `let`, and store it last
    E0504 `time_tile`: `k` is not one loop over the tiles of a grid at `k`  help: with `time_tile` the kernel of a step is one `for (..) in tiles(..) { .. }`
    legal
    ");
}

#[test]
fn steps_that_cannot_be_taken_at_once_are_refused() {
    let kernel = "kernel k(u: in f32[H,W] edge wrap, v: out f32[H,W], s: f32) {
  for (y, x) in tiles(H, W; by, bx) { v[y,x] = u[y-1,x] * s }
}";
    let pipeline = |body: &str| {
        format!(
            "pipeline p(u: inout f32[H,W], w: inout f32[H,W], T: i32) {{\n buf v: f32[H,W]\n {body}\n}}\n{kernel}"
        )
    };
    let plain = pipeline("repeat t in 0..T pingpong (u, v) { k(u, v, 0.5) }");
    let said = [
        refusal(&plain, "time_tile(t, 65)"),
        refusal(&plain, "time_tile(t, 2, style = trapezoid)"),
        refusal(&plain, "time_tile(t, 4, style = trapezoid) tile(y, 4)"),
        refusal(&plain, "time_tile(t, 1)"),
        refusal(&plain, "time_tile(t, 64)"),
        refusal(
            &pipeline("repeat t in 0..T pingpong (u, v) { k(u, v, 0.5)  copy(v, w) }"),
            "time_tile(t, 2)",
        ),
        refusal(&pipeline("repeat t in 0..T pingpong (u, w) { k(u, v, 0.5) }"), "time_tile(t, 2)"),
        refusal(&pipeline("repeat t in 0..T pingpong (u, w) { k(u, v, 0.5) }"), "time_tile(t, 3)"),
    ];
    insta::assert_snapshot!(said.join("\n"), @r"
    E0504 `time_tile`: 65 steps of `t` at once, of 1 to 64 at `repeat t in 0..T pingpong (u, v) { k(u, v, 0.5) }`  help: take fewer steps
    legal
    E0504 `time_tile`: blocks of 4 along `y` are too small for trapezoids of so many steps at `repeat t in 0..T pingpong (u, v) { k(u, v, 0.5) }`  help: give them at least 7 points, as by tile(y, 7), or take fewer steps
    legal
    legal
    E0504 `time_tile`: a step is a list of calls of kernels at `copy(v, w)`  help: move this out of the repeat, or into a kernel
    legal
    E0504 `time_tile`: `w` takes the place of `u`, which no kernel writes at `u`  help: exchange tensors that the step writes
    ");
}
