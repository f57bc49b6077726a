"""What guards NUMERICS: fingerprints that a release must not change, and the bits of a small training.

If one of these fails after a change of code: where results have new bits, raise NUMERICS (targets/hashing.py), say so in
CHANGELOG.md, and put the new values here. Where they have not, the change is wrong: it would orphan everyone's runs.
"""

from __future__ import annotations

import platform
from pathlib import Path

import pytest
import torch
from conftest import Command

from sweeplab.config import compose
from sweeplab.runs.job import prepare
from sweeplab.store import Store
from sweeplab.targets import NUMERICS

FINGERPRINTS = {
    "": "0fd16aa5ad56a45fe70a2355bf02aa2fd8fcd0c07f151a7cabe8ff776586bf78",
    "model=linear seed=4": "8e32875917fbc6037708e6574658fc3236137440b109461547b7dc1b79b14964",
    "model=cnn data=digits trainer.patience=null": "938408bc02bc4839718fd3b736f793e34f942a2124258ae1c1b18ed609a71187",
    "data=diabetes loss=mse optimizer=sgd scheduler=one_cycle": "8b9d0bd454458357795f644a545fedb163f6d9db613bab696a005c6841b69d38",
}  # fmt: skip

EPOCH_3 = {
    "train/loss": 0.3291546285152435,
    "train/accuracy": 0.95078125,
    "valid/loss": 0.5511389374732971,
    "train/lr": 0.001,
    "valid/accuracy": 0.957983193277311,
}

# (torch, its CPU capability, the CPU) -> SHA-256 of the weights: other machines round otherwise. On family 25, model 17,
# oneDNN's products, which are MKL's now, gave what family 26 has (tried).
WEIGHTS = {
    (
        "2.15.0+cu132",
        "AVX512",
        "6 207 2 Intel(R) Xeon(R) Processor",
    ): "7be7b16f21436963f9c36cc388b40c01e281b355e4658e4fcd3a06543ef791be",
    (
        "2.15.0+cu132",
        "AVX512",
        "25 17 1 AMD EPYC",
    ): "e33a997d51b87938c3f393278edf03b6028623307a2634c0fbc1a36bfb87b39c",
    (
        "2.15.0+cu132",
        "AVX512",
        "26 2 1 AMD EPYC",
    ): "77d3a5f139f7826411cf29c9f504fa2fae9efb53e875f2eeb3335d7ae83aecbe",
    (
        "2.15.0+cu132",
        "AVX2",
        "25 1 1 AMD EPYC",
    ): "323e43f4fd8d7bdd1f8eff63bd82d55c08abd14cc3324c288c0a48d146aafd0c",
}


def cpu() -> str:
    """The first processor as Linux describes it: `family model stepping name`; elsewhere what Python knows."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().partition("\n\n")[0].splitlines() if info.exists() else []
    known = {
        key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)
    }
    names = (known.get(key, "") for key in ("cpu family", "model", "stepping", "model name"))
    return " ".join(names).strip() or platform.processor()


@pytest.mark.parametrize("overrides", FINGERPRINTS)
def test_a_fingerprint_stays_what_it_is(root: Path, overrides: str) -> None:
    assert NUMERICS == 6
    assert prepare(compose(overrides.split()), []).fingerprint == FINGERPRINTS[overrides]


def test_a_small_training_has_the_numbers_it_had(train: Command, root: Path) -> None:
    train("data=digits", "model.dropout=0.2", "trainer.epochs=3", "trainer.threads=1")
    (run,) = Store(root / "runs").runs()
    result = run.result()
    assert result is not None
    assert run.epochs()[3] == pytest.approx(EPOCH_3, abs=0.02), "on any machine, up to rounding"
    key = (torch.__version__, torch.backends.cpu.get_cpu_capability(), cpu())
    if key not in WEIGHTS:
        pytest.skip(f"no golden weights for {key}; here they are {result.weights_sha256}")
    assert result.weights_sha256 == WEIGHTS[key]
