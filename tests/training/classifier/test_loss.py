"""The loss knows the order of the classes and is least for true probabilities."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the models extra: pip install '.[models]'")

from hypothesis import given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402
from torch.nn import functional  # noqa: E402

from wsi_pipeline.training.classifier.loss import ordinal_loss, ranked_probability_score  # noqa: E402


def sure(answer: int) -> object:
    return torch.log(torch.tensor([[0.97 if k == answer else 0.01 for k in range(4)]]))


def test_farther_wrong_answers_cost_more() -> None:
    truth = torch.tensor([0])
    costs = [float(ordinal_loss(sure(k), truth, 1.0)) for k in range(4)]
    assert costs == sorted(costs)
    assert costs[3] > costs[1] + 1.5
    plain = [float(ordinal_loss(sure(k), truth, 0.0)) for k in range(4)]
    assert plain[1] == pytest.approx(plain[3]), "cross entropy alone does not know the order"


def test_the_score_is_the_squared_distance_of_the_cumulated_answers() -> None:
    logits = torch.log(torch.tensor([[0.1, 0.2, 0.3, 0.4], [0.25, 0.25, 0.25, 0.25]]))
    expected = ((0.1**2 + 0.3**2 + 0.6**2) + (0.75**2 + 0.5**2 + 0.25**2)) / 2
    assert float(ranked_probability_score(logits, torch.tensor([3, 0]))) == pytest.approx(expected, abs=1e-6)


@settings(max_examples=40, deadline=None)
@given(
    truth=st.lists(st.floats(0.05, 1.0), min_size=4, max_size=4),
    other=st.lists(st.floats(0.05, 1.0), min_size=4, max_size=4),
    weight=st.floats(0.0, 5.0),
)
def test_no_answer_costs_less_than_the_true_probabilities(
    truth: list[float], other: list[float], weight: float
) -> None:
    p, q = (np.array(values) / sum(values) for values in (truth, other))

    def expected_cost(answer: np.ndarray) -> float:
        logits = torch.log(torch.tensor(answer))[None]
        return sum(p[k] * float(ordinal_loss(logits, torch.tensor([k]), weight)) for k in range(4))

    assert expected_cost(p) <= expected_cost(q) + 1e-5


def test_smoothing_is_that_of_cross_entropy() -> None:
    logits, labels = torch.randn(5, 4, generator=torch.Generator().manual_seed(1)), torch.tensor([0, 3, 2, 2, 1])
    expected = functional.cross_entropy(logits, labels, label_smoothing=0.1)
    assert float(ordinal_loss(logits, labels, 0.0, 0.1)) == pytest.approx(float(expected))


def test_unknown_labels_do_not_count() -> None:
    logits = torch.randn(4, 4, generator=torch.Generator().manual_seed(1), requires_grad=True)
    some = ordinal_loss(logits, torch.tensor([-1, 2, -1, 0]), 1.0)
    assert some.item() == pytest.approx(ordinal_loss(logits[[1, 3]], torch.tensor([2, 0]), 1.0).item())
    none = ordinal_loss(logits, torch.full((4,), -1), 1.0)
    none.backward()
    assert none.item() == 0.0
    assert not logits.grad.any()
