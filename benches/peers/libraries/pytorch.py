"""PyTorch: eager (oneDNN, MKL, its own kernels) and compiled by inductor, in inference mode."""

import numpy as np

from . import Way, empty, stepping, way


def torch():
    """The module; settings are made once, since compiled code is guarded by them."""
    import torch as module

    if module.is_grad_enabled():
        module.set_num_threads(1)
        module.set_grad_enabled(False)
    return module


def tensor(array):
    return torch().from_numpy(array)


def named(name, change=lambda o: o):
    return lambda o: {name: change(o).numpy()}


def compiled(function):
    # As one graph: where torch cannot compile the whole, it would run the rest uncompiled without a word.
    return torch().compile(function, dynamic=False, fullgraph=True)


def both(rows, make, result):
    """Registers a function of tensors as an eager way of torch and as a compiled one of inductor. `make` gives the
    function and its arguments."""

    def eager(d):
        function, arguments = make(d)
        return Way(lambda: function(*arguments), result)

    def inductor(d):
        function, arguments = make(d)
        fast = compiled(function)
        return Way(lambda: fast(*arguments), result)

    way("torch", *rows, name="eager")(eager)
    way("inductor", *rows)(inductor)


def _layernorm(d):
    norm = torch().nn.functional.layer_norm
    return lambda x, w, b: norm(x, (d.N,), w, b, d.eps), (tensor(d.X), tensor(d.g), tensor(d.b))


def _cross_entropy(d):
    loss = torch().nn.functional.cross_entropy
    return lambda x, t: loss(x, t, reduction="none"), (tensor(d.X), tensor(d.t.astype(np.int64)))


both(["layernorm"], _layernorm, named("Y"))
both(["cross_entropy"], _cross_entropy, named("L"))
both(["transpose"], lambda d: (lambda x: x.t().contiguous(), (tensor(d.X),)), named("Y"))


@way("torch", "attention", name="sdpa")
def _(d):
    attend = torch().nn.functional.scaled_dot_product_attention
    q, k, v = (tensor(a)[None] for a in (d.Q, d.K, d.V))
    return Way(lambda: attend(q, k, v, is_causal=True, scale=d.sc), named("O", lambda o: o[0]))


# oneDNN as torch calls it.


def _bf16(array):
    return tensor(array.view(np.int16)).view(torch().bfloat16)


@way("onednn", "gemm_bf16", name="torch")
def _(d):
    t, a, b = torch(), _bf16(d.A), _bf16(d.B)
    return Way(lambda: t.mm(a, b), named("C", lambda o: o.float()))


@way("onednn", "gemm_bf16", name="torch, B transposed")
def _(d):
    t, a, b = torch(), _bf16(d.A), _bf16(d.B).t().contiguous().t()
    return Way(lambda: t.mm(a, b), named("C", lambda o: o.float()))


@way("onednn", "conv2d", name="torch nchw")
def _(d):
    convolve, x, w = torch().nn.functional.conv2d, tensor(d.X), tensor(d.Wt)
    return Way(lambda: convolve(x, w, padding=1), named("Y"))


@way("onednn", "conv2d", name="torch nhwc")
def _(d):
    t = torch()
    x, w = (tensor(a).to(memory_format=t.channels_last) for a in (d.X, d.Wt))
    return Way(lambda: t.nn.functional.conv2d(x, w, padding=1), named("Y", lambda o: o.contiguous()))


@way("onednn", "conv2d", name="torch, weights laid out before")
def _(d):
    from torch.utils import mkldnn

    t = torch()
    model = t.nn.Conv2d(d.C, d.K, 3, padding=1, bias=False).eval()
    model.weight.copy_(tensor(d.Wt))
    ready, x = mkldnn.to_mkldnn(model), tensor(d.X).to_mkldnn()
    return Way(lambda: ready(x), named("Y", lambda o: o.to_dense()))


@way("onednn", "lstm", name="torch")
def _(d):
    # torch's order of gates is i, f, g, o, as in the `.tile` file; its weights lie output by input.
    t = torch()
    model = t.nn.LSTM(d.DI, d.DH).eval()

    def rows(a):
        return tensor(np.ascontiguousarray(a.transpose(0, 2, 1).reshape(4 * d.DH, -1)))

    model.weight_ih_l0.copy_(rows(d.Wi))
    model.weight_hh_l0.copy_(rows(d.R))
    model.bias_ih_l0.copy_(tensor(d.b.reshape(-1)))
    model.bias_hh_l0.zero_()
    x = tensor(d.X)
    return Way(lambda: model(x)[0], named("H"))


# Stencils by inductor: a compiled step between two arrays, or on values.


def pingpong(step, start, steps, result):
    """A compiled step that writes its second set of tensors from the first; as `stepping`."""
    fast = compiled(step)
    return stepping(lambda a, b: fast(*views(a), *views(b)), start, steps, result)


def views(arrays):
    return [tensor(array) for array in arrays]


@way("inductor", "heat2d_*")
def _(d):
    al = d.al

    def step(a, b):
        centre = a[1:-1, 1:-1]
        b[1:-1, 1:-1] = centre + al * (a[:-2, 1:-1] + a[2:, 1:-1] + a[1:-1, :-2] + a[1:-1, 2:] - 4 * centre)

    return pingpong(step, [d.u], d.T, lambda s: {"u": s[0]})


@way("inductor", "wave3d")
def _(d):
    c, speed = slice(1, -1), d.c

    def step(u, p):
        v = u[c, c, c]
        around = u[:-2, c, c] + u[2:, c, c] + u[c, :-2, c] + u[c, 2:, c] + u[c, c, :-2] + u[c, c, 2:]
        p[c, c, c] = 2 * v - p[c, c, c] + speed * (around - 6 * v)

    # The faces of both fields are the same, so that a step need not copy them. The second field starts as the past.
    fast = compiled(step)
    u, p = empty(d.u.shape), empty(d.p.shape)

    def reset():
        u[...] = d.u
        p[...] = d.p

    def call():
        now, past = tensor(u), tensor(p)
        for _ in range(d.T):
            fast(now, past)
            now, past = past, now
        return now, past

    return Way(call, lambda o: {"u": o[0].numpy(), "p": o[1].numpy()}, reset)


@way("inductor", "lbm")
def _(d):
    t, omega = torch(), d.omega
    cx, cy = [0, 1, 0, -1, 0, 1, -1, -1, 1], [0, 0, 1, 0, -1, 1, 1, -1, -1]
    weight = [4 / 9] + [1 / 9] * 4 + [1 / 36] * 4

    def step(f):
        s = [t.roll(f[q], (cy[q], cx[q]), (0, 1)) for q in range(9)]
        rho = sum(s)
        ux = (s[1] + s[5] + s[8] - s[3] - s[6] - s[7]) / rho
        uy = (s[2] + s[5] + s[6] - s[4] - s[7] - s[8]) / rho
        common = 1 - 1.5 * (ux * ux + uy * uy)
        moved = []
        for q in range(9):
            cu = cx[q] * ux + cy[q] * uy
            feq = weight[q] * rho * (common + 3 * cu + 4.5 * cu * cu)
            moved.append(s[q] + omega * (feq - s[q]))
        return t.stack(moved)

    fast, start = compiled(step), tensor(d.f)

    def call():
        f = start
        for _ in range(d.T):
            f = fast(f)
        return f

    return Way(call, named("f"))
