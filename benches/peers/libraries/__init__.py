"""The peers: one file a library. Each offers ways to compute rows, as functions of a row's inputs.

A module here registers with `@way(library, row, name)` a function that takes the inputs (`Inputs`: arrays under the
names of the `.tile` file, and the row's numbers) and gives a `Way`.
"""

import ctypes
from dataclasses import dataclass
from typing import Any, Callable

import numpy as np

# library -> row -> name of the way -> function that makes it.
WAYS: dict[str, dict[str, dict[str, Callable]]] = {}

HUGE = 2 << 20
MADV_HUGEPAGE = 14


class Inputs(dict):
    """A row's arrays and numbers, as attributes too."""

    __getattr__ = dict.__getitem__


@dataclass
class Way:
    """`call` computes once; `result` makes of what it gave the outputs under their names in the `.tile` file; `reset`
    is called before every sample and not timed."""

    call: Callable[[], Any]
    result: Callable[[Any], dict[str, np.ndarray]]
    reset: Callable[[], None] | None = None


def way(library, *rows, name=""):
    """Registers a way for rows. A row's name that ends in `*` stands for all that begin so."""

    def register(make):
        for row in rows:
            WAYS.setdefault(library, {}).setdefault(row, {})[name] = make
        return make

    return register


def ways_of(library, row):
    """The ways that a library has for a row: name -> function."""
    found = {}
    for pattern, ways in WAYS.get(library, {}).items():
        if pattern == row or (pattern.endswith("*") and row.startswith(pattern[:-1])):
            found.update(ways)
    return found


def empty(shape, dtype=np.float32):
    """Zeros, 64-byte aligned; large ones on huge pages, touched."""
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    room = np.empty(size + 2 * HUGE, np.uint8)
    at = -room.ctypes.data % (HUGE if size >= HUGE else 64)
    if size >= HUGE:
        ctypes.CDLL(None).madvise(
            ctypes.c_void_p(room.ctypes.data + at), ctypes.c_size_t(size), MADV_HUGEPAGE
        )
    array = room[at : at + size].view(dtype).reshape(shape)
    array[...] = 0
    return array


def copied(array):
    """A copy on pages as `empty` makes them."""
    to = empty(array.shape, array.dtype)
    to[...] = array
    return to


def at(array):
    """Where an array lies, for C."""
    return ctypes.c_void_p(array.ctypes.data)


def stepping(step, start, steps, result):
    """A way that takes `steps` steps between two sets of arrays, each begun from `start`. `step(a, b)` fills the set
    `b` from the set `a`; `result` makes the outputs of the set that came last."""
    sets = [[copied(array) for array in start] for _ in range(2)]

    def call():
        for t in range(steps):
            step(sets[t % 2], sets[(t + 1) % 2])
        return sets[steps % 2]

    def reset():
        for arrays in sets:
            for array, source in zip(arrays, start, strict=True):
                array[...] = source

    return Way(call, result, reset)
