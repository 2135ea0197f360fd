"""Times ours and the peers in turns and prints the table. `run` sets up what this needs; see `benches/README.md`."""

import argparse
import json
import os
import re
import sys
from pathlib import Path


def arguments():
    parser = argparse.ArgumentParser(
        prog="benches/peers/run",
        description="Times Rooftile and its peers in turns, one thread each on one processor, and prints the table.",
    )
    parser.add_argument("--only", metavar="REGEX", default="", help="rows whose name contains a match")
    parser.add_argument("--list", action="store_true", help="name the rows, and end")
    parser.add_argument(
        "--search",
        metavar="SECONDS",
        type=int,
        default=120,
        help="search for each row; 0: the default schedule (default: 120)",
    )
    parser.add_argument(
        "--keep-winners", action="store_true", help="take winners that an older compiler found"
    )
    parser.add_argument(
        "--samples", type=int, default=21, help="pairs of samples in each pair of processes (default: 21)"
    )
    parser.add_argument("--processes", type=int, default=3, help="pairs of processes (default: 3)")
    parser.add_argument(
        "--core",
        type=int,
        default=min(1, (os.cpu_count() or 1) - 1),
        help="the processor of both (default: 1)",
    )
    parser.add_argument(
        "--threads",
        metavar="N",
        type=int,
        help="in place of peers: ours on one thread and on N, by the wall clock",
    )
    parser.add_argument("--json", metavar="OUT", type=Path, help="write every sample there")
    args = parser.parse_args()
    if args.search < 0 or args.samples < 1 or args.processes < 1:
        parser.error("--search takes 0 or more, --samples and --processes 1 or more")
    if args.threads is not None and not 2 <= args.threads <= len(os.sched_getaffinity(0)):
        parser.error(f"--threads takes 2 to {len(os.sched_getaffinity(0))}, as many processors as there are")
    if args.core not in os.sched_getaffinity(0):
        parser.error(f"--core {args.core}: this process may not use it")
    try:
        args.only = re.compile(args.only)
    except re.error as error:
        parser.error(f"--only: {error}")
    return args


def main():
    args = arguments()
    # Not before the flags are read: these need what `setup.py` installs.
    import rows
    from measure import Bench
    from table import line, machine, table

    chosen = [row for row in rows.ROWS if args.only.search(row.name)]
    if args.list:
        for row in chosen:
            sizes = ",".join(f"{name}={value}" for name, value in row.sizes.items())
            print(f"{row.name}: {row.peer}, at most {row.goal:.3g}; {row.example}.tile at {sizes}")
        return
    if not chosen:
        sys.exit("peers: no row has such a name; --list names them")
    if args.threads:
        from threads import Threads as Bench
        from threads import line, table
    bench, records, what = Bench(args), [], machine()
    interrupted = False
    for row in chosen:
        print(f"peers: {row.name} ..", file=sys.stderr, flush=True)
        try:
            records.append(bench.row(row))
        except KeyboardInterrupt:
            interrupted = True
            break
        print(f"peers: {' | '.join(line(records[-1]))}", file=sys.stderr, flush=True)
        if args.json:
            args.json.write_text(json.dumps({"machine": what, "rows": records}, indent=1) + "\n")
    print(table(records))
    met = sum(record.get("met", False) for record in records)
    print("" if args.threads else f"\n{met} of {len(records)} rows met")
    print(
        f"{args.search} s of search a row; {args.processes} pairs of processes, {args.samples} of samples in each"
    )
    print(what)
    if interrupted:
        sys.exit(f"peers: interrupted, {len(chosen) - len(records)} rows left out")
    if any("ratio" not in record or record.get("missing") for record in records):
        sys.exit(1)


if __name__ == "__main__":
    main()
