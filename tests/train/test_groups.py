"""Parameter groups and frozen parameters by name: what matches, what is refused, and what a run makes of them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from conftest import Command
from stored import only
from torch import nn

from sweeplab.errors import UserError
from sweeplab.runs.weights import load_weights
from sweeplab.train import groups

RUN = ("data=digits", "trainer.threads=1", "trainer.epochs=1", "model.hidden=8")


class Tied(nn.Module):
    """One weight under two names."""

    def __init__(self) -> None:
        super().__init__()
        self.encode = nn.Linear(2, 2, bias=False)
        self.norm = nn.LayerNorm(2)
        self.decode = nn.Linear(2, 2)
        self.decode.weight = self.encode.weight


def shapes(node: dict[str, object]) -> list[tuple[dict[str, object], int]]:
    """The arguments of each group, and how many parameters it has."""
    found = groups.grouped(node, groups.named_parameters(Tied(), nn.PReLU()))
    return [
        ({k: v for k, v in each.items() if k != "params"}, len(each["params"])) for each in found
    ]


def test_each_parameter_stands_once_under_all_its_names() -> None:
    assert list(groups.named_parameters(Tied(), nn.PReLU())) == [
        ("encode.weight", "Linear.weight", "decode.weight"),
        ("norm.weight", "LayerNorm.weight"),
        ("norm.bias", "LayerNorm.bias"),
        ("decode.bias", "Linear.bias"),
        ("loss.weight", "PReLU.weight"),
    ]


def test_parameters_with_the_same_arguments_are_a_group() -> None:
    assert shapes({}) == [({}, 5)]
    patterns = {
        "*.bias": {"weight_decay": 0},
        "LayerNorm.*": {"weight_decay": 0},
        "decode.w*": {"lr": 2},
    }
    assert shapes({"groups": patterns}) == [({"lr": 2}, 1), ({"weight_decay": 0}, 3), ({}, 1)]
    assert shapes({"groups": dict(reversed(patterns.items()))}) == shapes({"groups": patterns})


@pytest.mark.parametrize(
    ("patterns", "message"),
    [
        ({"*.bia": {"lr": 1}}, "optimizer.groups: no parameter matches *.bia; valid: LayerNorm.bias, "),
        ({"*.bias": {"lr": 1}, "norm.*": {"lr": 2}}, "optimizer.groups: norm.bias is given two values of lr, by *.bias (1) and norm.* (2)"),
    ],
)  # fmt: skip
def test_patterns_without_a_match_or_with_a_contradiction_are_refused(
    patterns: dict[str, object], message: str
) -> None:
    with pytest.raises(UserError) as refused:
        shapes({"groups": patterns})
    assert str(refused.value).startswith(message)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("trainer.freeze=[x.*]", "trainer.freeze: no parameter matches x.*; valid: 0.bias"),
        ("trainer.freeze=[*]", "trainer.freeze=['*']: freezes all parameters: nothing is trained"),
        ("trainer.freeze=[1]", "trainer.freeze: no parameter matches 1; "),
        ("trainer.freeze={a:1}", "trainer.freeze={'a': 1}: must be a list of texts, or null"),
        ("trainer.accumulate=0", "trainer.accumulate=0: must be a whole number >= 1, or null"),
        ("trainer.accumulate=11", "trainer.accumulate=11: an epoch has 10 batches; give at most that"),
        ("trainer.ema=1", "trainer.ema=1: must be a number > 0 and < 1, or null"),
        ("trainer.ema=true", "trainer.ema=true: must be a number > 0 and < 1, or null"),
        ("optimizer.groups={*.bias:{weight_deca:0}}", "optimizer.groups.*.bias.weight_deca=0: torch.optim.Adam has no argument 'weight_deca'; did you mean 'weight_decay'?"),
        ("optimizer.groups={*.bias:{lr:-1}}", "optimizer.groups.*.bias.lr=-1: Invalid learning rate: -1 (torch.optim.Adam)"),
        ("optimizer.groups={*.bias:{lr:fast}}", "optimizer.groups.*.bias.lr=fast: must be a number"),
        ("optimizer.groups={*.bias:0}", "optimizer.groups.*.bias=0: a section of patterns is needed"),
        ("optimizer.groups={*.bias:{_target_:torch.optim.SGD}}", "optimizer.groups.*.bias._target_=torch.optim.SGD: a group has other arguments, not another class"),
        ("optimizer.groups=[bias]", "optimizer.groups=['bias']: a section of patterns is needed"),
        ("optimizer.groups={x.bias:{lr:1}}", "optimizer.groups: no parameter matches x.bias; did you mean "),
    ],
)  # fmt: skip
def test_what_cannot_be_is_said_before_any_work(
    train: Command, root: Path, override: str, message: str
) -> None:
    refused = train(*RUN, override)
    assert refused.code == 2
    assert refused.err.startswith(message)
    assert not (root / "runs").exists()


@pytest.mark.parametrize("how", ["trainer.accumulate=2", "trainer.precision=fp16"])
def test_an_optimizer_that_looks_again_is_refused_where_it_cannot(train: Command, how: str) -> None:
    lbfgs = ("~optimizer", "+optimizer._target_=torch.optim.LBFGS")
    refused = train(*RUN, *lbfgs, how)
    assert refused.code == 2
    assert refused.err.startswith("optimizer=torch.optim.LBFGS: looks at a batch several times")


def test_frozen_parameters_stay_and_groups_have_their_own_rates(train: Command, root: Path) -> None:
    assert train(*RUN, "trainer.epochs=2", "store.root=free").code == 0
    own = ("trainer.epochs=2", "trainer.freeze=[0.weight]", "optimizer.groups={*.bias:{lr:0}}")
    assert train(*RUN, *own).code == 0
    weights, free = (
        load_weights(only(root).weights_file),
        load_weights(only(root, "free").weights_file),
    )
    torch.manual_seed(0)
    assert not torch.equal(weights["0.weight"], free["0.weight"])
    assert torch.equal(weights["1.bias"], torch.zeros(8)), "as BatchNorm begins"
    assert not torch.equal(free["1.bias"], torch.zeros(8))
    rates = {name: value for name, value in only(root).epochs()[2].items() if "lr" in name}
    assert rates == {"train/lr_0": 0.001, "train/lr_1": 0}


def test_one_batch_an_update_is_as_none_and_empty_patterns_are_as_none(
    train: Command, root: Path
) -> None:
    train(*RUN)
    more = ("trainer.accumulate=1", "trainer.freeze=[]", "optimizer.groups={}")
    for same in more:
        assert train(*RUN, same).code == 0
    only(root)


def test_the_order_of_frozen_patterns_does_not_matter(train: Command, root: Path) -> None:
    for patterns in ("[0.*,1.*]", "[1.*,0.*]", "[1.*,0.*,1.*]"):
        assert train(*RUN, f"trainer.freeze={patterns}").code == 0
    only(root)


def test_accumulating_takes_whole_groups_of_batches(train: Command, root: Path) -> None:
    """Ten batches, of which nine are trained on, in three updates."""
    how = ("trainer.accumulate=3", "scheduler=one_cycle", "trainer.scheduler_interval=step")
    assert train(*RUN, *how).code == 0
    assert only(root).start()["asked"]["trainer"]["accumulate"] == 3
