"""FFTW by pyFFTW, planned by measuring. Its plans depend on how quiet the machine is while it plans."""

import numpy as np

from . import Way, empty, way


@way("fftw", "fft3d_*", name="measured")
def _(d):
    import pyfftw

    start, out = empty(d.U.shape, np.complex64), empty(d.U.shape, np.complex64)
    plan = pyfftw.FFTW(start, out, axes=(0, 1, 2), threads=1, flags=("FFTW_MEASURE",))
    # Planning wrote over it.
    start[...] = d.U
    return Way(plan.execute, lambda _: {"U": out})
