"""What guards NUMERICS: fingerprints that a release must not change, and the bits of a small training.

If one of these fails after a change of code: where results have new bits, raise NUMERICS (code.py), say so in
CHANGELOG.md, and put the new values here. Where they have not, the change is wrong: it would orphan everyone's runs.
"""

from __future__ import annotations

import platform
from pathlib import Path

import pytest
import torch
from conftest import Command

from sweeplab.code import NUMERICS
from sweeplab.config import compose
from sweeplab.job import prepare
from sweeplab.store import Store

FINGERPRINTS = {
    "": "1fc07915590a552d2d79d6d6546212d2e1920899d4f10ee7aa1ecf3fe4093acd",
    "model=linear seed=4": "cf66356bfb03e688d4b7d3cf0f6b24abf8c87960962477545fc0280d54b20851",
    "model=cnn data=digits trainer.patience=null": "f4fc0a1c3c40b0f01bc72833fab59716e57d768abc708f49ee95e8c6cea23c8c",
    "data=diabetes loss=mse optimizer=sgd scheduler=one_cycle": "0b3b192313ea9ab19006e6fef6d1dc25f5252a4759b856e66f07e9d27254ccd4",
}  # fmt: skip

EPOCH_3 = {
    "train/loss": 0.3291546285152435,
    "train/accuracy": 0.95078125,
    "valid/loss": 0.5511389374732971,
    "valid/accuracy": 0.957983193277311,
}

# (torch, its CPU capability, the CPU) -> SHA-256 of the weights: other machines round otherwise.
WEIGHTS = {
    (
        "2.15.0+cu132",
        "AVX512",
        "6 207 2 Intel(R) Xeon(R) Processor",
    ): "7be7b16f21436963f9c36cc388b40c01e281b355e4658e4fcd3a06543ef791be",
    ("2.15.0+cu132", "AVX2", "25 1 1 AMD EPYC"): "323e43f4fd8d7bdd1f8eff63bd82d55c08abd14cc3324c288c0a48d146aafd0c",
}


def cpu() -> str:
    """The first processor as Linux describes it: `family model stepping name`; elsewhere what Python knows."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().partition("\n\n")[0].splitlines() if info.exists() else []
    known = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
    names = (known.get(key, "") for key in ("cpu family", "model", "stepping", "model name"))
    return " ".join(names).strip() or platform.processor()


@pytest.mark.parametrize("overrides", FINGERPRINTS)
def test_a_fingerprint_stays_what_it_is(root: Path, overrides: str) -> None:
    assert NUMERICS == 3
    assert prepare(compose(overrides.split()), []).fingerprint == FINGERPRINTS[overrides]


def test_a_small_training_has_the_numbers_it_had(train: Command, root: Path) -> None:
    train("data=digits", "model.dropout=0.2", "trainer.epochs=3", "trainer.threads=1")
    (run,) = Store(root / "runs").runs()
    result = run.result()
    assert result is not None
    assert run.journal.epochs()[3] == pytest.approx(EPOCH_3, abs=0.02), "on any machine, up to rounding"
    key = (torch.__version__, torch.backends.cpu.get_cpu_capability(), cpu())
    if key not in WEIGHTS:
        pytest.skip(f"no golden weights for {key}; here they are {result.weights_sha256}")
    assert result.weights_sha256 == WEIGHTS[key]
