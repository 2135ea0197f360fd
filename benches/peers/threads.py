"""Times ours on one thread and on several in turns, by the wall clock: what more threads are worth."""

import os
import statistics

from measure import Bench, runs_for
from stats import median_with_limits
from table import grid


class Threads(Bench):
    """Measures rows on one thread and on `args.threads`, each with the processors that it may use."""

    def heading(self, row):
        return {"threads": self.args.threads}

    def compare(self, row, file, schedule, folder, record):
        """How many times as fast several threads are."""
        groups = [self.pairs(row, file, schedule, folder) for _ in range(self.args.processes)]
        ratios = [[one / many for one, many in group] for group in groups]
        record["ratio"], record["low"], record["high"] = median_with_limits(ratios)
        pairs = [pair for group in groups for pair in group]
        record["one_s"], record["many_s"] = (statistics.median(pair[n] for pair in pairs) for n in (0, 1))

    def pairs(self, row, file, schedule, folder):
        """Samples of a fresh process of each, in turns A B B A."""
        cores = set(sorted(os.sched_getaffinity(0))[: self.args.threads])
        with self.ours.process(row, file, schedule, folder, cores, 1) as one:
            with self.ours.process(row, file, schedule, folder, cores, self.args.threads) as many:
                runs = {side: runs_for(row, side) for side in (one, many)}
                for side in (one, many):
                    side.sample(runs[side])
                taken = []
                while len(taken) < self.args.samples:
                    order = (one, many) if len(taken) % 2 == 0 else (many, one)
                    times = {side: side.sample(runs[side])[1] for side in order}
                    taken.append((times[one], times[many]))
                return taken


def table(records):
    many = records[0]["threads"] if records else "several"
    head = ["row", "one thread, ms", f"{many} threads, ms", "one / many [95 %]"]
    return grid(head, [line(record) for record in records])


def line(record):
    """The cells of a row."""
    if "failure" in record:
        return [record["row"], "", "", f"FAILED: {record['failure']}"]
    ratio = f"{record['ratio']:.2f} [{record['low']:.2f}, {record['high']:.2f}]"
    return [record["row"], f"{record['one_s'] * 1e3:.3g}", f"{record['many_s'] * 1e3:.3g}", ratio]
