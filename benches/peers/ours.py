"""Our side of a row: its `.tile` text, the winner of a search on it, and the process that is timed."""

import hashlib
import os
import re
import shutil
import subprocess

from process import Failed, Process, environment


def seed_text(row, examples):
    """The example with the row's sizes as those that drive the search, and in the peer's types. Held-out and sealed
    sizes stay those of the example, so they judge as they always do."""
    text = (examples / f"{row.example}.tile").read_text()
    for old, new in row.types.items():
        text = re.sub(rf"\b{old}\b", new, text)
    sizes = ", ".join(f"{name}={value}" for name, value in {**row.sizes, **row.searched}.items())
    text, found = re.subn(r"(?ms)^  search .*?(?=^  [a-z])", f"  search {{{sizes}}}\n", text)
    if found != 1:
        raise Failed(f"{row.example}.tile has no task whose search sizes can be set")
    return text


class Ours:
    """The compiler, and what it made of rows."""

    def __init__(self, binary, examples, home):
        self.binary = binary
        self.examples = examples
        self.home = home
        self.version = hashlib.sha256(binary.read_bytes()).hexdigest()

    def measure(self, core):
        """The roofs of the machine as it is on one processor: the compiler's choices look at them. Kept from run to run."""
        log = self.home / "log" / "machine.txt"
        with open(log, "wb") as messages:
            subprocess.run(
                [self.binary, "machine"],
                stdout=messages,
                stderr=messages,
                preexec_fn=lambda: os.sched_setaffinity(0, {core}),
                check=False,
            )

    def file(self, row, seconds, keep):
        """The file to time, and the name of its schedule: the winner of a search of so many seconds on one thread, kept
        by the content of the seed, the search's length, and the compiler; with `keep`, whichever compiler found it.
        Without seconds it is the seed and the compiler's own choice."""
        seed = seed_text(row, self.examples)
        tasks = self.home / "tasks"
        tasks.mkdir(exist_ok=True)
        task = tasks / f"{row.name}.tile"
        task.write_text(seed)
        if seconds == 0:
            return task, "default"
        winners = self.home / "winners"
        winners.mkdir(exist_ok=True)
        content = hashlib.sha256(f"{seed}\n{seconds}".encode()).hexdigest()[:16]
        winner = winners / f"{row.example}-{content}-{self.version[:16]}.tile"
        if keep and not winner.exists():
            older = sorted(
                winners.glob(f"{row.example}-{content}-*.tile"), key=lambda file: file.stat().st_mtime
            )
            winner = older[-1] if older else winner
        if not winner.exists():
            self.search(task, seconds, winner)
        return winner, "file"

    def search(self, task, seconds, winner):
        folder = self.home / "searches" / winner.stem
        shutil.rmtree(folder, ignore_errors=True)
        folder.parent.mkdir(exist_ok=True)
        command = [self.binary, "search", task, "--device", "cpu", "--threads", "1"]
        command += ["--budget", f"{seconds}s", "--out", folder]
        done = subprocess.run(
            [str(word) for word in command], capture_output=True, text=True, env=environment(), check=False
        )
        best = folder / "best.tile"
        if done.returncode != 0 or not best.exists():
            lines = [line for line in done.stderr.splitlines() if line.strip()]
            (self.home / "log" / f"{winner.stem}.search.txt").write_text(done.stdout + done.stderr)
            raise Failed(lines[-1] if lines else "no winner")
        shutil.copyfile(best, winner)

    def process(self, row, file, schedule, folder, cores, threads=1):
        command = [self.binary, "sample", file, "--device", "cpu", "--schedule", schedule]
        command += ["--threads", threads]
        command += ["--size", ",".join(f"{name}={value}" for name, value in row.sizes.items())]
        if row.numbers:
            command += ["--set", ",".join(f"{name}={value!r}" for name, value in row.numbers.items())]
        for array in sorted(folder.glob("in.*.npy")):
            command += ["--in", f"{array.name.split('.')[1]}={array}"]
        return Process(command, cores, self.home / "log" / f"{row.name}.ours.txt")
