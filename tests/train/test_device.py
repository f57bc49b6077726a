"""How a run is computed: the device, its threads, and reproducible settings."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
import torch

from sweeplab.config import Trainer
from sweeplab.errors import UserError
from sweeplab.speed import onednn
from sweeplab.train import cpus
from sweeplab.train.device import Runtime, choose_device, set_up


@pytest.fixture
def _settings(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The settings of this process are as before when the test is over."""
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", "")  # to be restored, whatever it was
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG")
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", torch.backends.cudnn.benchmark)
    monkeypatch.setattr(torch.utils.deterministic, "fill_uninitialized_memory", True)
    threads, deterministic = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    yield
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(deterministic)


def has(monkeypatch: pytest.MonkeyPatch, *, cuda: int = 0, mps: bool = False) -> None:
    """As on a machine with so many GPUs."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: cuda)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)


@pytest.mark.parametrize(
    ("cuda", "mps", "chosen"),
    [(1, True, "cuda"), (1, False, "cuda"), (0, True, "mps"), (0, False, "cpu")],
)
def test_auto_takes_the_fastest_device(
    monkeypatch: pytest.MonkeyPatch, cuda: int, mps: bool, chosen: str
) -> None:
    has(monkeypatch, cuda=cuda, mps=mps)
    assert choose_device("auto") == torch.device(chosen)


def test_a_device_is_taken_by_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    has(monkeypatch, cuda=2)
    assert choose_device("cpu") == torch.device("cpu")
    assert choose_device("cuda:1") == torch.device("cuda", 1)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("cudaa", "trainer.device=cudaa: no such device; did you mean 'cuda'?"),
        ("meta", "trainer.device=meta: must be one of auto, cpu, cuda, mps"),
        (
            "mps",
            "trainer.device=mps: there is none on this machine; trainer.device=auto takes what there is",
        ),
        (
            "cuda:1",
            "trainer.device=cuda:1: there is none on this machine; trainer.device=auto takes what there is",
        ),
    ],
)
def test_a_device_that_is_unknown_or_not_here_is_refused(
    monkeypatch: pytest.MonkeyPatch, name: str, message: str
) -> None:
    has(monkeypatch, cuda=1)
    with pytest.raises(UserError) as refused:
        choose_device(name)
    assert str(refused.value) == message


def test_without_a_gpu_cuda_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    has(monkeypatch)
    with pytest.raises(UserError, match=r"^trainer\.device=cuda: there is none on this machine"):
        choose_device("cuda")


@pytest.mark.usefixtures("_settings")
def test_set_up_sets_threads_and_reproducible_operations() -> None:
    started = set_up(Trainer(device="cpu", threads=1, precision="bf16"))
    assert started == Runtime(
        device=torch.device("cpu"), threads=1, precision="bf16", onednn=onednn.pays_off()
    )
    assert torch.get_num_threads() == 1
    assert torch.are_deterministic_algorithms_enabled()
    assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"
    assert torch.utils.deterministic.fill_uninitialized_memory is False
    assert torch.backends.cudnn.benchmark is False


@pytest.mark.usefixtures("_settings")
def test_set_up_leaves_a_cublas_setting_of_the_user_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":16:8")
    set_up(Trainer(device="cpu", threads=1, deterministic=False))
    assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":16:8"
    assert not torch.are_deterministic_algorithms_enabled()


@pytest.mark.usefixtures("_settings")
def test_null_threads_are_all_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS")
    monkeypatch.setattr(cpus, "count", lambda: 3)
    assert set_up(Trainer(device="cpu")).threads == 3
    assert torch.get_num_threads() == 3


@pytest.mark.usefixtures("_settings")
@pytest.mark.parametrize(
    ("asked", "threads"),
    [
        ("2", 2),
        (" 2 ", 2),
        ("+2", 2),
        ("2, 4", 2),
        ("2,4", 2),
        ("2,x", 3),
        ("64", 3),
        ("0", 3),
        ("-1", 3),
        ("all", 3),
        ("", 3),
        ("²", 3),
        ("9" * 99, 3),
    ],
)
def test_null_threads_are_those_that_openmp_is_asked_for(
    monkeypatch: pytest.MonkeyPatch, asked: str, threads: int
) -> None:
    monkeypatch.setattr(cpus, "count", lambda: 3)
    monkeypatch.setenv("OMP_NUM_THREADS", asked)
    assert set_up(Trainer(device="cpu")).threads == threads
    assert set_up(Trainer(device="cpu", threads=1)).threads == 1
    assert set_up(Trainer(device="cpu"), alone=False).threads == 1, (
        "in a sweep, whose workers are as many as cores"
    )


@pytest.mark.parametrize(
    ("precision", "dtype"), [("fp32", torch.float32), ("bf16", torch.bfloat16)]
)
def test_precision_is_that_of_the_forward_pass(precision: str, dtype: torch.dtype) -> None:
    layer = torch.nn.Linear(2, 2)
    with Runtime(device=torch.device("cpu"), threads=1, precision=precision).autocast():
        output = layer(torch.ones(1, 2))
    assert output.dtype == dtype
    assert layer.weight.dtype == torch.float32


def test_with_compile_torch_chooses_the_products() -> None:
    assert not set_up(Trainer(device="cpu", threads=1, compile=True)).onednn
