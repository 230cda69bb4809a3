"""Rebuild the sample slides: synthetic phantoms, no patient's tissue.

python sample_slides/make_samples.py --out sample_slides --only 3plus
"""

from __future__ import annotations

import argparse
from pathlib import Path

from wsi_pipeline.training.phantom import PRESETS, make_phantom, write_slide


def main(arguments: list[str] | None = None) -> list[Path]:
    """Write the chosen samples and return their paths."""
    names = {options.name.removeprefix("phantom_"): options for options in PRESETS.values()}
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path(__file__).resolve().parent, help="folder to write to")
    parser.add_argument("--only", nargs="+", choices=sorted(names), default=sorted(names), help="samples to write")
    chosen = parser.parse_args(arguments)
    chosen.out.mkdir(parents=True, exist_ok=True)
    written = []
    for name in chosen.only:
        path = write_slide(make_phantom(names[name]), chosen.out / f"phantom_{name}.svs")
        print(f"{path} {path.stat().st_size / 1e6:.2f} MB")
        written.append(path)
    return written


if __name__ == "__main__":
    main()
