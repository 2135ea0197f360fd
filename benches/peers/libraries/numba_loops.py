"""Numba: plain loops, compiled with `fastmath`."""

import math

import numpy as np

from . import Way, empty, stepping, way

f32 = np.float32


def njit(function):
    import numba

    return numba.njit(fastmath=True, error_model="numpy")(function)


@way("numba", "heat2d_*")
def _(d):
    @njit
    def step(a, b):
        n, m = a.shape
        for i in range(1, n - 1):
            for j in range(1, m - 1):
                b[i, j] = a[i, j] + f32(0.2) * (
                    a[i - 1, j] + a[i + 1, j] + a[i, j - 1] + a[i, j + 1] - f32(4) * a[i, j]
                )

    return stepping(lambda a, b: step(a[0], b[0]), [d.u], d.T, lambda s: {"u": s[0]})


@way("numba", "gray_scott")
def _(d):
    du, dv, feed, kill = f32(d.du), f32(d.dv), f32(d.feed), f32(d.kill)

    @njit
    def step(u, v, p, q):
        n, m = u.shape
        for i in range(n):
            up = i - 1 if i > 0 else n - 1
            down = i + 1 if i < n - 1 else 0
            for j in range(m):
                left = j - 1 if j > 0 else m - 1
                right = j + 1 if j < m - 1 else 0
                a = u[i, j]
                b = v[i, j]
                la = u[up, j] + u[down, j] + u[i, left] + u[i, right] - f32(4) * a
                lb = v[up, j] + v[down, j] + v[i, left] + v[i, right] - f32(4) * b
                r = a * b * b
                p[i, j] = a + du * la - r + feed * (f32(1) - a)
                q[i, j] = b + dv * lb + r - (feed + kill) * b

    return stepping(
        lambda a, b: step(a[0], a[1], b[0], b[1]), [d.u, d.v], d.T, lambda s: {"u": s[0], "v": s[1]}
    )


@way("numba", "nbody")
def _(d):
    # A structure of arrays, as a programmer in Numba would hold it; one step.
    eps2, dt = f32(d.eps2), f32(d.dt)

    @njit
    def step(p, v, m, p2, v2):
        n = m.size
        x = p[0]
        y = p[1]
        z = p[2]
        for i in range(n):
            sx = f32(0)
            sy = f32(0)
            sz = f32(0)
            for j in range(n):
                dx = x[j] - x[i]
                dy = y[j] - y[i]
                dz = z[j] - z[i]
                r = f32(1) / math.sqrt(dx * dx + dy * dy + dz * dz + eps2)
                w = m[j] * r * r * r
                sx += w * dx
                sy += w * dy
                sz += w * dz
            v2[0, i] = v[0, i] + dt * sx
            v2[1, i] = v[1, i] + dt * sy
            v2[2, i] = v[2, i] + dt * sz
            p2[0, i] = x[i] + dt * v2[0, i]
            p2[1, i] = y[i] + dt * v2[1, i]
            p2[2, i] = z[i] + dt * v2[2, i]

    start = [np.ascontiguousarray(d.P.T), np.ascontiguousarray(d.V.T)]
    return stepping(
        lambda a, b: step(a[0], a[1], d.m, b[0], b[1]), start, d.T, lambda s: {"P": s[0].T, "V": s[1].T}
    )


@way("numba", "mandelbrot")
def _(d):
    x0, y0, dx, dy, most = f32(d.x0), f32(d.y0), f32(d.dx), f32(d.dy), d.T

    @njit
    def fill(out):
        for i in range(out.shape[0]):
            for j in range(out.shape[1]):
                cx = x0 + dx * f32(j)
                cy = y0 + dy * f32(i)
                x = f32(0)
                y = f32(0)
                k = 0
                while k < most:
                    a = x * x
                    b = y * y
                    if a + b > f32(4):
                        break
                    y = f32(2) * x * y + cy
                    x = a - b + cx
                    k += 1
                out[i, j] = k

    out = empty((d.H, d.W), np.int32)
    return Way(lambda: fill(out), lambda _: {"n": out})


@way("numba", "scan")
def _(d):
    @njit
    def scan(x, y):
        s = f32(0)
        for i in range(x.size):
            s += x[i]
            y[i] = s

    out = empty(d.N)
    return Way(lambda: scan(d.x, out), lambda _: {"y": out})


@way("numba", "histogram")
def _(d):
    @njit
    def count(x, h):
        for i in range(x.size):
            h[x[i]] += 1

    out = d.h.copy()

    def reset():
        out[...] = d.h

    return Way(lambda: count(d.x, out), lambda _: {"h": out}, reset)
