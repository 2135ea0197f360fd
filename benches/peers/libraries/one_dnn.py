"""oneDNN by its own interface in C. What torch runs by oneDNN is in `pytorch.py`."""

import ctypes
import sys
from pathlib import Path

from . import Way, at, empty, way


def load():
    found = sorted(Path(sys.prefix).glob("lib/**/libdnnl.so*"))
    if not found:
        raise ImportError("libdnnl.so is not installed")
    return ctypes.CDLL(str(found[0]))


@way("onednn", "gemm_f32_*", name="dnnl_sgemm")
def _(d):
    library, out = load(), empty((d.M, d.N))
    no, one, zero = ctypes.c_char(b"N"), ctypes.c_float(1), ctypes.c_float(0)
    m, n, k = (ctypes.c_int64(v) for v in (d.M, d.N, d.K))

    def call():
        if library.dnnl_sgemm(no, no, m, n, k, one, at(d.A), k, at(d.B), n, zero, at(out), n) != 0:
            raise RuntimeError("dnnl_sgemm refused")
        return out

    return Way(call, lambda o: {"C": o})
