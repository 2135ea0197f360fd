"""Sets the peers up under target/peers/, or takes those that are there. What cannot be had is named, never fatal."""

import json
import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
HOME = ROOT / "target" / "peers"
PYTHON = HOME / "venv" / "bin" / "python"
KERNELS = Path(__file__).parent / "libraries" / "kernels.c"

# Free space that is left on the disk, whatever is to be installed.
LEAVE_FREE = 12 << 30
# What pip is asked for, one attempt a line: (module that proves it, bytes it takes at most, packages). torch comes
# first without its CUDA libraries, which no CPU needs; where it does not start without them, it comes with them.
WANTED = [
    ("numpy", 1 << 30, ["numpy"]),
    ("scipy", 1 << 30, ["scipy"]),
    ("numba", 1 << 30, ["numba"]),
    ("onnx", 1 << 30, ["onnx"]),
    ("onnxruntime", 1 << 30, ["onnxruntime"]),
    ("halide", 1 << 30, ["halide"]),
    ("pyfftw", 1 << 30, ["pyfftw"]),
    ("onednn", 1 << 30, ["onednn-cpu-gomp"]),
    # A version whose tuning works; what it needs besides is told, for its own list brings more.
    (
        "tvm",
        1 << 30,
        ["--no-deps", "apache-tvm==0.25.0.post1", "apache-tvm-ffi==0.1.12", "ml_dtypes", "typing_extensions"]
        + ["xgboost", "psutil", "tornado", "cloudpickle"],
    ),
    ("torch", 3 << 30, ["--no-deps", "torch"]),
    ("torch", 10 << 30, ["torch"]),
]
# What torch needs besides, in pure Python.
TORCH_NEEDS = ["filelock", "typing-extensions", "sympy", "networkx", "jinja2", "fsspec", "setuptools"]


def there(module):
    """Whether a module can be loaded by the peers' Python."""
    if module == "onednn":
        return any((HOME / "venv").glob("lib/**/libdnnl.so*"))
    found = subprocess.run([PYTHON, "-c", f"import {module}"], capture_output=True, check=False)
    return found.returncode == 0


def pip(packages):
    """Installs; gives what went wrong, or nothing."""
    command = [
        PYTHON,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
        "--no-cache-dir",
        *packages,
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    lines = [line for line in done.stderr.splitlines() if line.strip()]
    return "" if done.returncode == 0 else (lines[-1] if lines else "pip failed")


def install(missing):
    """Asks pip for every module that is not there yet, and notes why one could not be had."""
    for module, most, packages in WANTED:
        if there(module):
            missing.pop(module, None)
            continue
        free = shutil.disk_usage(HOME).free
        if free - most < LEAVE_FREE:
            missing[module] = f"not enough disk: {free >> 30} GiB are free, and {LEAVE_FREE >> 30} stay so"
            continue
        print(f"peers: installing {module} ..", file=sys.stderr)
        why = pip(packages)
        if module == "torch" and not why:
            why = pip(TORCH_NEEDS)
        if there(module):
            missing.pop(module, None)
        else:
            missing[module] = why or "installed, but does not load"


def compile_kernels(missing):
    """The kernels in C, for this machine."""
    library = HOME / "libkernels.so"
    if library.exists() and library.stat().st_mtime > KERNELS.stat().st_mtime:
        return
    compiler = next((c for c in ("gcc", "cc", "clang") if shutil.which(c)), None)
    if compiler is None:
        missing["c"] = "no C compiler is installed"
        return
    flags = ["-O3", "-march=native", "-ffast-math", "-fPIC", "-shared", "-o", str(library)]
    done = subprocess.run([compiler, *flags, str(KERNELS)], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        missing["c"] = done.stderr.splitlines()[0] if done.stderr else f"{compiler} failed"


def main():
    HOME.mkdir(parents=True, exist_ok=True)
    if not PYTHON.exists():
        print("peers: making a Python environment under target/peers/ ..", file=sys.stderr)
        venv.create(HOME / "venv", with_pip=True)
    missing = {}
    if not os.environ.get("ROOFTILE_PEERS_AS_THEY_ARE"):
        install(missing)
    compile_kernels(missing)
    for module, why in missing.items():
        print(f"peers: MISSING {module}: {why}", file=sys.stderr)
    (HOME / "missing.json").write_text(json.dumps(missing, indent=1) + "\n")


if __name__ == "__main__":
    main()
