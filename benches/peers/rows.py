"""The rows of the table: what is computed, on what data, by whom, and how near ours must come.

Arrays and numbers have the names that the `.tile` file gives them. Sizes are the row's own.
"""

from dataclasses import dataclass, field, replace
from typing import Any, Callable

import numpy as np

from data import bf16_bits, floats, hashed, integers, laplacian


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    name: str
    # What is shown of the peer, and the libraries whose best way it is.
    peer: str
    libraries: tuple[str, ...]
    # Our time over the peer's is to be at most this.
    goal: float
    # The file of `dsl-examples/`.
    example: str
    sizes: dict[str, int]
    inputs: Callable[[Any], dict[str, np.ndarray]]
    outputs: tuple[str, ...]
    # Largest difference that is no difference, relative to the largest element.
    tolerance: float
    numbers: dict[str, float] = field(default_factory=dict)
    # Element types exchanged in the example's text: the peer has others.
    types: dict[str, str] = field(default_factory=dict)
    # A run changes its inputs: they are put back before each sample, and a sample is one run.
    in_place: bool = False
    # Sizes at which the search differs from the row: where the oracle would be too slow.
    searched: dict[str, int] = field(default_factory=dict)
    # Seconds of search, where the row says how many.
    seconds: int | None = None
    # Instead of a bound on the difference: the share of elements that may differ, where roundings decide.
    share: float = 0.0


class N(dict):
    """Sizes as attributes, for the functions that make inputs."""

    __getattr__ = dict.__getitem__


def gemm(n):
    return Row(
        f"gemm_f32_{n}",
        "best of ONNX Runtime, oneDNN, OpenBLAS",
        ("onnxruntime", "onednn", "openblas"),
        1.03,
        "matmul",
        {"M": n, "N": n, "K": n},
        lambda s: {"A": floats((s.M, s.K), 1, -1, 1), "B": floats((s.K, s.N), 2, -1, 1)},
        ("C",),
        2e-5,
    )


def heat(side, steps, label, libraries, goal, suffix=""):
    return Row(
        f"heat2d_{side}x{steps}{suffix}",
        label,
        libraries,
        goal,
        "heat2d",
        {"H": side, "W": side, "T": steps},
        lambda s: {"u": floats((s.H, s.W), 1, 0, 1)},
        ("u",),
        2e-5,
        numbers={"al": 0.2},
        in_place=True,
    )


def fft(n):
    return Row(
        f"fft3d_{n}",
        "FFTW measured",
        ("fftw",),
        1.2,
        "fft3d",
        {"N": n},
        lambda s: {"U": floats((s.N, s.N, s.N, 2), 1, -1, 1).view(np.complex64)[..., 0]},
        ("U",),
        1e-5,
        in_place=True,
    )


def wave_inputs(s):
    """Two fields whose faces are the same, since the peer leaves them alone."""
    u = floats((s.D, s.H, s.W), 1, -1, 1)
    p = floats((s.D, s.H, s.W), 2, -1, 1)
    inside = (slice(1, -1),) * 3
    past = u.copy()
    past[inside] = p[inside]
    return {"u": u, "p": past}


def lbm_inputs(s):
    weights = np.array([4 / 9] + [1 / 9] * 4 + [1 / 36] * 4, np.float32)
    noise = np.stack([floats((s.H, s.W), q + 1, -1, 1) for q in range(9)])
    return {"f": weights[:, None, None] * (1 + np.float32(0.01) * noise)}


def lstm_inputs(s):
    a = 1 / np.sqrt(s.DH)
    return {
        "X": floats((s.T, s.B, s.DI), 1, -1, 1),
        "Wi": floats((4, s.DI, s.DH), 2, -a, a),
        "R": floats((4, s.DH, s.DH), 3, -a, a),
        "b": floats((4, s.DH), 4, -a, a),
    }


