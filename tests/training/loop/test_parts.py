"""Averaged weights, curves, schedule, settings, steps and pictures."""

from __future__ import annotations

import itertools
import math
from pathlib import Path

import cv2
import pytest
from pydantic import BaseModel, ConfigDict, Field

torch = pytest.importorskip("torch", reason="needs the models extra: pip install '.[models]'")

from torch import nn  # noqa: E402

from wsi_pipeline.errors import OutputError, UsageError  # noqa: E402
from wsi_pipeline.models.runtime import Runtime  # noqa: E402
from wsi_pipeline.training.loop.curves import Curve  # noqa: E402
from wsi_pipeline.training.loop.ema import Ema  # noqa: E402
from wsi_pipeline.training.loop.plot import draw_curves  # noqa: E402
from wsi_pipeline.training.loop.schedule import cosine_rate  # noqa: E402
from wsi_pipeline.training.loop.settings import load_options  # noqa: E402
from wsi_pipeline.training.loop.stepping import Stepper, training_runtime  # noqa: E402


def test_the_average_follows_weights_and_statistics() -> None:
    network = nn.BatchNorm1d(2)
    ema = Ema(network, 0.5)
    with torch.no_grad():
        network.weight.fill_(3.0)
        network.running_mean.fill_(8.0)
        network.num_batches_tracked.fill_(4)
    ema.update(network)  # weight of the past: min(0.5, 1 / 10)
    state = ema.network.state_dict()
    assert state["weight"].tolist() == pytest.approx([0.1 * 1 + 0.9 * 3] * 2)
    assert state["running_mean"].tolist() == pytest.approx([0.9 * 8] * 2)
    assert int(state["num_batches_tracked"]) == 4
    for _ in range(20):
        before = float(ema.network.state_dict()["weight"][0])
        ema.update(network)
    assert float(ema.network.state_dict()["weight"][0]) - before == pytest.approx((3 - before) / 2, abs=1e-6)


def test_without_decay_the_average_is_the_network() -> None:
    network = nn.Linear(3, 2)
    ema = Ema(network, 0.0)
    with torch.no_grad():
        network.weight.mul_(-1.7)
    ema.update(network)
    assert torch.equal(ema.network.weight, network.weight)
    assert not ema.network.weight.requires_grad


def test_a_curve_reads_back_to_the_bit_and_forgets_what_came_later(tmp_path: Path) -> None:
    curve = Curve(tmp_path / "c.csv", ("loss",))
    curve.start()
    losses = [1 / 3, 2.0, float("inf"), 1e-17, 0.1]
    for step, loss in enumerate(losses):
        curve.add(step, {"loss": loss})
    curve.sync()
    with curve.path.open("a") as file:
        file.write("5,0.2")  # killed in the middle of a line
    again = Curve(curve.path, ("loss",))
    again.rewind(4)
    assert again.column("loss") == losses[:4]
    again.add(4, {"loss": losses[4]})
    assert again.path.read_text() == f"step,loss\n0,{1 / 3!r}\n1,2\n2,inf\n3,1e-17\n4,0.1\n"


@pytest.mark.parametrize("content", ["", "step,other\n", "step,loss\n1,x\n", "step,loss\n1\n"])
def test_another_file_is_no_curve(tmp_path: Path, content: str) -> None:
    (tmp_path / "c.csv").write_text(content)
    with pytest.raises(OutputError, match=r"c\.csv"):
        Curve(tmp_path / "c.csv", ("loss",)).rewind(4)


def test_the_rate_rises_in_a_line_and_falls_along_a_cosine() -> None:
    rates = [cosine_rate(step, 30, 10, 0.1) for step in range(31)]
    assert rates[:10] == pytest.approx([(step + 1) / 10 for step in range(10)])
    assert rates[10] == 1.0
    assert rates[20] == pytest.approx(0.1 + 0.9 / 2)
    assert rates[30] == pytest.approx(0.1)
    assert all(a > b for a, b in itertools.pairwise(rates[10:]))
    assert cosine_rate(0, 5, 0, 0.0) == 1.0


class Inner(BaseModel):
    """A group."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    weight: float = Field(1.0, ge=0)


class Toy(BaseModel):
    """Options with a group."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    epochs: int = Field(3, ge=1)
    inner: Inner = Inner()


def test_presets_list_what_differs_and_overrides_win(tmp_path: Path) -> None:
    preset = tmp_path / "mine.yaml"
    preset.write_text("epochs: 5\ninner: {weight: 2}\n")
    assert load_options(Toy, "toy", None, {}) == Toy()
    assert load_options(Toy, "toy", str(preset), {}) == Toy(epochs=5, inner=Inner(weight=2))
    assert load_options(Toy, "toy", str(preset), {"inner.weight": 4}).inner.weight == 4


@pytest.mark.parametrize(
    ("content", "overrides", "words"),
    [
        ("epoch: 5", {}, "setting epoch"),
        ("epochs: 0", {}, "setting epochs"),
        ("- 5", {}, "does not hold a mapping"),
        ("{", {}, "cannot be read as YAML"),
        ("epochs: 5", {"epochs.last": 1}, "epochs is a value"),
    ],
)
def test_bad_presets_are_named(tmp_path: Path, content: str, overrides: dict[str, int], words: str) -> None:
    preset = tmp_path / "mine.yaml"
    preset.write_text(content)
    with pytest.raises(UsageError, match=words):
        load_options(Toy, "toy", str(preset), overrides)


def test_an_unknown_preset_says_which_there_are() -> None:
    with pytest.raises(UsageError, match=r"there are: .*source"):
        load_options(Toy, "classifier", "nosuch", {})


def test_steps_clip_gradients_and_refuse_a_loss_that_is_no_number() -> None:
    network = nn.Linear(1, 1, bias=False)
    with torch.no_grad():
        network.weight.fill_(2.0)
    stepper = Stepper(torch.optim.SGD(network.parameters(), lr=1.0), Runtime(), 0.5)
    norm = stepper.step(7.0 * network.weight.sum(), network)
    assert norm == pytest.approx(7.0)
    assert network.weight.item() == pytest.approx(1.5, abs=1e-5)
    with pytest.raises(UsageError, match="no longer a finite number"):
        stepper.step(network.weight.sum() * math.nan, network)
    assert network.weight.item() == pytest.approx(1.5, abs=1e-5)


def test_processors_train_in_fp32_unless_asked() -> None:
    assert training_runtime("ihcnet", "cpu", "auto").precision == "fp32"
    asked = training_runtime("ihcnet", "cpu", "bf16")
    assert asked.precision == "bf16"
    network = nn.Linear(4, 4)
    with Stepper(torch.optim.SGD(network.parameters(), lr=1.0), asked, 0.0).autocast():
        assert network(torch.ones(2, 4)).dtype == torch.bfloat16


def test_curves_become_a_picture(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="needs the train extra: pip install '.[train]'")
    line = ([0.0, 1.0, 2.0], [3.0, float("nan"), 1.0])
    draw_curves(tmp_path / "c.png", {"loss": {"train": line, "val": line}, "rate": {"rate": line}})
    picture = cv2.imread(str(tmp_path / "c.png"))
    assert picture.shape[1] > 2 * picture.shape[0]
    assert picture.std() > 5
