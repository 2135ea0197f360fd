"""Halide, compiled in this process: a schedule by hand, and the autoscheduler Adams2019 that comes with it."""

from pathlib import Path

from . import Way, empty, way


def halide():
    import halide as module

    return module


def lanes():
    """Floats in two vectors: what a schedule by hand gives to a loop."""
    hl = halide()
    return 2 * hl.get_jit_target_from_environment().natural_vector_size(hl.Float(32))


def realized(inputs, output, shape, by_hand, result):
    """A way that realizes a function of the inputs: [(parameter, array)]. Without `by_hand` Adams2019 schedules it."""
    hl = halide()
    target = hl.get_jit_target_from_environment()
    if by_hand:
        by_hand()
    else:
        for parameter, array in inputs:
            parameter.set_estimates([(0, int(n)) for n in reversed(array.shape)])
        output.set_estimates([(0, int(n)) for n in reversed(shape)])
        hl.load_plugin(str(next(Path(hl.__file__).parent.glob("lib*/libautoschedule_adams2019.so"))))
        hl.Pipeline(output).apply_autoscheduler(
            target, hl.AutoschedulerParams("Adams2019", {"parallelism": "1"})
        )
    for parameter, array in inputs:
        parameter.set(hl.Buffer(array))
    output.compile_jit(target)
    out = empty(shape)
    buffer = hl.Buffer(out)
    return Way(lambda: output.realize(buffer), lambda _: result(out))


def scheduled(row):
    """Registers a function of (inputs, by hand?) as two ways."""

    def register(make):
        way("halide", row, name="by hand")(lambda d: make(d, True))
        way("halide", row, name="Adams2019")(lambda d: make(d, False))
        return make

    return register


@scheduled("gelu_bias")
def _(d, by_hand):
    hl = halide()
    x, y = hl.Var("x"), hl.Var("y")
    a, b, out = hl.ImageParam(hl.Float(32), 2, "A"), hl.ImageParam(hl.Float(32), 1, "b"), hl.Func("out")
    v = a[x, y] + b[x]
    # v sigmoid(2 sqrt(2/pi) (v + 0.044715 v^3)), which is the form with tanh.
    out[x, y] = v / (1.0 + hl.fast_exp(v * (-1.5957691216 - 0.071354816 * v * v)))
    hand = (lambda: out.vectorize(x, lanes())) if by_hand else None
    return realized([(a, d.X), (b, d.b)], out, d.X.shape, hand, lambda o: {"Y": o})


@scheduled("rmsnorm")
def _(d, by_hand):
    hl = halide()
    x, y = hl.Var("x"), hl.Var("y")
    a, w = hl.ImageParam(hl.Float(32), 2, "A"), hl.ImageParam(hl.Float(32), 1, "w")
    r, s, out = hl.RDom([(0, d.N)], "r"), hl.Func("s"), hl.Func("out")
    s[y] += a[r.x, y] * a[r.x, y]
    out[x, y] = a[x, y] * w[x] * (1.0 / hl.sqrt(s[y] / float(d.N) + d.eps))

    def hand():
        n = lanes()
        out.bound(x, 0, d.N).vectorize(x, n)
        s.compute_at(out, y)
        ro, ri, u = hl.RVar("ro"), hl.RVar("ri"), hl.Var("u")
        parts = s.update().split(r.x, ro, ri, 4 * n).rfactor(ri, u)
        parts.compute_at(out, y).vectorize(u, n).unroll(u)
        parts.update().reorder(u, ro).vectorize(u, n).unroll(u)

    return realized([(a, d.X), (w, d.g)], out, d.X.shape, hand if by_hand else None, lambda o: {"Y": o})


@scheduled("black_scholes")
def _(d, by_hand):
    hl = halide()
    x, y = hl.Var("x"), hl.Var("y")
    spot, strike, time = (hl.ImageParam(hl.Float(32), 1, name) for name in "SXT")
    out, both = hl.Func("out"), hl.Func("both")
    root = hl.sqrt(time[x])
    d1 = (hl.fast_log(spot[x] / strike[x]) + (d.r + 0.5 * d.v * d.v) * time[x]) / (d.v * root)
    d2 = d1 - d.v * root

    def normal(q):
        # Abramowitz and Stegun, 26.2.17: within 7.5e-8.
        k = 1.0 / (1.0 + 0.2316419 * hl.abs(q))
        series = 1.781477937 + k * (-1.821255978 + k * 1.330274429)
        series = k * (0.31938153 + k * (-0.356563782 + k * series))
        tail = 0.39894228 * hl.fast_exp(-0.5 * q * q) * series
        return hl.select(q > 0.0, 1.0 - tail, tail)

    c1, c2 = normal(d1), normal(d2)
    worth = strike[x] * hl.fast_exp(-d.r * time[x])
    both[x] = (spot[x] * c1 - worth * c2, worth * (1.0 - c2) - spot[x] * (1.0 - c1))
    out[x, y] = hl.select(y == 0, both[x][0], both[x][1])

    def hand():
        n, xo = lanes(), hl.Var("xo")
        out.bound(y, 0, 2).split(x, xo, x, 512).reorder(x, y, xo).vectorize(x, n).unroll(y)
        both.compute_at(out, xo).vectorize(x, n)

    inputs = [(spot, d.S), (strike, d.X), (time, d.T)]
    return realized(inputs, out, (2, d.N), hand if by_hand else None, lambda o: {"C": o[0], "P": o[1]})