ROWS = [
    gemm(256),
    gemm(512),
    gemm(1000),
    gemm(1024),
    Row(
        "gemm_bf16",
        "oneDNN",
        ("onednn",),
        1.10,
        "matmul_bf16",
        {"M": 1024, "N": 1024, "K": 1024},
        lambda s: {
            "A": bf16_bits(floats((s.M, s.K), 1, -1, 1)),
            "B": bf16_bits(floats((s.K, s.N), 2, -1, 1)),
        },
        ("C",),
        # The peer rounds its results to bf16.
        5e-3,
    ),
    Row(
        "gemm_i8",
        "ONNX Runtime",
        ("onnxruntime",),
        1.10,
        "matmul_i8",
        {"M": 1024, "N": 1024, "K": 1024},
        # Seven bits, so that no way of adding pairs of products overflows 16 bits.
        lambda s: {
            "A": integers((s.M, s.K), 1, 128).astype(np.uint8),
            "B": (integers((s.K, s.N), 2, 128).astype(np.int32) - 64).astype(np.int8),
        },
        ("C",),
        0.0,
    ),
    Row(
        "batched_matmul",
        "numpy",
        ("numpy",),
        0.95,
        "batched_matmul",
        {"Q": 4096, "M": 32, "N": 32, "K": 32},
        lambda s: {"A": floats((s.Q, s.M, s.K), 1, -1, 1), "B": floats((s.Q, s.K, s.N), 2, -1, 1)},
        ("C",),
        1e-5,
    ),
    Row(
        "conv2d",
        "oneDNN",
        ("onednn",),
        1.10,
        "conv2d",
        {"B": 1, "C": 64, "H": 56, "W": 56, "K": 64},
        lambda s: {"X": floats((s.B, s.C, s.H, s.W), 1, -1, 1), "Wt": floats((s.K, s.C, 3, 3), 2, -1, 1)},
        ("Y",),
        2e-5,
    ),
    Row(
        "softmax",
        "ONNX Runtime",
        ("onnxruntime",),
        0.8,
        "softmax",
        {"M": 4096, "N": 1024},
        lambda s: {"X": floats((s.M, s.N), 1, -4, 4)},
        ("Y",),
        1e-5,
    ),
    Row(
        "rmsnorm",
        "Halide",
        ("halide",),
        0.6,
        "rmsnorm",
        {"M": 4096, "N": 4096},
        lambda s: {"X": floats((s.M, s.N), 1, -1, 1), "g": floats((s.N,), 2, 0.5, 1.5)},
        ("Y",),
        1e-5,
        numbers={"eps": 1e-5},
    ),
    Row(
        "layernorm",
        "torch",
        ("torch",),
        0.5,
        "layernorm",
        {"M": 4096, "N": 4096},
        lambda s: {
            "X": floats((s.M, s.N), 1, -1, 1),
            "g": floats((s.N,), 2, 0.5, 1.5),
            "b": floats((s.N,), 3, -1, 1),
        },
        ("Y",),
        1e-5,
        numbers={"eps": 1e-5},
        types={"f16": "f32"},
    ),
    Row(
        "cross_entropy",
        "inductor",
        ("inductor",),
        0.5,
        "cross_entropy",
        {"B": 1024, "V": 32000},
        lambda s: {
            "X": floats((s.B, s.V), 1, -4, 4),
            "t": (hashed(s.B, 2) % np.uint32(s.V)).astype(np.int32),
        },
        ("L",),
        1e-5,
    ),
    Row(
        "gelu_bias",
        "Halide",
        ("halide",),
        0.8,
        "gelu_bias",
        {"M": 4096, "N": 4096},
        lambda s: {"X": floats((s.M, s.N), 1, -3, 3), "b": floats((s.N,), 2, -1, 1)},
        ("Y",),
        1e-5,
    ),
    Row(
        "transpose",
        "torch",
        ("torch",),
        0.5,
        "transpose",
        {"M": 4096, "N": 4096},
        lambda s: {"X": floats((s.M, s.N), 1, -1, 1)},
        ("Y",),
        0.0,
    ),
    Row(
        "attention",
        "torch SDPA",
        ("torch",),
        0.7,
        "attention",
        {"BH": 8, "S": 1024, "D": 64},
        lambda s: {name: floats((s.BH, s.S, s.D), seed, -1, 1) for seed, name in enumerate("QKV", 1)},
        ("O",),
        2e-5,
        numbers={"sc": 0.125},
        types={"f16": "f32"},
    ),
    Row(
        "int4_gemv",
        "ONNX Runtime, exact",
        ("onnxruntime",),
        0.55,
        "int4_gemv",
        {"M": 4096, "K": 4096, "G": 32},
        lambda s: {
            "Wq": integers((s.M, s.K), 1, 16).astype(np.uint8),
            "S": floats((s.M, s.K // s.G), 2, 0.01, 0.02),
            "x": floats((s.K,), 3, -1, 1),
        },
        ("y",),
        1e-5,
    ),
    heat(1024, 50, "Numba", ("numba",), 0.7),
    heat(4096, 10, "inductor", ("inductor",), 0.4),
    heat(4096, 10, "time-tiled C", ("c",), 0.9, suffix="_c"),
    Row(
        "wave3d",
        "inductor",
        ("inductor",),
        0.6,
        "wave3d",
        {"D": 128, "H": 128, "W": 128, "T": 20},
        wave_inputs,
        ("u", "p"),
        5e-5,
        numbers={"c": 0.1},
        in_place=True,
    ),
    Row(
        "lbm",
        "inductor",
        ("inductor",),
        0.5,
        "lbm",
        {"H": 512, "W": 512, "T": 50},
        lbm_inputs,
        ("f",),
        2e-5,
        numbers={"omega": 1.5},
        in_place=True,
    ),
    Row(
        "gray_scott",
        "Numba",
        ("numba",),
        0.5,
        "gray_scott",
        {"H": 1024, "W": 1024, "T": 50},
        lambda s: {
            "u": np.float32(0.5) + np.float32(0.5) * floats((s.H, s.W), 1, 0, 1),
            "v": np.float32(0.25) * floats((s.H, s.W), 2, 0, 1),
        },
        ("u", "v"),
        2e-5,
        numbers={"du": 0.16, "dv": 0.08, "feed": 0.06, "kill": 0.062},
        in_place=True,
    ),
    Row(
        "nbody",
        "Numba",
        ("numba",),
        0.95,
        "nbody",
        {"N": 4096, "T": 1},
        lambda s: {
            "P": floats((s.N, 3), 1, -1, 1),
            "V": floats((s.N, 3), 2, -0.1, 0.1),
            "m": floats((s.N,), 3, 0.5, 1.5),
        },
        ("P", "V"),
        2e-5,
        numbers={"dt": 1e-3, "eps2": 1e-2},
        in_place=True,
    ),
    Row(
        "mandelbrot",
        "Numba",
        ("numba",),
        0.07,
        "mandelbrot",
        {"H": 1024, "W": 1024, "T": 256},
        lambda s: {},
        ("n",),
        0.0,
        numbers={"x0": -2.0, "y0": -1.25, "dx": 2.5 / 1024, "dy": 2.5 / 1024},
        # The peer's `fastmath` rounds otherwise, and a rounding moves a pixel.
        share=0.01,
    ),
    Row(
        "black_scholes",
        "Halide",
        ("halide",),
        0.9,
        "black_scholes",
        {"N": 1 << 22},
        lambda s: {
            "S": floats((s.N,), 1, 5, 30),
            "X": floats((s.N,), 2, 1, 100),
            "T": floats((s.N,), 3, 0.25, 10),
        },
        ("C", "P"),
        2e-5,
        numbers={"r": 0.02, "v": 0.3},
    ),
    Row(
        "scan",
        "Numba",
        ("numba",),
        0.35,
        "scan",
        {"N": 1 << 24},
        lambda s: {"x": floats((s.N,), 1, -1, 1)},
        ("y",),
        # One after the other in f32, the peer's roundings add up.
        1e-3,
    ),
    Row(
        "histogram",
        "Numba",
        ("numba",),
        0.95,
        "histogram",
        {"N": 1 << 24},
        lambda s: {"x": integers((s.N,), 1, 256).astype(np.uint8), "h": np.arange(256, dtype=np.int32)},
        ("h",),
        0.0,
        in_place=True,
    ),
    Row(
        "spmv",
        "scipy",
        ("scipy",),
        0.95,
        "spmv",
        {"R": 1 << 20, "C": 1 << 20},
        lambda s: dict(zip(("rp", "ci", "va"), laplacian(1 << 10), strict=True))
        | {"x": floats((s.C,), 1, -1, 1)},
        ("y",),
        1e-5,
    ),
    Row(
        "saxpy",
        "the axpy roof, of which it is to reach 0.95",
        ("c",),
        1 / 0.95,
        "saxpy",
        {"N": 1 << 24},
        lambda s: {"x": floats((s.N,), 1, -1, 1), "y": floats((s.N,), 2, -1, 1)},
        ("y",),
        1e-6,
        numbers={"a": 0.5},
        in_place=True,
    ),
    fft(64),
    fft(128),
    Row(
        "lstm",
        "oneDNN",
        ("onednn",),
        1.10,
        "lstm_layer",
        {"T": 256, "B": 16, "DI": 512, "DH": 512},
        lstm_inputs,
        ("H",),
        5e-5,
        # Steps are alike, and the oracle judges an eighth of them in its time.
        searched={"T": 32},
    ),
]


# Seconds that TVM tunes for, and ours searches.
TUNING = 45


def against_tvm(row):
    """A row held against TVM, which tunes for as long as ours searches."""
    return replace(
        row, name=f"{row.name}_tvm", peer="TVM MetaSchedule", libraries=("tvm",), goal=1.0, seconds=TUNING
    )


ROWS += [against_tvm(row) for row in ROWS if row.name in ("gemm_f32_512", "softmax")]
