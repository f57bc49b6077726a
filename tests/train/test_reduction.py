"""Losses of a whole set: those that torch gives of all outputs and targets at once, whatever the size of the batches."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from conftest import Command
from own import Centres, Dice
from stored import only
from tiny import linear, train_state
from torch import Tensor, nn
from torch.nn.functional import one_hot
from torch.optim import SGD

from sweeplab.metrics import CLASSIFICATION, REGRESSION
from sweeplab.models import MSELoss, NLLLoss
from sweeplab.train.loop import evaluate, train_epoch
from sweeplab.train.reduction import Reduction, reduction

WEIGHTS = torch.tensor([0.1, 1.0, 7.0, 0.0])


class Pairs(nn.Module):
    """A loss of pairs of examples, as contrastive ones are."""

    def forward(self, output: Tensor, target: Tensor) -> Tensor:
        away = torch.cdist(output, output)
        same = target[:, None] == target
        return torch.where(same, away, (2 - away).relu()).mean()


class Doubled(nn.CrossEntropyLoss):
    """A loss of torch's by its class, and another by what it computes."""

    def forward(self, input: Tensor, target: Tensor) -> Tensor:  # noqa: A002
        return 2 * super().forward(input, target).square()


class Renamed(nn.CrossEntropyLoss):
    """A loss of torch's under another name."""


CLASSES: dict[str, nn.Module] = {
    "plain": nn.CrossEntropyLoss(),
    "smoothed": nn.CrossEntropyLoss(label_smoothing=0.2),
    "weighted": nn.CrossEntropyLoss(WEIGHTS),
    "weighted and smoothed": nn.CrossEntropyLoss(WEIGHTS, label_smoothing=0.2),
    "ignoring": nn.CrossEntropyLoss(ignore_index=1),
    "ignoring, weighted and smoothed": nn.CrossEntropyLoss(
        WEIGHTS, ignore_index=1, label_smoothing=0.3
    ),
    "ignoring no class": nn.CrossEntropyLoss(WEIGHTS, ignore_index=99),
    "summed": nn.CrossEntropyLoss(reduction="sum"),
    "summed and weighted": nn.CrossEntropyLoss(WEIGHTS, reduction="sum"),
    "nll": NLLLoss(WEIGHTS, ignore_index=2),
    "mse against one-hot targets": MSELoss(),
    "margins": nn.MultiMarginLoss(weight=WEIGHTS),
    "renamed": Renamed(WEIGHTS),
    "overridden": Doubled(WEIGHTS),
    "dice": Dice(),
    "pairs": Pairs(),
    "stateful": Centres(4),
}
VALUES: dict[str, nn.Module] = {
    "mse": nn.MSELoss(),
    "mse, summed": nn.MSELoss(reduction="sum"),
    "l1": nn.L1Loss(),
    "huber": nn.HuberLoss(),
    "bce": nn.BCEWithLogitsLoss(pos_weight=torch.tensor([1.0, 5.0, 1.0, 0.5])),
    "bce, weighted": nn.BCEWithLogitsLoss(weight=torch.tensor([1.0, 5.0, 1.0, 0.5])),
    "kl": nn.KLDivLoss(reduction="batchmean"),
    "poisson": nn.PoissonNLLLoss(),
}


def examples(kind: str) -> tuple[Tensor, Tensor]:
    """101 examples, of classes that lie together: batches differ much."""
    made = torch.Generator().manual_seed(0)
    classes = torch.cat(
        [torch.full((40,), 2), torch.randint(4, (21,), generator=made), torch.full((40,), 1)]
    )
    return torch.randn(101, 4, generator=made), classes if kind == CLASSIFICATION else one_hot(
        classes, 4
    ).float()


@pytest.mark.parametrize("size", [1, 7, 64, 1000])
@pytest.mark.parametrize(
    ("kind", "name"), [*((CLASSIFICATION, n) for n in CLASSES), *((REGRESSION, n) for n in VALUES)]
)
def test_the_loss_of_a_set_is_what_torch_gives_of_the_whole_set(
    kind: str, name: str, size: int
) -> None:
    loss, (inputs, targets) = (CLASSES | VALUES)[name].eval(), examples(kind)
    network = linear(torch.eye(4).tolist())
    batches = list(zip(inputs.split(size), targets.split(size), strict=True))
    measured = evaluate(train_state(network, loss, kind=kind), batches)
    with torch.no_grad():
        assert measured["loss"] == pytest.approx(
            loss(network(inputs), targets).item(), rel=1e-5, abs=1e-6
        )


