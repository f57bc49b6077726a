from __future__ import annotations

import torch

from sweeplab.train.by_class import ByClass


def test_answers_are_counted_by_true_class_and_answer() -> None:
    metric = ByClass(3)
    scores = torch.eye(3)
    metric.update(scores[[0, 0, 1]], torch.tensor([0, 1, 1]))
    metric.update(scores[[2]], torch.tensor([1]))
    found = metric.compute()
    assert found["confusion_matrix"].tolist() == [[1, 0, 0], [1, 1, 1], [0, 0, 0]]
    assert found["accuracy"].tolist()[:2] == [1.0, torch.tensor(1 / 3).item()]
    assert found["accuracy"][2].isnan(), "there is no example of it"
    metric.reset()
    assert metric.compute() == {}


def test_what_is_no_answer_is_not_counted() -> None:
    metric = ByClass(3)
    metric.update(None, None)  # type: ignore[arg-type]  # as of a step that gives no output
    metric.update(torch.eye(3)[:, :2], torch.tensor([0, 1, 1]))
    metric.update(torch.eye(3), torch.eye(3))
    assert metric.compute() == {}
