"""torch._dynamo is not imported where nothing is compiled, and is there for whoever asks for it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import ready
from conftest import PROJECT

RUN = """
import runpy, sys
from sweeplab.speed import quick_exit
quick_exit.leave = lambda: None
sys.argv = ["train.py", "data=digits", "tracking=off", "trainer.epochs=1", *sys.argv[1:]]
runpy.run_path({script!r}, run_name="__main__")
print("loaded:", *[name for name in ("torch._dynamo.eval_frame", "torch._inductor") if name in sys.modules])
"""

ASK = """
import sys, torch
from sweeplab.speed import dynamo
dynamo.spare()
assert "torch._dynamo.eval_frame" not in sys.modules
model = torch.nn.Linear(2, 1)
optimizer = torch.optim.Adam(model.parameters())
model(torch.ones(1, 2)).sum().backward()
optimizer.step()
optimizer.load_state_dict(optimizer.state_dict())
assert "torch._dynamo.eval_frame" not in sys.modules, "PyTorch asks for more now: what nothing is compiled for is imported"
{asked}
assert "torch._dynamo.eval_frame" in sys.modules
assert torch.compile(lambda x: x + 1, backend="eager")(torch.ones(1)).item() == 2
print(sys.modules["torch._dynamo"].__file__)
"""


def python(program: str, *arguments: str, root: Path, loaded: bool) -> str:
    """What it says; `loaded`: forked from a process that has loaded PyTorch as a command does."""
    words = [sys.executable, "-c", program, *arguments]
    done = (ready if loaded else subprocess).run(
        words, cwd=root, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize(
    "overrides",
    [
        "",
        "optimizer.lr=0.1,0.2 sweep.report=false -m",
        pytest.param("model=cnn optimizer=sgd scheduler=one_cycle", marks=pytest.mark.full),
    ],
)
def test_a_run_does_without(root: Path, overrides: str) -> None:
    out = python(
        RUN.format(script=str(PROJECT / "train.py")),
        *overrides.split(),
        root=root,
        loaded=bool(overrides),
    )
    assert out.endswith("loaded:\n")


@pytest.mark.parametrize(
    "asked",
    [
        "torch._dynamo.config.verbose",
        "import torch._dynamo.config",
        "from torch._dynamo import reset",
        "torch.compiler.reset()",
        "torch.compile(model, backend='eager')(torch.ones(1, 2))",
    ],
)
def test_who_asks_for_it_gets_it(root: Path, asked: str) -> None:
    assert "_dynamo/__init__.py" in python(ASK.format(asked=asked), root=root, loaded=True)
