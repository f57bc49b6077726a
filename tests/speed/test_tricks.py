"""Each trick does what it says, and SWEEPLAB_PLAIN=1 switches all of them off."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from conftest import PROJECT
from stored import facts, only

from sweeplab.speed import denormals, garbage, onednn, spin_count

RUN = ("data=digits", "model.hidden=32", "trainer.epochs=2", "trainer.threads=1", "tracking=off")


def test_numbers_too_small_to_be_normal_count_as_zero() -> None:
    denormals.flush()
    tiny = torch.full((2,), 1e-20)
    assert (tiny * tiny).tolist() == [0.0, 0.0]


def test_the_collector_of_cycles_is_off_while_runs_are_read_and_then_as_before(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with garbage.kept():
        assert not gc.isenabled()
    assert gc.isenabled()
    monkeypatch.setenv("SWEEPLAB_PLAIN", "1")
    with garbage.kept():
        assert gc.isenabled()


@pytest.mark.parametrize(
    ("vendor", "family", "capability", "slow"),
    [
        ("AuthenticAMD", 26, "AVX512", True),
        ("AuthenticAMD", 27, "AVX512", True),
        ("AuthenticAMD", 25, "AVX512", False),  # in two halves
        ("AuthenticAMD", 25, "AVX2", False),  # where MKL computes as fast
        ("AuthenticAMD", 26, "AVX2", False),  # ATEN_CPU_CAPABILITY
        ("GenuineIntel", 6, "AVX512", False),
        ("GenuineIntel", 31, "AVX512", False),
    ],
)
def test_onednn_pays_off_where_mkl_does_not_use_what_the_cpu_has(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    vendor: str,
    family: int,
    capability: str,
    slow: bool,
) -> None:
    one = f"processor\t: 0\nvendor_id\t: {vendor}\ncpu family\t: {family}\nmodel\t\t: 17\n\n"
    (tmp_path / "cpuinfo").write_text(one * 2)
    monkeypatch.setattr(onednn, "CPUINFO", tmp_path / "cpuinfo")
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
    monkeypatch.setattr(torch.backends.mkl, "is_available", lambda: True)
    assert onednn.pays_off() == slow
    monkeypatch.setattr(onednn, "CPUINFO", tmp_path / "none")
    assert not onednn.pays_off()


def test_without_any_trick_a_run_has_the_same_numbers_and_says_so(root: Path) -> None:
    # Layers as small as these are computed by torch in both ways, so that even the bits are the same.
    for folder, variable in (("tricks", "0"), ("plain", "1")):
        words = [sys.executable, PROJECT / "train.py", *RUN, f"store.root={folder}"]
        subprocess.run(
            words,
            cwd=root,
            env={**os.environ, "SWEEPLAB_PLAIN": variable},
            check=True,
            capture_output=True,
        )
    assert facts(only(root, "plain")) == facts(only(root, "tricks"))
    assert only(root, "plain").start()["provenance"]["plain"] is True
    assert "plain" not in only(root, "tricks").start()["provenance"]


PLAIN = """
import sys, threading, torch
from sweeplab.speed import denormals, dynamo, huge_pages, malloc, onednn, quick_exit
denormals.flush(), malloc.keep_freed_memory(), huge_pages.collapse(), dynamo.spare()
tiny = torch.full((2,), 1e-20)
assert (tiny * tiny).tolist() != [0.0, 0.0]
assert "torch._dynamo" not in sys.modules
assert not onednn.pays_off()
quick_exit.leave()
print("here still")
"""


def test_plain_switches_each_trick_off() -> None:
    done = subprocess.run(
        [sys.executable, "-c", PLAIN],
        env={**os.environ, "SWEEPLAB_PLAIN": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.stdout, done.stderr) == ("here still\n", "")


COUNT = """
import os, sys
from sweeplab.speed import spin_count
if "first" in sys.argv:
    import torch
spin_count.shorten()
print(os.environ.get("GOMP_SPINCOUNT"), os.environ.get("OMP_WAIT_POLICY"))
"""


@pytest.mark.parametrize(
    ("set_before", "words", "then"),
    [
        ({}, [], "10000 None"),
        ({"GOMP_SPINCOUNT": "7"}, [], "7 None"),
        ({"OMP_WAIT_POLICY": "active"}, [], "None active"),
        ({"SWEEPLAB_PLAIN": "1"}, [], "None None"),
        ({}, ["first"], "None None"),  # PyTorch has read it
    ],
)
def test_openmp_spins_for_a_shorter_time_unless_the_user_says_how_long(
    set_before: dict[str, str], words: list[str], then: str
) -> None:
    names = (*spin_count.NAMES, "SWEEPLAB_PLAIN")
    clean = {name: value for name, value in os.environ.items() if name not in names}
    program = [sys.executable, "-c", COUNT, *words]
    environment = clean | set_before
    done = subprocess.run(program, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout == f"{then}\n"
