"""`wsi-her2 evaluate`: scores against labels."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer


def evaluate(
    results: Annotated[list[Path], typer.Argument(help="Run folders, result.json files, or folders of run folders.")],
    truth: Annotated[
        Path, typer.Option(help="CSV with columns slide and score; also patient, scanner, shares, where known.")
    ],
    out: Annotated[Path, typer.Option("-o", "--out", help="New folder for the report.")] = Path("evaluation"),
    rounds: Annotated[
        int, typer.Option(min=100, max=100_000, help="Resamplings of patients behind each interval.")
    ] = 2000,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the resampling.")] = 20231,
    json_: Annotated[bool, typer.Option("--json", help="Print evaluation.json on stdout.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,  # noqa: ARG001
) -> None:
    """Compare the scores of RESULTS with labels: kappa, accuracy per cut-off, 3+ sensitivity, intervals by patient."""
    from wsi_pipeline.flows.evaluate import EvaluateRequest  # noqa: PLC0415 - keeps --help quick
    from wsi_pipeline.flows.evaluate import evaluate as compare  # noqa: PLC0415
    from wsi_pipeline.flows.evaluate_figures import words  # noqa: PLC0415
    from wsi_pipeline.flows.evaluate_report import write_evaluation  # noqa: PLC0415
    from wsi_pipeline.results import NOTICE  # noqa: PLC0415
    from wsi_pipeline.scoring.agreement import AgreementOptions  # noqa: PLC0415

    found = compare(EvaluateRequest(truth, tuple(results), out, AgreementOptions(rounds=rounds, seed=seed)))
    folder = write_evaluation(found)
    for warning in found.warnings:
        sys.stderr.write(f"note: {warning}\n")
    for kind in found.kinds:
        block = found.block(kind)
        sys.stderr.write(f"by {kind}, {block.evaluated} of {block.slides} slides with a score:\n")
        for name, value in block.statistics.items():
            sys.stderr.write(f"  {name:<28}{words(value)}\n")
    sys.stderr.write(f"{NOTICE}\nresults: {folder}\n")
    if json_:
        sys.stdout.write((folder / "evaluation.json").read_text(encoding="utf-8"))
