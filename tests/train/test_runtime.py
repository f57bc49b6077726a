"""How a run is computed: the device, reproducible settings, random streams, and what is recorded of it all."""

from __future__ import annotations

import os
import platform
import random
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from sweeplab.config import Trainer
from sweeplab.errors import UserError
from sweeplab.train import runtime
from sweeplab.train.runtime import (
    Runtime,
    choose_device,
    cores,
    provenance,
    random_state,
    seed_stream,
    set_random_state,
    start,
)

CPU = Runtime(device=torch.device("cpu"), threads=1, precision="fp32")


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


@pytest.fixture
def git_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that is in no git repository, with no git settings of the user's."""
    for name in [name for name in os.environ if name.startswith("GIT_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    return tmp_path


def git(folder: Path, *arguments: str) -> str:
    identity = ("-c", "user.name=someone", "-c", "user.email=someone@example.com")
    done = subprocess.run(["git", *identity, *arguments], cwd=folder, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def has(monkeypatch: pytest.MonkeyPatch, *, cuda: int = 0, mps: bool = False) -> None:
    """As on a machine with so many GPUs."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: cuda)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)


@pytest.mark.parametrize(
    ("cuda", "mps", "chosen"), [(1, True, "cuda"), (1, False, "cuda"), (0, True, "mps"), (0, False, "cpu")]
)
def test_auto_takes_the_fastest_device(monkeypatch: pytest.MonkeyPatch, cuda: int, mps: bool, chosen: str) -> None:
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
        ("mps", "trainer.device=mps: there is none on this machine; trainer.device=auto takes what there is"),
        ("cuda:1", "trainer.device=cuda:1: there is none on this machine; trainer.device=auto takes what there is"),
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
def test_start_sets_threads_and_reproducible_operations() -> None:
    started = start(Trainer(device="cpu", threads=1, precision="bf16"))
    assert started == Runtime(device=torch.device("cpu"), threads=1, precision="bf16", onednn=runtime.mkl_is_slow())
    assert torch.get_num_threads() == 1
    assert torch.are_deterministic_algorithms_enabled()
    assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"
    assert torch.utils.deterministic.fill_uninitialized_memory is False
    assert torch.backends.cudnn.benchmark is False


@pytest.mark.usefixtures("_settings")
def test_start_leaves_a_cublas_setting_of_the_user_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":16:8")
    start(Trainer(device="cpu", threads=1, deterministic=False))
    assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":16:8"
    assert not torch.are_deterministic_algorithms_enabled()


@pytest.mark.usefixtures("_settings")
def test_null_threads_are_all_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS")
    monkeypatch.setattr(runtime, "cores", lambda: 3)
    assert start(Trainer(device="cpu")).threads == 3
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
    monkeypatch.setattr(runtime, "cores", lambda: 3)
    monkeypatch.setenv("OMP_NUM_THREADS", asked)
    assert start(Trainer(device="cpu")).threads == threads
    assert start(Trainer(device="cpu", threads=1)).threads == 1
    assert start(Trainer(device="cpu"), alone=False).threads == 1, "in a sweep, whose workers are as many as cores"


@pytest.mark.parametrize(("precision", "dtype"), [("fp32", torch.float32), ("bf16", torch.bfloat16)])
def test_precision_is_that_of_the_forward_pass(precision: str, dtype: torch.dtype) -> None:
    layer = torch.nn.Linear(2, 2)
    with Runtime(device=torch.device("cpu"), threads=1, precision=precision).autocast():
        output = layer(torch.ones(1, 2))
    assert output.dtype == dtype
    assert layer.weight.dtype == torch.float32


def draw(seed: int, stream: str) -> list[float]:
    seed_stream(seed, stream)
    return [*torch.rand(4).tolist(), random.random(), *np.random.rand(2).tolist()]


def test_a_stream_is_a_function_of_seed_and_purpose() -> None:
    first = draw(0, "initialisation")
    assert draw(0, "initialisation") == first
    assert draw(1, "initialisation") != first
    for other in (draw(1, "initialisation"), draw(0, "dropout")):
        assert all(a != b for a, b in zip(first, other, strict=True)), "torch, random and numpy alike"


def test_a_random_state_is_that_of_torch_random_and_numpy(tmp_path: Path) -> None:
    seed_stream(0, "dropout")
    np.random.normal()  # it makes two at once, and keeps the other
    torch.save(random_state(CPU.device), tmp_path / "state.pt")

    def drawn() -> list[float]:
        return [*torch.rand(4).tolist(), random.random(), random.gauss(0, 1), *np.random.normal(size=3)]

    first = drawn()
    seed_stream(1, "dropout")
    set_random_state(CPU.device, torch.load(tmp_path / "state.pt", weights_only=True))
    assert drawn() == first


def test_one_stream_does_not_depend_on_how_much_of_another_was_used() -> None:
    seed_stream(0, "initialisation")
    torch.rand(1000)
    assert draw(0, "dropout") == draw(0, "dropout")


def test_a_stream_starts_at_63_bits_of_a_sha256() -> None:
    seed_stream(0, "initialisation")
    # printf 0/initialisation | sha256sum begins with 3634b8acc8f54bcf; shifted right by one bit:
    assert torch.initial_seed() == 0x1B1A5C56647AA5E7


def test_provenance_records_how_a_run_is_computed(git_folder: Path) -> None:
    recorded = provenance(CPU, git_folder)
    assert recorded["device"] == "cpu"
    assert recorded["threads"] == 1
    assert recorded["cores"] == cores() >= 1
    assert recorded["platform"] == platform.platform()
    assert recorded["versions"]["python"] == platform.python_version()
    assert recorded["versions"]["torch"].split("+")[0] == str(torch.__version__).split("+")[0]
    assert recorded["torch"]["cuda"] == torch.version.cuda


def test_a_package_that_is_not_installed_has_no_version(monkeypatch: pytest.MonkeyPatch, git_folder: Path) -> None:
    monkeypatch.setattr(runtime, "PACKAGES", ("torch", "there-is-no-such-package"))
    assert sorted(provenance(CPU, git_folder)["versions"]) == ["python", "torch"]


def test_provenance_of_a_clean_and_of_a_dirty_tree(git_folder: Path) -> None:
    git(git_folder, "init", "--quiet")
    (git_folder / "model.py").write_text("hidden = 392\n")
    git(git_folder, "add", "model.py")
    git(git_folder, "commit", "--quiet", "--message", "first")
    commit = git(git_folder, "rev-parse", "HEAD")
    assert provenance(CPU, git_folder)["git"] == {"commit": commit, "dirty": False}
    (git_folder / "model.py").write_text("hidden = 256\n")
    assert provenance(CPU, git_folder)["git"] == {"commit": commit, "dirty": True}


def test_outside_of_a_repository_there_is_no_commit(git_folder: Path) -> None:
    assert provenance(CPU, git_folder)["git"] == {"commit": None, "dirty": None}


def test_a_repository_without_a_commit_has_none(git_folder: Path) -> None:
    git(git_folder, "init", "--quiet")
    assert provenance(CPU, git_folder)["git"] == {"commit": None, "dirty": None}


def test_without_git_there_is_no_commit(git_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(git_folder))
    assert provenance(CPU, git_folder)["git"] == {"commit": None, "dirty": None}


def test_numbers_too_small_to_be_normal_count_as_zero() -> None:
    tiny = torch.full((2,), 1e-20)
    assert (tiny * tiny).tolist() == [0.0, 0.0]


@pytest.mark.parametrize(
    ("vendor", "capability", "slow"),
    [
        ("vendor_id\t: AuthenticAMD\n", "AVX512", True),
        ("vendor_id\t: GenuineIntel\n", "AVX512", False),
        ("vendor_id\t: AuthenticAMD\n", "AVX2", False),  # where MKL computes as fast
    ],
)
def test_mkl_is_slow_where_it_does_not_use_what_the_cpu_has(
    monkeypatch: pytest.MonkeyPatch, vendor: str, capability: str, slow: bool
) -> None:
    monkeypatch.setattr(runtime, "_cpu_vendor", lambda: vendor)
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
    monkeypatch.setattr(torch.backends.mkl, "is_available", lambda: True)
    assert runtime.mkl_is_slow() == slow


def test_with_compile_torch_chooses_the_products() -> None:
    assert not start(Trainer(device="cpu", threads=1, compile=True)).onednn
