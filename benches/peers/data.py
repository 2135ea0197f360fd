"""Inputs, the same for both sides: a hash of each place, so that nothing is regular and all is repeatable."""

import numpy as np


def hashed(count, seed):
    """32 bits for each place."""
    x = np.arange(count, dtype=np.uint32) + np.uint32(seed * 0x9E3779B9 % (1 << 32))
    x ^= x >> np.uint32(16)
    x *= np.uint32(0x7FEB352D)
    x ^= x >> np.uint32(15)
    x *= np.uint32(0x846CA68B)
    x ^= x >> np.uint32(16)
    return x


def floats(shape, seed, low, high):
    """Floats from `low` to below `high`, 24 bits each."""
    unit = (hashed(int(np.prod(shape)), seed) >> np.uint32(8)).astype(np.float32) * np.float32(2**-24)
    return (np.float32(low) + np.float32(high - low) * unit).reshape(shape)


def integers(shape, seed, below):
    """Integers from 0 to below a power of two, as 32 bits."""
    assert below & (below - 1) == 0
    return ((hashed(int(np.prod(shape)), seed) >> np.uint32(8)) & np.uint32(below - 1)).reshape(shape)


def bf16_bits(array):
    """Floats rounded to bf16, to the nearest and ties to even, as their 16 bits."""
    bits = array.view(np.uint32)
    return ((bits + np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))) >> np.uint32(16)).astype(
        np.uint16
    )


def laplacian(side):
    """The 5-point Laplacian of a square grid in compressed rows: row pointers, columns, values."""
    count = side * side
    at = np.arange(count)
    y, x = at // side, at % side
    columns = np.stack([at - side, at - 1, at, at + 1, at + side], 1)
    inside = np.stack([y > 0, x > 0, at >= 0, x < side - 1, y < side - 1], 1)
    values = np.tile(np.array([-1, -1, 4, -1, -1], np.float32), (count, 1))
    pointers = np.zeros(count + 1, np.int32)
    pointers[1:] = np.cumsum(inside.sum(1))
    return pointers, columns[inside].astype(np.int32), values[inside]
