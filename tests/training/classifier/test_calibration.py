"""Temperature and figures."""

from __future__ import annotations

import math

import numpy as np
import pytest

REASON = "needs the models extra: pip install '.[models]'"
torch = pytest.importorskip("torch", reason=REASON)
pytest.importorskip("torchvision", reason=REASON)

from tests.training.classifier import tiny  # noqa: E402
from wsi_pipeline.training.classifier.calibration import COLDEST, fit_temperature, fold_temperature  # noqa: E402
from wsi_pipeline.training.classifier.evaluation import Answers, calibration_error, evaluate  # noqa: E402


def drawn(temperature: float, tiles: int = 40_000) -> Answers:
    """Return logits that are `temperature` times too large for the labels drawn from them."""
    rng = np.random.default_rng(12)
    logits = rng.normal(0, 1.5, (tiles, 4))
    labels = (logits + rng.gumbel(size=logits.shape)).argmax(axis=1)
    return Answers(logits * temperature, labels)


@pytest.mark.parametrize("temperature", [0.4, 1.0, 3.0])
def test_the_temperature_is_found_and_calibrates(temperature: float) -> None:
    answers = drawn(temperature)
    found = fit_temperature(*answers)
    assert found == pytest.approx(temperature, rel=0.06)
    assert calibration_error(Answers(answers.logits / found, answers.labels)) < 0.01
    if temperature != 1.0:
        assert calibration_error(answers) > 0.08


def test_a_few_tiles_without_error_do_not_ask_for_certainty() -> None:
    labels = np.array([0, 1, 2, 3, 1])
    found = fit_temperature(np.eye(4)[labels] * 5.0, labels)
    assert found > 4 * COLDEST
    confidence = math.exp(5 / found) / (math.exp(5 / found) + 3)
    assert confidence == pytest.approx(1 - 1 / 7, abs=1e-3)


def test_folding_divides_the_logits_and_nothing_else() -> None:
    network = tiny.network().eval()
    features = torch.rand(9, 12, 2, 3, generator=torch.Generator().manual_seed(2))
    with torch.inference_mode():
        before = network.logits(features)
        state = network.state_dict()
        folded = fold_temperature(state, 1.7)
        network.load_state_dict(folded)
        assert torch.allclose(network.logits(features), before / 1.7, rtol=1e-5, atol=1e-7)
    changed = [name for name in state if not torch.equal(tiny.network().state_dict()[name], folded[name])]
    assert changed == ["classifier.8.weight", "classifier.8.bias"]


def test_figures_of_a_known_table() -> None:
    labels = np.array([0, 0, 1, 1, 1, 2, 3, 3])
    named = np.array([0, 1, 1, 1, 3, 2, 3, 0])
    figures = evaluate(Answers(np.eye(4)[named] * 9.0, labels))
    assert figures.confusion.tolist() == [[1, 1, 0, 0], [0, 2, 0, 1], [0, 0, 1, 0], [1, 0, 0, 1]]
    assert figures.accuracy == pytest.approx(5 / 8)
    assert figures.recall == pytest.approx((1 / 2, 2 / 3, 1.0, 1 / 2))
    assert figures.cuts == pytest.approx((6 / 8, 6 / 8, 6 / 8))
    truth, said = [2, 3, 1, 2], [2, 3, 1, 2]
    chance = sum((i - j) ** 2 * truth[i] * said[j] / 8 for i in range(4) for j in range(4))
    assert figures.kappa == pytest.approx(1 - (1 + 4 + 9) / chance)
    assert figures.nll == pytest.approx((3 * 9) / 8, abs=0.01)
    assert figures.calibration_error == pytest.approx(3 / 8, abs=0.01)


def test_what_cannot_be_said_is_no_number() -> None:
    figures = evaluate(Answers(np.eye(4)[[1, 1]] * 3.0, np.array([1, 1])))
    assert math.isnan(figures.kappa)
    assert math.isnan(figures.recall[0])
    assert figures.accuracy == 1.0
