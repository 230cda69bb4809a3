"""The study from end to end, step by step; what is done stays done."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

from wsi_pipeline.export.atomic import write_atomic
from wsi_pipeline.export.tables import write_json
from wsi_pipeline.models.manifest import Manifest, read_manifest
from wsi_pipeline.models.registry import find_weights
from wsi_pipeline.training.data.index import read_index
from wsi_pipeline.training.data.layouts import read_dataset
from wsi_pipeline.training.data.records import Patch, Split
from wsi_pipeline.training.data.splits import of_split
from wsi_pipeline.training.study import trainings
from wsi_pipeline.training.study.audit import audit
from wsi_pipeline.training.study.data import PHANTOMS, paint_pairs, save_index, split_data, split_facts
from wsi_pipeline.training.study.figures import acceptance_figure, confusion_figure, intervals_figure
from wsi_pipeline.training.study.files import read_table, sha256, write_table
from wsi_pipeline.training.study.filtering import accepted_patches, filter_tiles, summary, write_summary
from wsi_pipeline.training.study.gallery import gallery
from wsi_pipeline.training.study.judge import (
    Judge,
    count_tiles,
    read_predictions,
    real_test_tiles,
    shown,
    stored_tiles,
    write_predictions,
)
from wsi_pipeline.training.study.options import StudyRequest
from wsi_pipeline.training.study.record import Found, record, weight_facts
from wsi_pipeline.training.study.report import page
from wsi_pipeline.training.study.steps import Ledger, Outcome
from wsi_pipeline.training.study.table import METHODS, Table, make_table, write_csv
from wsi_pipeline.training.study.trainings import BASELINE, RETRAINED, STAINER
from wsi_pipeline.training.study.virtual import load_stainer, read_tiles, stain_patches

HASH_THREADS = 4


def run_study(request: StudyRequest) -> Table:
    """Do all steps that are not done yet, write table, report and index, and return the table.

    Raises UsageError, WeightsError, OutputError, ResourceError; what was done until then stays, for `resume`.
    """
    return Study(replace(request, out=request.out.expanduser().resolve())).run()


class Study:
    """One study in one folder."""

    def __init__(self, request: StudyRequest) -> None:
        """Look at what is there. Raises UsageError for a folder that holds something else, WeightsError."""
        self._request, self._out = request, request.out
        self._given = find_weights(request.stainer, request.weights) if request.stainer else None
        if self._given is not None and request.stainer:
            load_stainer(request.stainer, request.weights, request.device)  # now, not after the baseline's hours
        source = request.data if request.data == PHANTOMS else str(Path(request.data).resolve())
        asked = {
            "data": source, "options": request.options.model_dump(mode="json"), "stainer": request.stainer,
            "stainer_sha256": self._given.manifest.sha256 if self._given else None, "licence": request.licence,
        }  # fmt: skip
        self._ledger = Ledger(self._out, asked, resume=request.resume)
        self._patches: list[Patch] = []
        self._facts: dict[str, dict[str, Any]] = {}

    def run(self) -> Table:
        """Do the steps in their order."""
        self._facts["data"] = self._ledger.do("data", self._data)
        self._patches = read_index(self._out / "data.csv")
        steps = {
            "baseline": self._baseline, "baseline_test": lambda: self._test(BASELINE), "stainer": self._stainer,
            "virtual_train": lambda: self._virtual("train"), "virtual_test": lambda: self._virtual("test"),
            "filter": self._filter, "retrained": self._retrained, "retrained_test": self._retrained_test,
            "direct": self._direct,
        }  # fmt: skip
        for name, work in steps.items():
            self._facts[name] = self._ledger.do(name, work)
        return self._report()

    def _data(self) -> Outcome:
        """Step: paint if that is asked for, check, split, hash. A data set that cannot be used leaves no folder."""
        request, root = self._request, Path(self._request.data)
        if request.data == PHANTOMS:
            self._ledger.begin()
            root = paint_pairs(request.options.phantoms, self._out / "phantoms", request.show)
        request.show("checking and splitting", 0, 1)
        patches = split_data(root, request.options, trains_stainer=self._given is None)
        self._ledger.begin()
        files = [file for patch in patches for file in (patch.path, patch.he) if file is not None]
        with ThreadPoolExecutor(HASH_THREADS) as pool:
            hashes = list(pool.map(sha256, files))
        write_table(
            self._out / "files.csv", ("file", "sha256"), zip((file.resolve() for file in files), hashes, strict=True)
        )
        save_index(patches, self._out / "data.csv")
        facts = {"splits": split_facts(patches), "unlabelled_left_out": len(read_dataset(root)) - len(patches)}
        return Outcome([self._out / "data.csv", self._out / "files.csv"], facts)

    def _baseline(self) -> Outcome:
        """Step: train on real IHC."""
        return self._trained(
            BASELINE, trainings.classifier(self._request, BASELINE, self._patches, [], self._request.show)
        )

    def _test(self, name: str) -> Outcome:
        """Step: measure weights on real IHC of test."""
        request, test = self._request, of_split(self._patches, "test")
        total = count_tiles(test, request.options)
        judge = Judge(name, self._out / name, request.device)
        tiles = real_test_tiles(test, request.options)
        path = self._predictions(name)
        write_predictions(path, judge.judge(shown(tiles, lambda done: request.show(f"measuring {name}", done, total))))
        return Outcome([path], {"tiles": total})

    def _stainer(self) -> Outcome:
        """Step: take the stainer that was given, or train one on the training pairs."""
        if self._given is not None:
            return Outcome([], weight_facts(self._given.manifest, None) | {"given": True})
        manifest = trainings.stainer(self._request, self._patches, self._request.show)
        folder = self._out / STAINER
        return Outcome(_weight_files(folder, manifest), weight_facts(manifest, folder) | {"given": False})

    def _virtual(self, split: Split) -> Outcome:
        """Step: virtual IHC from the H&E of a split."""
        request, chosen = self._request, of_split(self._patches, split)
        name, folder = (request.stainer, request.weights) if request.stainer else (STAINER, self._out / STAINER)
        stainer = load_stainer(name, folder, request.device)
        table = stain_patches(
            chosen, stainer, request.options, self._out,
            lambda done: request.show(f"staining H&E of {split}", done, len(chosen)),
        )  # fmt: skip
        return Outcome([table], {"patches": len(chosen), "tiles": len(read_tiles(table))})

    def _filter(self) -> Outcome:
        """Step: the five checks on the virtual tiles of train."""
        request = self._request
        tiles = read_tiles(self._out / "virtual" / "train.csv")
        judge = Judge(BASELINE, self._out / BASELINE, request.device)
        seen = shown(stored_tiles(tiles, self._out), lambda done: request.show("filtering", done, len(tiles)))
        verdicts, counts = self._out / "filter.csv", self._out / "acceptance.csv"
        filter_tiles(judge.judge(seen), request.options.quality, verdicts)
        rows = read_table(verdicts)
        write_summary(rows, counts)
        index = save_index([*self._patches, *accepted_patches(verdicts, self._out)], self._out / "index.csv")
        return Outcome([verdicts, counts, index], {"tiles": len(rows)})

    def _retrained(self) -> Outcome:
        """Step: train on real and accepted synthetic tiles by the same recipe."""
        made = accepted_patches(self._out / "filter.csv", self._out)
        facts: dict[str, Any] = {
            "real_patches": len(of_split(self._patches, "train")), "synthetic_tiles": len(made),
            "recipe": "same settings, seed, start, steps and mix of classes; real and synthetic tiles take turns",
        }  # fmt: skip
        if not made:
            known = self._facts["baseline"]
            return Outcome([], facts | {"weights": known, "steps": known["steps"]})
        manifest = trainings.classifier(self._request, RETRAINED, self._patches, made, self._request.show)
        outcome = self._trained(RETRAINED, manifest)
        return Outcome(outcome.files, facts | {"weights": outcome.facts, "steps": outcome.facts["steps"]})

    def _retrained_test(self) -> Outcome:
        """Step: measure the retrained classifier; where nothing was accepted, it is the baseline."""
        if accepted_patches(self._out / "filter.csv", self._out):
            return self._test(RETRAINED)
        path = self._predictions(RETRAINED)
        write_atomic(path, self._predictions(BASELINE).read_bytes())
        return Outcome([path], {"tiles": len(read_table(path))})

    def _direct(self) -> Outcome:
        """Step: the baseline on virtual IHC of test, which nothing was trained on or chosen by."""
        request = self._request
        tiles = read_tiles(self._out / "virtual" / "test.csv")
        judge = Judge(BASELINE, self._out / BASELINE, request.device)
        seen = shown(stored_tiles(tiles, self._out), lambda done: request.show("classifying virtual", done, len(tiles)))
        path = self._predictions("direct")
        write_predictions(path, judge.judge(seen))
        return Outcome([path], {"tiles": len(tiles)})

    def _report(self) -> Table:
        """Check everything once more and write study.json, study.csv, figures and report.html."""
        out, request = self._out, self._request
        request.show("reporting", 0, 1)
        predictions = {method: read_predictions(self._predictions(method)) for method in METHODS}
        files = {row["file"]: row["sha256"] for row in read_table(out / "files.csv")}
        made = [row for split in ("train", "test") for row in read_table(out / "virtual" / f"{split}.csv")]
        for method in (BASELINE, RETRAINED):
            audit(
                read_index(out / "index.csv"), predictions[method], files, {row["sha256"]: row["file"] for row in made}
            )
        table = make_table(predictions, request.options.intervals)
        rows = read_table(out / "filter.csv")
        found = Found(request, self._facts, self._patches, summary(rows), table, self._stainer_manifest())
        figures = {
            "intervals": intervals_figure(table), "confusion": confusion_figure(table),
            "acceptance": acceptance_figure(found.summary),
        }  # fmt: skip
        for name, content in figures.items():
            write_atomic(out / f"{name}.png", content)
        pictures = gallery(rows, {row["patch"]: row["he"] for row in made}, out, request.options)
        write_csv(table, out / "study.csv")
        write_atomic(out / "report.html", page(found, figures, pictures).encode())
        write_json(out / "study.json", record(found, self._ledger.record()))
        return table

    def _stainer_manifest(self) -> Manifest:
        """Return the manifest of the stainer that was used."""
        return self._given.manifest if self._given else read_manifest(self._out / STAINER / f"{STAINER}.json")

    def _trained(self, name: str, manifest: Manifest) -> Outcome:
        """Return what a training of a classifier left."""
        folder = self._out / name
        steps = len(read_table(folder / "steps.csv"))
        return Outcome(_weight_files(folder, manifest), weight_facts(manifest, folder) | {"steps": steps})

    def _predictions(self, method: str) -> Path:
        """Return the table of a method's predictions."""
        return self._out / f"predictions_{method}.csv"


def _weight_files(folder: Path, manifest: Manifest) -> Sequence[Path]:
    """Return the files that make weights."""
    return [folder / manifest.file, folder / f"{manifest.name}.json"]
