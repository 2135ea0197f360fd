"""TVM, tuned by MetaSchedule for as long as ours searches. What it found is kept under target/peers/tuned/."""

import os
import sys
import time
from pathlib import Path

import numpy as np

from rows import TUNING

from . import Way, copied, empty, way

TUNED = Path(sys.prefix).parent / "tuned"


def tune(function, target):
    """The best program found for a function in the time, on all processors."""
    from tvm import IRModule, te
    from tvm.ir.utils import derived_object
    from tvm.s_tir import meta_schedule as ms

    @derived_object
    class UntilLate(ms.measure_callback.PyMeasureCallback):
        """Ends the tuning."""

        def apply(self, *_):
            if time.monotonic() > end:
                late.append(True)
                raise TimeoutError

    module = IRModule({"main": te.create_prim_func(function)})
    database = ms.database.MemoryDatabase()
    # Of what a callback raises, the library hands on neither type nor text.
    late = []
    own = os.sched_getaffinity(0)
    os.sched_setaffinity(0, range(os.cpu_count()))
    end = time.monotonic() + TUNING
    try:
        ms.tune_tir(
            module,
            target,
            str(TUNED / "log"),
            max_trials_global=1 << 20,
            num_trials_per_iter=16,
            num_tuning_cores=os.cpu_count(),
            database=database,
            measure_callbacks=[
                ms.measure_callback.AddToDatabase(),
                ms.measure_callback.UpdateCostModel(),
                UntilLate(),
            ],
            builder=ms.builder.LocalBuilder(max_workers=os.cpu_count()),
            runner=ms.runner.LocalRunner(
                evaluator_config=ms.runner.EvaluatorConfig(number=1, repeat=3, min_repeat_ms=20)
            ),
        )
    except Exception:
        if not late:
            raise
    finally:
        os.sched_setaffinity(0, own)
    print(f"{len(database.get_all_tuning_records())} programs measured", file=sys.stderr)
    return ms.tir_integration.compile_tir(database, module, target).mod


def tuned(name, function, inputs, result):
    """A way that runs the best program found; the first process of all tunes."""
    import tvm

    target = tvm.target.Target(
        {"kind": "llvm", "mcpu": tvm.target.codegen.llvm_get_system_cpu(), "num-cores": 1}
    )
    file = TUNED / f"{name}-{tvm.__version__}-{TUNING}s.so"
    if not file.exists():
        TUNED.mkdir(exist_ok=True)
        best = tune(function, target)
        tvm.compile(best, target=target).export_library(str(file))
    run = tvm.runtime.load_module(str(file))["main"]
    out = empty([int(n) for n in function[-1].shape])
    arrays = [tvm.runtime.from_dlpack(copied(array)) for array in inputs] + [tvm.runtime.from_dlpack(out)]
    return Way(lambda: run(*arrays), lambda _: {result: np.asarray(out)})


@way("tvm", "gemm_f32_512_tvm", name="MetaSchedule")
def _(d):
    from tvm import te

    a, b = te.placeholder((d.M, d.K), name="A"), te.placeholder((d.K, d.N), name="B")
    k = te.reduce_axis((0, d.K), name="k")
    c = te.compute((d.M, d.N), lambda i, j: te.sum(a[i, k] * b[k, j], axis=k), name="C")
    return tuned("gemm_f32_512", [a, b, c], [d.A, d.B], "C")


@way("tvm", "softmax_tvm", name="MetaSchedule")
def _(d):
    from tvm import te, topi

    x = te.placeholder((d.M, d.N), name="X")
    return tuned("softmax", [x, topi.nn.softmax(x, 1)], [d.X], "Y")
