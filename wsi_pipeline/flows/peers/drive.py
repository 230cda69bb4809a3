"""Classify a slide's tiles with another pipeline, and say how long it took: run by an interpreter that has it.

Usage: python drive.py wsinfer|tiatoolbox ORDER.json; the order names what `bench_peers.Order` holds. The report holds
how many tiles were classified, and when the first batch was asked for and the last one done, s since the epoch.
"""

from __future__ import annotations

import importlib
import json
import sys
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

Order = dict[str, Any]


def main() -> None:
    """Run the pipeline in this process, offline, and write the report."""
    peer, order = sys.argv[1], json.loads(Path(sys.argv[2]).read_text(encoding="utf-8"))
    warnings.simplefilter("ignore")
    torch = importlib.import_module("torch")
    torch.set_num_threads(order["threads"])
    first = stamp_first_batch(torch)
    tiles, version = {"wsinfer": run_wsinfer, "tiatoolbox": run_tiatoolbox}[peer](order, torch)
    ended = time.time()
    report = {
        "tiles": tiles, "first_batch": first[0] if first else ended, "ended": ended,
        "versions": {peer: version, "torch": torch.__version__},
    }  # fmt: skip
    Path(order["report"]).write_text(json.dumps(report), encoding="utf-8")


def run_wsinfer(order: Order, _torch: Any) -> tuple[int, str]:
    """Run `wsinfer run`, and return how many tiles it classified, and its version."""
    client: Any = importlib.import_module("wsinfer_zoo.client")
    client.load_registry = lambda *_: SimpleNamespace(models={})  # asked at import for its list of models, online
    wsinfer = importlib.import_module("wsinfer")
    words = [
        "--wsi-dir", order["folder"], "--results-dir", order["out"],
        "--config", f"{order['model']}/config.json", "--model-path", f"{order['model']}/torchscript_model.pt",
        "--batch-size", order["batch_tiles"], "--num-workers", order["workers"],
        "--speedup" if order["compile"] else "--no-speedup",
    ]  # fmt: skip
    importlib.import_module("wsinfer.cli.infer").run([str(word) for word in words], standalone_mode=False)
    tables = [path.read_text(encoding="utf-8").splitlines() for path in Path(order["out"]).rglob("*.csv")]
    return sum(len(table) - 1 for table in tables), wsinfer.__version__


def run_tiatoolbox(order: Order, torch: Any) -> tuple[int, str]:
    """Run TIAToolbox's PatchPredictor as its documentation does for a model of one's own; see `run_wsinfer`."""
    tiatoolbox = importlib.import_module("tiatoolbox")
    tiatoolbox.rcParam["torch_compile_mode"] = "default" if order["compile"] else "disable"
    config = json.loads(Path(order["model"], "config.json").read_text(encoding="utf-8"))
    engine = importlib.import_module("tiatoolbox.models.engine.patch_predictor")
    io_config = importlib.import_module("tiatoolbox.models.engine.io_config")
    side = config["patch_size_pixels"]
    places = io_config.IOPatchPredictorConfig(
        input_resolutions=[{"units": "mpp", "resolution": config["spacing_um_px"]}],
        patch_input_shape=[side, side],
        stride_shape=[side, side],
    )
    model = model_for_tiatoolbox(torch, config, Path(order["model"], "torchscript_model.pt"))
    predictor = engine.PatchPredictor(
        model=model, batch_size=order["batch_tiles"], num_workers=order["workers"], device="cpu", verbose=False
    )
    slides = sorted(Path(order["folder"]).iterdir())
    predictor.run(
        slides, patch_mode=False, ioconfig=places, save_dir=order["out"], output_type="zarr", overwrite=True,
        return_probabilities=True,
    )  # fmt: skip
    return len(predictor.dataloader.dataset), tiatoolbox.__version__


def model_for_tiatoolbox(torch: Any, config: dict[str, Any], path: Path) -> Any:
    """Return the network as TIAToolbox wants models of one's own, with the preparation that its config names."""
    abc = importlib.import_module("tiatoolbox.models.models_abc")
    transforms = importlib.import_module("torchvision.transforms")
    image = importlib.import_module("PIL.Image")
    steps = {step["name"]: step.get("arguments", {}) for step in config["transform"]}
    prepare = transforms.Compose([
        transforms.Resize(steps["Resize"]["size"]), transforms.ToTensor(), transforms.Normalize(**steps["Normalize"]),
    ])  # fmt: skip

    class Model(abc.ModelABC):  # type: ignore[name-defined,misc]
        """The network in TIAToolbox's frame."""

        def __init__(self) -> None:
            super().__init__()
            self.network = torch.jit.load(str(path), map_location="cpu").eval()

        def forward(self, tiles: Any) -> Any:
            """Return the logits (B, 4) of prepared tiles (B, 3, h, w)."""
            return self.network(tiles)

        @staticmethod
        def preproc(image_: Any) -> Any:
            """Return a tile (H, W, 3) uint8 as the network wants it, (3, h, w)."""
            return prepare(image.fromarray(image_))

        @staticmethod
        def infer_batch(model: Any, batch_data: Any, *, device: str) -> Any:
            """Return the probabilities (B, 4) of a batch."""
            with torch.inference_mode():
                return torch.softmax(model(batch_data.to(device)), dim=1).cpu().numpy()

        @staticmethod
        def postproc(image_: Any) -> Any:
            """Return the likeliest class of each tile."""
            return image_.argmax(axis=1)

    return Model()


def stamp_first_batch(torch: Any) -> list[float]:
    """Return a list that receives the times at which batches begin to be asked for."""
    loader, stamps = torch.utils.data.DataLoader, []
    plain = loader.__iter__

    def stamped(self: Any) -> Iterator[Any]:
        stamps.append(time.time())
        found: Iterator[Any] = plain(self)
        return found

    loader.__iter__ = stamped
    return stamps


if __name__ == "__main__":
    main()
