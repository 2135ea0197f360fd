"""The table, from the records of rows."""

import platform
import re
from importlib import metadata
from pathlib import Path

# Whose versions are told.
PACKAGES = ["numpy", "scipy", "numba", "onnxruntime", "onednn-cpu-gomp", "torch", "halide", "pyfftw", "apache-tvm"]


def milliseconds(seconds):
    return f"{seconds * 1e3:.3g}" if seconds < 0.1 else f"{seconds * 1e3:.0f}"


def line(record):
    """A row of the table."""
    cells = [record["row"], record["peer"]]
    if "ratio" in record:
        best = record["best"]
        verdict = "met" if record["met"] else "not met"
        if record["missing"] or any("fault" in way for way in record["ways"]):
            verdict += ", but not every peer ran"
        cells += [
            f"{best['library']} {best['way']}".strip(),
            milliseconds(record["ours_s"]),
            milliseconds(record["theirs_s"]),
            f"{record['ratio']:.3f} [{record['low']:.3f}, {record['high']:.3f}]",
            f"{record['goal']:.3g}",
        ]
    else:
        if "failure" in record:
            verdict = f"FAILED: {record['failure']}"
        elif "differs" in record:
            verdict = "OUTPUTS DIFFER: " + "; ".join(record["differs"])
        else:
            verdict = "NO PEER"
        cells += ["", "", "", "", f"{record['goal']:.3g}"]
    notes = [f"MISSING {library}: {why}" for library, why in record.get("missing", {}).items()]
    notes += [
        f"{w['library']} {w['way']} failed: {w['fault']}" for w in record.get("ways", []) if "fault" in w
    ]
    if "search" in record:
        notes.append(f"default schedule, since the search failed: {record['search']}")
    elif record.get("schedule") == "default":
        notes.append("default schedule")
    if record.get("disturbed"):
        notes.append(f"{record['disturbed']} pairs disturbed")
    cells.append("; ".join([verdict, *notes]))
    return [cell.replace("|", "/") for cell in cells]


HEAD = [
    "row",
    "peer",
    "its fastest way",
    "ours ms",
    "theirs ms",
    "ours / theirs [95 %]",
    "at most",
    "verdict",
]


def table(records):
    return grid(HEAD, [line(record) for record in records])


def grid(head, rows):
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


def machine():
    """What was measured where: one line under the table."""
    model = re.search(r"model name\s*:\s*(.*)", Path("/proc/cpuinfo").read_text())
    pages = Path("/sys/kernel/mm/transparent_hugepage/enabled")
    chosen = re.search(r"\[(\w+)\]", pages.read_text()) if pages.exists() else None
    versions = []
    for package in PACKAGES:
        try:
            versions.append(f"{package} {metadata.version(package)}")
        except metadata.PackageNotFoundError:
            versions.append(f"no {package}")
    parts = [model.group(1) if model else platform.machine(), f"Linux {platform.release()}"]
    parts += [
        f"huge pages: {chosen.group(1) if chosen else 'none'}",
        f"Python {platform.python_version()}",
        *versions,
    ]
    return ", ".join(parts)
