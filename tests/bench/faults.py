"""Put the inputs that were once got wrong to the command line, and print a table: result, right value, ok or not.

Usage: python tests/bench/faults.py [--only WORD] [--timeout 180] [--memory-gb 6]

Takes faults/ of WSI_HER2_DATA (else ../shared/data), and makes what is not in it. Each row is one command, run as a
process under a limit of time and of address space. Ends with 1 unless all rows are ok. Seconds are CPU seconds less
those that `info` takes on a sound slide, megabytes those of the process at its largest.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from fault_bench import Bench
from fault_rows import Row, rows


def main() -> None:
    """Run the rows and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="only rows whose input has this in it")
    parser.add_argument("--timeout", type=float, default=180)
    parser.add_argument("--memory-gb", type=float, default=6)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(Path(folder), chosen.timeout, chosen.memory_gb * 1e9)
        wanted = [row for row in rows(bench.faults) if chosen.only in row.name]
        print(f"| input | result | s | MB | should | |\n|{'---|' * 6}", flush=True)
        bad = sum(not show(bench, row) for row in wanted)
    print(f"\n{len(wanted)} rows, {bad} not ok")
    sys.exit(1 if bad else 0)


def show(bench: Bench, row: Row) -> bool:
    """Run a row, print it, and return whether it is ok."""
    bench.seconds = bench.bytes = 0.0
    try:
        ok, result = row.check(bench)
    except Exception as error:  # noqa: BLE001 - a row that cannot be judged is not ok
        ok, result = False, f"not judged: {type(error).__name__}: {error}"
    said = " ".join(result.replace(str(bench.faults), "").replace(str(bench.folder), "").replace("|", "/").split())[
        :160
    ]
    verdict = "ok" if ok else "**not ok**"
    print(
        f"| {row.name} | {said} | {bench.seconds:.1f} | {bench.bytes / 1e6:.0f} | {row.should} | {verdict} |",
        flush=True,
    )
    return ok


if __name__ == "__main__":
    main()
