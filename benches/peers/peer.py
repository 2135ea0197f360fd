"""A process of one library: it computes a row's ways when it is asked to, a line of answer for a line of question.

    peer.py LIBRARY ROW FOLDER

`FOLDER` holds the row's inputs. Says `ready`, then answers `ways` (JSON: what went wrong with each, or nothing),
`use NAME`, `sample RUNS` (seconds of one run in the mean: of the processor, of the wall clock), `write NAME=FILE,..`,
`quit`.
"""

import importlib
import json
import os
import sys
import time
import warnings
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))
import libraries

MODULES = {
    "numpy": ["numpy_scipy"],
    "scipy": ["numpy_scipy"],
    "openblas": ["numpy_scipy"],
    "numba": ["numba_loops"],
    "onnxruntime": ["onnx_runtime"],
    "onednn": ["one_dnn", "pytorch"],
    "torch": ["pytorch"],
    "inductor": ["pytorch"],
    "halide": ["halide_pipelines"],
    "fftw": ["fftw"],
    "c": ["c"],
    "tvm": ["tvm_tuned"],
}


def load(folder):
    """The row's arrays on huge pages, and its numbers."""
    inputs = libraries.Inputs(json.loads((folder / "numbers.json").read_text()))
    for file in sorted(folder.glob("in.*.npy")):
        inputs[file.name.split(".")[1]] = libraries.copied(np.load(file))
    return inputs


class Ways:
    """The ways of a row, made when first used."""

    def __init__(self, library, row, folder):
        for module in MODULES[library]:
            importlib.import_module(f"libraries.{module}")
        self.makers = libraries.ways_of(library, row)
        self.inputs = load(folder)
        self.made = {}
        self.used = None

    def use(self, name):
        if name not in self.made:
            made = self.makers[name](self.inputs)
            run(made, 1)
            self.made[name] = made
        self.used = self.made[name]

    def faults(self):
        """What goes wrong with each way."""
        faults = {}
        for name in self.makers:
            try:
                self.use(name)
                faults[name] = ""
            except Exception as error:  # whatever a library throws is what is wrong with it
                lines = str(error).strip().splitlines() or [""]
                faults[name] = f"{type(error).__name__}: {lines[0]}"[:300]
        return faults

    def write(self, files):
        if self.used.reset:
            self.used.reset()
        outputs = self.used.result(self.used.call())
        for pair in files.split(","):
            name, file = pair.split("=", 1)
            np.save(file, np.ascontiguousarray(outputs[name]))


def run(way, runs):
    """Seconds of one run, in the mean."""
    if way.reset:
        way.reset()
    wall, processor = time.perf_counter(), time.process_time()
    for _ in range(runs):
        way.call()
    return (time.process_time() - processor) / runs, (time.perf_counter() - wall) / runs


def answer(ways, line):
    word, _, rest = line.partition(" ")
    if word == "ways":
        return json.dumps(ways.faults())
    if word == "use":
        ways.use(rest)
        return "used"
    if word == "sample":
        seconds, wall = run(ways.used, int(rest or 1))
        return f"{seconds:e} {wall:e}"
    if word == "write":
        ways.write(rest)
        return "written"
    return f"error: `{word}` is no question"


def main():
    warnings.filterwarnings("ignore")
    # What libraries print must not pass for an answer.
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    library, row, folder = sys.argv[1:]
    try:
        ways = Ways(library, row, Path(folder))
    except Exception as error:  # a library that does not load is missing, whatever it throws
        print(f"error: {type(error).__name__}: {error}".replace("\n", " "), file=answers)
        return
    print("ready", file=answers)
    for line in sys.stdin:
        if line.strip() == "quit":
            break
        try:
            print(answer(ways, line.strip()), file=answers)
        except Exception as error:  # it is the driver's to judge
            print(f"error: {type(error).__name__}: {error}".replace("\n", " "), file=answers)


if __name__ == "__main__":
    main()
