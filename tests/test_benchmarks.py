"""The peers of the benchmarks train the same network on the same examples as sweeplab, and the suite counts right."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks import epoch, sweep32
from benchmarks.measure import PROJECT, Row, spread
from benchmarks.peers import bare, by_hand, tensors
from sweeplab import config, models
from sweeplab.compare.statistics import Mean
from sweeplab.data import splitting


def ours() -> torch.nn.Module:
    return models.MLP(784, 10, [392, 196])


def test_the_peers_hold_out_the_examples_that_sweeplab_does() -> None:
    settings = config.compose([]).data
    found = splitting.draw(settings, 60_000, 10_000)
    mine = tensors.to_train_on(60_000)
    _, theirs = torch.utils.data.random_split(
        range(60_000), [5_000, 55_000], torch.Generator().manual_seed(0)
    )
    assert len(mine) == 55_000
    assert sorted(mine.tolist()) == sorted(theirs.indices) == found.train.tolist()


def test_the_bare_loop_has_the_same_network() -> None:
    torch.manual_seed(0)
    theirs = bare.network()
    torch.manual_seed(0)
    mine = ours()
    for name, weights in mine.state_dict().items():
        assert torch.equal(weights, theirs.state_dict()[name])
    assert [type(layer) for layer in mine.children()] == [
        type(layer) for layer in theirs.children()
    ]


def test_the_backward_pass_by_hand_gives_the_gradients_of_autograd() -> None:
    torch.manual_seed(0)
    model, x, y = bare.network(), torch.randn(128, 784), torch.arange(128) % 10
    torch.nn.functional.cross_entropy(model(x), y).backward()
    expected = [parameter.grad for parameter in model.parameters()]
    by_hand.ByHand(model).step(x, y)
    for parameter, gradient in zip(model.parameters(), expected, strict=True):
        assert torch.allclose(parameter.grad, gradient, atol=1e-6)


BY_JAX = """
import sys
import numpy as np
from benchmarks.peers import jax_scan
given = dict(np.load(sys.argv[1]))
x = given.pop("x")
kinds = ("w", "b", "scale", "shift")
weights = [{kind: given[f"{kind}{layer}"] for kind in kinds if f"{kind}{layer}" in given} for layer in range(3)]
running = [(np.zeros(width, np.float32), np.ones(width, np.float32)) for width in (392, 196)]
logits, after = jax_scan.forward(weights, running, x, train=True)
statistics = {f"{what}{layer}": both[i] for layer, both in enumerate(after) for i, what in enumerate(("mean", "var"))}
np.savez(sys.argv[2], logits=logits, **statistics)
"""


@pytest.mark.full
def test_jax_computes_the_same_network(tmp_path: Path) -> None:
    if any(importlib.util.find_spec(name) is None for name in ("jax", "optax")):
        pytest.skip("jax or optax is not installed: uv sync --group bench")
    torch.manual_seed(0)
    mine, x = ours(), torch.randn(128, 784)
    arrays = {"x": x.numpy()}
    for number, layer in enumerate(
        layer for layer in mine.children() if isinstance(layer, torch.nn.Linear)
    ):
        arrays |= {
            f"w{number}": layer.weight.detach().T.numpy(),
            f"b{number}": layer.bias.detach().numpy(),
        }
    for number, width in enumerate((392, 196)):
        arrays |= {
            f"scale{number}": np.ones(width, np.float32),
            f"shift{number}": np.zeros(width, np.float32),
        }
    np.savez(tmp_path / "given.npz", **arrays)
    # In a process of its own: once JAX is loaded, a process had better not fork, as the tests' data loaders do.
    words = [sys.executable, "-c", BY_JAX, str(tmp_path / "given.npz"), str(tmp_path / "found.npz")]
    subprocess.run(words, check=True, env=os.environ | {"PYTHONPATH": str(PROJECT)})
    found = np.load(tmp_path / "found.npz")
    assert np.allclose(found["logits"], mine(x).detach().numpy(), atol=1e-4)
    for number, norm in enumerate(
        layer for layer in mine.children() if isinstance(layer, torch.nn.BatchNorm1d)
    ):
        assert np.allclose(found[f"mean{number}"], norm.running_mean.numpy(), atol=1e-5)
        assert np.allclose(found[f"var{number}"], norm.running_var.numpy(), atol=1e-5)


def test_a_ratio_is_taken_round_by_round() -> None:
    row = Row(
        part="p",
        what="w",
        ours="a",
        peer="b",
        ours_seconds=[1.0, 3.0, 2.0],
        peer_seconds=[2.0, 2.0, 8.0],
    )
    assert row.cells() == ["p", "w", "a", "b", "2", "2", "0.5 (0.25 to 1.5)", "3", ""]
    assert spread([3.0]) == "3 (3 to 3)"


def test_accuracies_agree_if_they_differ_by_no_more_than_their_intervals_together() -> None:
    wide, narrow = Mean(mean=0.98, half=0.003, n=5), Mean(mean=0.9749, half=0.004, n=5)
    assert epoch.agreement(wide, narrow, 3).endswith(
        "98.00 ± 0.30 % and 97.49 ± 0.40 % (n=5): DIFFER"
    )
    assert epoch.agreement(wide, Mean(mean=0.9751, half=0.004, n=5), 3).endswith("(n=5): agree")
    assert (
        epoch.agreement(Mean(mean=0.98, half=None, n=1), narrow, 3)
        == "accuracy 0.9800 and 0.9749: one seed tells nothing"
    )


def test_fewer_jobs_of_a_sweep_take_fewer_seeds_first() -> None:
    assert [sweep32._count(jobs) for jobs in (2, 8, 16, 32)] == [2, 8, 16, 32]
    assert sweep32._grid("lr", 2) == ["lr=0.0003,0.0005", "seed=0"]
    assert sweep32._grid("lr", 32)[1] == "seed=0,1,2,3"
