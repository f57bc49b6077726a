"""Adam and AdamW without torch's Python: the same bits, and left alone where something is unusual."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch.optim import SGD, Adam, AdamW, Optimizer
from torch.optim.lr_scheduler import ExponentialLR

from sweeplab.models import MLP
from sweeplab.speed import adam

Make = Callable[[nn.Module], Optimizer]
OPTIMIZERS: dict[str, Make] = {
    "adam": lambda model: Adam(model.parameters(), 0.01, fused=True),
    "amsgrad": lambda model: Adam(model.parameters(), 0.01, amsgrad=True, fused=True),
    "maximize": lambda model: Adam(model.parameters(), 0.01, maximize=True, fused=True),
    "adamw": lambda model: AdamW(model.parameters(), 0.01, weight_decay=0.1, fused=True),
    "groups": lambda model: AdamW(
        [{"params": [p], "lr": 0.01 * n} for n, p in enumerate(model.parameters())], fused=True
    ),
}


def steps(optimizer: Optimizer, model: nn.Module, count: int, **skipped: int) -> None:
    schedule = ExponentialLR(optimizer, 0.9)
    torch.manual_seed(count)
    looks: list[int] = []

    def look() -> torch.Tensor:
        optimizer.zero_grad()
        loss: torch.Tensor = model(torch.randn(8, 6)).square().mean()
        loss.backward()
        if len(looks) == skipped.get("without_gradient"):
            next(model.parameters()).grad = None
        looks.append(1)
        return loss

    for _ in range(count):
        optimizer.step(look)
        schedule.step()


@pytest.fixture
def called(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """One for each step that was made directly."""
    seen: list[int] = []
    update = adam._Direct._update

    def counted(this: Any, *groups: Any) -> bool:
        done = update(this, *groups)
        seen.append(1) if done else None
        return done

    monkeypatch.setattr(adam._Direct, "_update", counted)
    return seen


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_direct_step_has_the_bits_of_torchs(called: list[int], name: str) -> None:
    ends = []
    for direct in (False, True):
        torch.manual_seed(0)
        model = MLP(6, 3, 5)
        optimizer = OPTIMIZERS[name](model)
        if direct:
            adam.use(optimizer)
            assert isinstance(optimizer, adam.Adam | adam.AdamW)
        steps(optimizer, model, 6)
        saved = optimizer.state_dict()
        steps(optimizer, model, 5, without_gradient=2)
        optimizer.load_state_dict(saved)
        steps(optimizer, model, 3)
        values = [value.tolist() for value in model.state_dict().values()]
        kept = {name: value for name, value in vars(optimizer).items() if isinstance(value, str)}
        ends.append((values, kept, list(vars(optimizer))))
    assert ends[0] == ends[1], "attributes, too, which a checkpoint keeps"
    assert sum(called) == 5 + 4 + 2


def test_what_is_unusual_is_left_to_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    model = nn.Linear(2, 2)
    for other in (Adam(model.parameters()), SGD(model.parameters(), fused=True)):
        kind = type(other)
        adam.use(other)
        assert type(other) is kind
    fused = Adam(model.parameters(), fused=True)
    monkeypatch.setenv("SWEEPLAB_PLAIN", "1")
    adam.use(fused)
    assert type(fused) is Adam


def test_hooks_of_an_optimizer_are_called() -> None:
    model = nn.Linear(6, 3)
    optimizer = Adam(model.parameters(), fused=True)
    adam.use(optimizer)
    heard: list[int] = []
    optimizer.register_step_post_hook(lambda *_: heard.append(1))
    steps(optimizer, model, 4)
    assert heard == [1, 1, 1, 1]
