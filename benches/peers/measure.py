"""Measures a row: prepares it, tries every way of its peers, and pairs ours with the fastest."""

import json
import math
import os
import shutil
import statistics
import sys
from pathlib import Path

import numpy as np

import rows
from ours import Ours
from process import HOME, Failed, Process
from stats import median_with_limits

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
# A sample is at least this long, as far as a row may be run several times in one.
LEAST_S = 2e-3
MOST_RUNS = 200
# A pair counts as disturbed where a side had the processor for less than this part of the time.
ALONE = 0.97
SURVEY_SAMPLES = 5
# Seconds that the first use of a way may take: it compiles.
PATIENCE_S = 1800
# How an error begins that says that a library is not there.
ABSENT = ("ModuleNotFoundError", "ImportError", "OSError")


def prepare(row, folder):
    """Writes the row's inputs where both sides read them."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for name, array in row.inputs(rows.N(row.sizes)).items():
        np.save(folder / f"in.{name}.npy", np.ascontiguousarray(array))
    (folder / "numbers.json").write_text(json.dumps({**row.sizes, **row.numbers}))


def difference(row, ours, theirs):
    """How far the outputs lie apart, and whether that is no difference: the largest over the outputs of the difference
    relative to the largest element, or the share of elements that differ."""
    worst = 0.0
    for name in row.outputs:
        a, b = np.load(ours[name]), np.load(theirs[name])
        if a.shape != b.shape:
            return math.inf, False
        if row.share:
            worst = max(worst, float((a != b).mean()))
            continue
        wide = np.complex128 if np.iscomplexobj(b) else np.float64
        a, b = a.astype(wide), b.astype(wide)
        error = float(np.abs(a - b).max() / max(float(np.abs(b).max()), 1e-30))
        worst = math.inf if math.isnan(error) else max(worst, error)
    return worst, worst <= (row.share or row.tolerance)


def outputs(row, folder, side):
    return {name: folder / f"out.{side}.{name}.npy" for name in row.outputs}


def runs_for(row, process):
    """Runs in a sample, so that it is long enough for the clock."""
    if row.in_place:
        return 1
    seconds = max(process.sample(1)[0], 1e-7)
    return max(1, min(MOST_RUNS, math.ceil(LEAST_S / seconds)))


class Bench:
    """Measures rows."""

    def __init__(self, args):
        self.args = args
        (HOME / "log").mkdir(parents=True, exist_ok=True)
        binary = Path(os.environ.get("ROOFTILE_BIN", ROOT / "target" / "release" / "rooftile")).resolve()
        if not binary.exists():
            sys.exit(f"peers: there is no {binary}; set ROOFTILE_BIN, or start benches/peers/run")
        self.ours = Ours(binary, ROOT / "dsl-examples", HOME)
        self.ours.measure(args.core)
        missing = HOME / "missing.json"
        self.missing = json.loads(missing.read_text()) if missing.exists() else {}

    def peer(self, row, library, folder):
        command = [sys.executable, HERE / "peer.py", library, row.name, folder]
        return Process(command, self.args.core, HOME / "log" / f"{row.name}.{library}.txt")

    def row(self, row):
        """Everything about a row, as it goes into the JSON file."""
        folder = HOME / "data" / row.name
        record = {"row": row.name, "sizes": row.sizes, **self.heading(row)}
        try:
            prepare(row, folder)
            try:
                seconds = row.seconds if row.seconds and self.args.search else self.args.search
                file, schedule = self.ours.file(row, seconds, self.args.keep_winners)
            except Failed as failed:
                # A search that found nothing still leaves the compiler's own choice.
                record["search"] = str(failed)
                file, schedule = self.ours.file(row, 0, False)
            record["schedule"] = schedule if schedule == "default" else str(file.relative_to(ROOT))
            self.compare(row, file, schedule, folder, record)
        except (Failed, OSError) as failed:
            record["failure"] = str(failed)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        return record

    def heading(self, row):
        """What a record says besides its row."""
        return {"peer": row.peer, "goal": row.goal}

    def compare(self, row, file, schedule, folder, record):
        """Ours against every way of the row's libraries."""
        with self.ours.process(row, file, schedule, folder, self.args.core) as ours:
            ours.write(outputs(row, folder, "ours"))
        record["ways"], record["missing"] = self.survey(row, folder)
        self.judge(row, file, schedule, folder, record)

    def survey(self, row, folder):
        """Every way of the row's libraries: a few samples, and how far it lies from ours; and the libraries that are
        missing, with the reason."""
        ways, missing = [], {}
        for library in row.libraries:
            try:
                with self.peer(row, library, folder) as process:
                    faults = json.loads(process.ask("ways", PATIENCE_S))
                    # A way whose library does not load is not a way that fails.
                    absent = [fault for fault in faults.values() if fault.startswith(ABSENT)]
                    if absent:
                        raise Failed(absent[0])
                    if not faults:
                        raise Failed("it has no way to compute this")
                    for name, fault in faults.items():
                        way = {"library": library, "way": name}
                        ways.append(way)
                        if fault:
                            way["fault"] = fault
                            continue
                        process.ask(f"use {name}")
                        runs = runs_for(row, process)
                        way["median_s"] = statistics.median(
                            process.sample(runs)[0] for _ in range(SURVEY_SAMPLES)
                        )
                        theirs = outputs(row, folder, "theirs")
                        process.write(theirs)
                        way["difference"], way["agrees"] = difference(
                            row, outputs(row, folder, "ours"), theirs
                        )
            except Failed as failed:
                missing[library] = self.missing.get(library, str(failed))
        return ways, missing

    def judge(self, row, file, schedule, folder, record):
        """Pairs ours with the fastest way, if all agree with ours."""
        usable = [way for way in record["ways"] if "median_s" in way]
        if not usable:
            return
        if not all(way["agrees"] for way in usable):
            record["differs"] = [
                f"{w['library']} {w['way']}: {w['difference']:.1e}" for w in usable if not w["agrees"]
            ]
            return
        best = min(usable, key=lambda way: way["median_s"])
        record["best"] = best
        groups = [self.pairs(row, file, schedule, folder, best) for _ in range(self.args.processes)]
        record["pairs"] = groups
        ratios = [[pair["ours"] / pair["theirs"] for pair in group] for group in groups]
        record["ratio"], record["low"], record["high"] = median_with_limits(ratios)
        for side in ("ours", "theirs"):
            record[f"{side}_s"] = statistics.median(pair[side] for group in groups for pair in group)
        record["disturbed"] = sum(pair["disturbed"] for group in groups for pair in group)
        record["met"] = record["ratio"] <= row.goal

    def pairs(self, row, file, schedule, folder, best):
        """Samples of a fresh process of each side, in turns A B B A. A disturbed pair is taken again, as many times in
        all as there are samples; after that it stays, and is counted."""
        with self.ours.process(row, file, schedule, folder, self.args.core) as ours:
            with self.peer(row, best["library"], folder) as theirs:
                theirs.ask(f"use {best['way']}", PATIENCE_S)
                runs = {ours: runs_for(row, ours), theirs: runs_for(row, theirs)}
                # Once for nothing: the first sample of a process finds caches and clocks as something else left them.
                for side in (ours, theirs):
                    side.sample(runs[side])
                taken, spare = [], self.args.samples
                while len(taken) < self.args.samples:
                    order = (ours, theirs) if len(taken) % 2 == 0 else (theirs, ours)
                    times = {side: side.sample(runs[side]) for side in order}
                    disturbed = any(cpu < ALONE * wall for cpu, wall in times.values())
                    if disturbed and spare > 0:
                        spare -= 1
                        continue
                    taken.append({"ours": times[ours][0], "theirs": times[theirs][0], "disturbed": disturbed})
                return taken
