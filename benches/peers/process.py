"""Processes that answer a line for a line: ours and the peers'."""

import os
import select
import subprocess
from pathlib import Path

HOME = Path(__file__).resolve().parents[2] / "target" / "peers"

# glibc returns large blocks to the system and takes them back in small pages, so a library that allocates its output
# would be timed at faulting pages in. This keeps blocks, and asks for huge pages; ours asks for them by itself.
HUGE_PAGES = "glibc.malloc.hugetlb=1:glibc.malloc.mmap_max=0:glibc.malloc.trim_threshold=17179869184"
THREADS = ["OMP", "OPENBLAS", "MKL", "NUMBA", "HL", "BLIS"]


class Failed(Exception):
    """What a process said instead of an answer."""


def environment():
    """One thread, huge pages, and what libraries keep under target/peers/."""
    one = {f"{name}_NUM_THREADS": "1" for name in THREADS}
    more = {"GLIBC_TUNABLES": HUGE_PAGES, "TORCHINDUCTOR_COMPILE_THREADS": "1", "PYTHONWARNINGS": "ignore"}
    more["TORCHINDUCTOR_CACHE_DIR"] = str(HOME / "inductor")
    return {**os.environ, **one, **more}


class Process:
    """A program on one processor, or a set of them, from `ready` to `quit`."""

    def __init__(self, command, cores, log, patience=600):
        cores = cores if isinstance(cores, set) else {cores}
        self.log = log
        with open(log, "wb") as messages:
            self.child = subprocess.Popen(
                [str(word) for word in command],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=messages,
                env=environment(),
                preexec_fn=lambda: os.sched_setaffinity(0, cores),
            )
        try:
            said = self._line(patience)
            if said != "ready":
                raise Failed(said or self._last_words())
        except Failed:
            self.close()
            raise

    def _line(self, patience):
        line = b""
        out = self.child.stdout
        while not line.endswith(b"\n"):
            if not select.select([out], [], [], patience)[0]:
                raise Failed(f"no answer within {patience} s")
            byte = os.read(out.fileno(), 1)
            if not byte:
                raise Failed(self._last_words())
            line += byte
        return line.decode().strip()

    def _last_words(self):
        lines = [line for line in self.log.read_text(errors="replace").splitlines() if line.strip()]
        return "it ended: " + (lines[-1] if lines else "without a word")

    def ask(self, line, patience=600):
        """The answer to a line."""
        try:
            self.child.stdin.write(f"{line}\n".encode())
            self.child.stdin.flush()
        except BrokenPipeError:
            raise Failed(self._last_words()) from None
        said = self._line(patience)
        if said.startswith("error:"):
            raise Failed(said.removeprefix("error:").strip())
        return said

    def sample(self, runs):
        """Seconds of a run: of the processor, of the wall clock."""
        seconds, wall = self.ask(f"sample {runs}").split()
        return float(seconds), float(wall)

    def write(self, files):
        """Has outputs written: name -> file."""
        self.ask("write " + ",".join(f"{name}={file}" for name, file in files.items()))

    def close(self):
        try:
            self.child.stdin.write(b"quit\n")
            self.child.stdin.close()
            self.child.wait(timeout=10)
        except (OSError, subprocess.TimeoutExpired):
            self.child.kill()
            self.child.wait()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()
