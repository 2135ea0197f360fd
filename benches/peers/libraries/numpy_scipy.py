"""NumPy and SciPy; NumPy's matrix product is the OpenBLAS in its wheel."""

import numpy as np

from . import Way, empty, way


@way("openblas", "gemm_f32_*")
def _(d):
    out = empty((d.M, d.N))
    return Way(lambda: np.matmul(d.A, d.B, out=out), lambda o: {"C": o})


@way("numpy", "batched_matmul")
def _(d):
    out = empty((d.Q, d.M, d.N))
    return Way(lambda: np.matmul(d.A, d.B, out=out), lambda o: {"C": o})


@way("scipy", "spmv")
def _(d):
    import scipy.sparse

    matrix = scipy.sparse.csr_matrix((d.va, d.ci, d.rp), shape=(d.R, d.C))
    return Way(lambda: matrix @ d.x, lambda o: {"y": o})
