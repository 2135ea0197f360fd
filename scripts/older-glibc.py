#!/usr/bin/env python3
"""Makes shared libraries that were linked against a newer GNU C library loadable with this system's.

Usage: scripts/older-glibc.py FILE ..

Edits 64-bit little-endian ELF files in place. Every version of the C library's symbols that this system lacks becomes the
first version of the platform, and `__isoc23_NAME`, the number readers that also take binary literals, becomes `NAME`. That is
right where an older function of the same name does the same, as the ones of version 2.38 that compilers put into programs:
`__isoc23_strtol` and the like, `fmod`. Whoever uses the result checks it with `ldd -r`.
"""

import os
import struct
import sys

OLDEST = b"GLIBC_2.2.5"
PREFIX = b"__isoc23_"
SHT_DYNSYM, SHT_VERNEED = 11, 0x6FFFFFFE


def elf_hash(name):
    h = 0
    for byte in name:
        h = (h << 4) + byte
        h = (h ^ (h & 0xF0000000) >> 24) & 0x0FFFFFFF
    return h


def this_systems():
    return tuple(int(n) for n in os.confstr("CS_GNU_LIBC_VERSION").split()[1].split("."))


def is_newer(version):
    try:
        return tuple(int(n) for n in version.removeprefix(b"GLIBC_").split(b".")) > this_systems()
    except ValueError:
        return False


def sections(data):
    start, = struct.unpack_from("<Q", data, 0x28)
    size, count = struct.unpack_from("<HH", data, 0x3A)
    for n in range(count):
        _, kind, _, _, offset, length, link, info, _, _ = struct.unpack_from("<IIQQQQIIQQ", data, start + n * size)
        yield kind, offset, length, link, info


def edit(data):
    """Edits the bytes of a file; says whether anything changed."""
    table = list(sections(data))

    def text(strings, at):
        start = table[strings][1] + at
        return bytes(data[start : data.index(0, start)])

    changed = False
    for kind, offset, _, strings, count in table:
        if kind != SHT_VERNEED:
            continue
        need = offset
        for _ in range(count):
            _, entries, _, first, next_need = struct.unpack_from("<HHIII", data, need)
            aux = need + first
            for _ in range(entries):
                _, flags, other, name, next_aux = struct.unpack_from("<IHHII", data, aux)
                if text(strings, name).startswith(b"GLIBC_") and is_newer(text(strings, name)):
                    _, begin, length, _, _ = table[strings]
                    oldest = data.index(b"\0" + OLDEST + b"\0", begin, begin + length) + 1 - begin
                    struct.pack_into("<IHHI", data, aux, elf_hash(OLDEST), flags, other, oldest)
                    changed = True
                aux += next_aux
            need += next_need
    if changed:
        for kind, offset, length, strings, _ in table:
            if kind != SHT_DYNSYM:
                continue
            for symbol in range(offset, offset + length, 24):
                name, _, _, section = struct.unpack_from("<IBBH", data, symbol)
                if section == 0 and text(strings, name).startswith(PREFIX):
                    struct.pack_into("<I", data, symbol, name + len(PREFIX))
    return changed


def main():
    for path in sys.argv[1:]:
        with open(path, "rb") as file:
            data = bytearray(file.read())
        if data[:6] == b"\x7fELF\x02\x01" and edit(data):
            with open(path, "wb") as file:
                file.write(data)


if __name__ == "__main__":
    main()
