"""The parts of this project alone, and each of its experiments as sweeplab would plan it."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from own_project.data import Tumours
from own_project.metric import Recall
from own_project.model import Residual
from own_project.step import noisy

PROJECT = Path(__file__).parent.parent


def test_the_set_has_212_malignant_and_357_benign_tumours() -> None:
    tumours = Tumours()
    assert tumours.targets.bincount().tolist() == [212, 357]
    assert tumours[0][0].shape == (30,)
    assert tumours.inputs.mean(0).abs().max() < 1e-5


def test_a_block_that_does_nothing_lets_its_input_through_only_with_skip() -> None:
    inputs = torch.ones(2, 3)
    for skip, same in ((True, True), (False, False)):
        network = Residual(3, 2, width=4, depth=3, skip=skip).eval()
        for block in network.blocks:
            torch.nn.init.zeros_(block[1].weight)
        assert torch.equal(network(inputs), network.last(network.first(inputs))) is same


def test_recall_counts_over_batches() -> None:
    recall = Recall(of=0)
    sure_of_0, sure_of_1 = [1.0, 0.0], [0.0, 1.0]
    recall.update(torch.tensor([sure_of_0, sure_of_1, sure_of_0]), torch.tensor([0, 0, 1]))
    recall.update(torch.tensor([sure_of_0]), torch.tensor([0]))
    assert float(recall.compute()) == pytest.approx(2 / 3)
    recall.reset()
    assert recall.compute().isnan()


@torch.no_grad()
def test_the_step_adds_noise_in_training_only() -> None:
    network, loss = torch.nn.Linear(30, 2), torch.nn.CrossEntropyLoss()
    batch = Tumours().inputs[:8], Tumours().targets[:8]
    plain = float(loss(network(batch[0]), batch[1]))
    assert float(noisy(network.eval(), loss, batch)["loss"]) == pytest.approx(plain)
    assert float(noisy(network.train(), loss, batch)["loss"]) != pytest.approx(plain)
    right = network(batch[0]).gather(1, batch[1][:, None])
    ahead = right - network(batch[0]).gather(1, 1 - batch[1][:, None])
    assert float(noisy(network.eval(), loss, batch)["margin"]) == pytest.approx(float(ahead.mean()))


@pytest.mark.parametrize(
    "experiment", sorted(file.stem for file in (PROJECT / "experiments").glob("*.yaml"))
)
def test_every_cell_of_every_experiment_is_in_order(experiment: str, tmp_path: Path) -> None:
    program = [
        sys.executable,
        str(PROJECT / "train.py"),
        f"experiment={experiment}",
        "sweep.plan=true",
    ]
    done = subprocess.run(program, cwd=tmp_path, capture_output=True, text=True, check=False)  # noqa: S603
    assert done.returncode == 0, done.stderr
    assert "20 jobs" in done.stdout
