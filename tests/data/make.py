#!/usr/bin/env python3
"""Makes the small arrays beside this file, with NumPy alone: an independent statement of seven examples.

Each example NAME gets NAME.IN.npy for its inputs and NAME.OUT.npy for its results. Results are computed in f64 from
the inputs as stored, then rounded to the type of the output. Usage: python3 tests/data/make.py
"""
from pathlib import Path

import numpy as np

HERE = Path(__file__).parent
rng = np.random.default_rng(20260101)


def save(example, **arrays):
    for name, array in arrays.items():
        np.save(HERE / f"{example}.{name}.npy", array)


A = rng.normal(size=(7, 13)).astype(np.float32)
B = rng.normal(size=(13, 9)).astype(np.float32)
save("matmul", A=A, B=B, C=(A.astype(np.float64) @ B.astype(np.float64)).astype(np.float32))

X = (3 * rng.normal(size=(5, 17))).astype(np.float32)
E = np.exp(X.astype(np.float64) - X.max(axis=1, keepdims=True))
save("softmax", X=X, Y=(E / E.sum(axis=1, keepdims=True)).astype(np.float32))

X = (0.5 + 2 * rng.normal(size=(5, 19))).astype(np.float16)
g = (1 + 0.2 * rng.normal(size=19)).astype(np.float32)
b = (0.5 * rng.normal(size=19)).astype(np.float32)
x = X.astype(np.float64)
d = x - x.mean(axis=1, keepdims=True)
Y = d / np.sqrt((d * d).mean(axis=1, keepdims=True) + 1e-5) * g + b
save("layernorm", X=X, g=g, b=b, Y=Y.astype(np.float16))

Q, K, V = (rng.normal(size=(2, 11, 6)).astype(np.float16) for _ in range(3))
q, k, v = (t.astype(np.float64) for t in (Q, K, V))
s = q @ k.transpose(0, 2, 1) * 0.125
s = np.where(np.tril(np.ones((11, 11), bool)), s, -np.inf)
p = np.exp(s - s.max(axis=2, keepdims=True))
save("attention", Q=Q, K=K, V=V, O=(p @ v / p.sum(axis=2, keepdims=True)).astype(np.float16))

x = rng.uniform(size=53).astype(np.float32)
save("scan", x=x, y=np.cumsum(x.astype(np.float64)).astype(np.float32))

x = rng.integers(0, 256, size=301).astype(np.uint8)
h = rng.integers(0, 50, size=256).astype(np.int32)
save("histogram", x=x, h=h, h_after=(h + np.bincount(x, minlength=256)).astype(np.int32))

u = rng.uniform(size=(9, 14)).astype(np.float32)
a = u.astype(np.float64)
for _ in range(5):
    n = a.copy()
    n[1:-1, 1:-1] += 0.2 * (a[:-2, 1:-1] + a[2:, 1:-1] + a[1:-1, :-2] + a[1:-1, 2:] - 4 * a[1:-1, 1:-1])
    a = n
save("heat2d", u=u, u_after=a.astype(np.float32))