@pytest.mark.parametrize("name", ["weighted", "ignoring", "summed"])
def test_the_training_loss_is_added_up_in_the_same_way(name: str) -> None:
    inputs, targets = examples(CLASSIFICATION)
    network = linear(torch.eye(4).tolist())
    job = train_state(
        network, CLASSES[name], kind=CLASSIFICATION, optimizer=SGD(network.parameters(), lr=0.0)
    )
    sums = train_epoch(job, list(zip(inputs.split(7), targets.split(7), strict=True)))
    assert sums.metrics["loss"] == pytest.approx(
        CLASSES[name](network(inputs), targets).item(), rel=1e-5
    )
    assert sums.examples == 101


@pytest.mark.parametrize("name", ["plain", "smoothed", "weighted", "summed"])
def test_shares_of_classes_are_added_up_as_torch_does(name: str) -> None:
    inputs, _ = examples(CLASSIFICATION)
    network, loss = linear(torch.eye(4).tolist()), CLASSES[name]
    shares = torch.rand(101, 4, generator=torch.Generator().manual_seed(0)).softmax(dim=1)
    job = train_state(
        network, loss, kind=CLASSIFICATION, optimizer=SGD(network.parameters(), lr=0.0)
    )
    sums = train_epoch(job, list(zip(inputs.split(7), shares.split(7), strict=True)))
    assert sums.metrics["loss"] == pytest.approx(loss(network(inputs), shares).item(), rel=1e-5)


@pytest.mark.parametrize(
    ("loss", "known"),
    [
        (nn.CrossEntropyLoss(), Reduction.MEAN),
        (Renamed(), Reduction.MEAN),
        (NLLLoss(), Reduction.MEAN),
        (nn.CrossEntropyLoss(ignore_index=0), Reduction.WEIGHTED),
        (nn.MSELoss(reduction="sum"), Reduction.SUM),
        (nn.CrossEntropyLoss(WEIGHTS, label_smoothing=0.1), Reduction.WHOLE),
        (Doubled(), Reduction.WHOLE),
        (Dice(), Reduction.WHOLE),
    ],
)
def test_only_what_torch_computes_itself_is_known(loss: nn.Module, known: Reduction) -> None:
    assert reduction(loss) is known


def test_a_loss_with_a_hook_is_not_known() -> None:
    loss = nn.MSELoss()
    loss.register_forward_hook(lambda *_: None)
    assert reduction(loss) is Reduction.WHOLE


WEIGHTED = ("+loss.weight._target_=torch.tensor", "+loss.weight.data=[0.01,5,1,1,1,1,1,1,0.2,3]")


@pytest.mark.parametrize(
    "loss",
    [
        WEIGHTED,
        ("+loss.reduction=sum", "optimizer.lr=0.0001"),
        ("+loss.ignore_index=3",),
        ("loss._target_=own.Dice", "~loss.label_smoothing"),
    ],
    ids=["weights", "sum", "ignored", "a user's own"],
)
def test_the_same_epoch_is_the_best_whatever_the_size_of_the_batches_of_an_evaluation(
    train: Command, root: Path, loss: tuple[str, ...]
) -> None:
    found = []
    for size in (7, 64, 1000):
        more = (
            f"trainer.eval_batch_size={size}",
            "trainer.monitor=valid/loss",
            "trainer.epochs=6",
            "trainer.threads=1",
        )
        ended = train("data=digits", "model.hidden=16", *loss, *more, f"store.root={size}")
        assert ended.code == 0, ended.err
        run = only(root, str(size))
        result = run.result()
        assert result is not None
        found.append(({n: m["valid/loss"] for n, m in run.epochs().items()}, result.metrics))
    for epochs, final in found[1:]:
        assert epochs == pytest.approx(found[0][0], rel=1e-5)
        assert final["best_epoch"] == found[0][1]["best_epoch"]
        assert final["test/loss"] == pytest.approx(found[0][1]["test/loss"], rel=1e-5)
