"""What `replay --trust MODULE` lets a record call: what that module defines, and nothing that it merely imports."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sweeplab import targets
from sweeplab.errors import UserError

MINE = """
import collections, dataclasses, enum, http, math, os
from functools import lru_cache, partial, wraps
from os import path as places, system
from torch import load, nn, no_grad
from torch.utils.data import DataLoader
import numpy as np
import helpers
from helpers import Helper, forged, helped, mark
from torch.nn.functional import relu

def fn(x=1): return x
double = lambda x: 2 * x
def make(n):
    def inner(x): return x * n
    return inner
made = make(3)
@lru_cache
def cached(): return 1
@no_grad()
def decorated(): return 1
def keep(function):
    @wraps(function)
    def inner(*given): return function(*given)
    return inner
@keep
def wrapped(): return 1
@mark
def marked(): return 1
bound = partial(fn, 2)
class Base:
    @classmethod
    def inherited(cls): return cls()
class Net(nn.Module, Base):
    activation = nn.ReLU
    foreign = DataLoader
    class Inner: pass
    @classmethod
    def small(cls): return cls()
    @staticmethod
    def static(): return 1
    @lru_cache
    def slow(self): return 1
    def method(self): return 1
    loads = staticmethod(load)
    made = classmethod(system)
    prop = property(lambda self: 1)
class Helped(Helper): pass
class Other: pass
@dataclasses.dataclass
class Sizes:
    width: int = 1
Foreign, found = http.HTTPStatus, http.HTTPStatus.OK
class Color(enum.Enum):
    RED = 1
Point = collections.namedtuple("Point", "x y")
def local():
    class Net(nn.Module): pass
    class Plain: pass
    return Net, Plain
LocalNet, LocalPlain = local()

act = nn.ReLU()
other = Other()
number = 3
table = {"a": system}
loads = partial(load)
twice = partial(partial(system))
rewrapped = keep(load)
circle = lambda: 1
circle.__wrapped__ = circle
lying = lru_cache(system)
def __getattr__(name):
    if name == "lazy": return system
    raise AttributeError(name)
"""
HELPERS = """
from functools import wraps
def helped(): return 1
def forged(): return 1
forged.__module__, forged.__qualname__ = "mine", "fn"
def mark(function):
    @wraps(function)
    def inner(*given): return function(*given)
    return inner
class Helper:
    @classmethod
    def make(cls): return cls()
"""


@pytest.fixture(autouse=True)
def modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """`mine`, which is trusted, `helpers`, which it imports, and `pkg`, whose __init__ brings names from inside."""
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "mine.py").write_text(MINE)
    (tmp_path / "helpers.py").write_text(HELPERS)
    (tmp_path / "pkg").mkdir()
    (tmp_path / "pkg/__init__.py").write_text(
        "from pkg.inside import fn, Any\nfrom helpers import helped\nimport mine"
    )
    (tmp_path / "pkg/inside.py").write_text("def fn(): return 1\nclass Any: pass")
    (tmp_path / "pkg/__main__.py").write_text("raise SystemExit('was run')")
    importlib.invalidate_caches()
    yield
    for name in ("mine", "helpers", "pkg", "pkg.inside"):
        sys.modules.pop(name, None)


def refusal(node: object, *trusted: str) -> str:
    with pytest.raises(UserError) as caught:
        targets.ensure_trusted(node, "k", trusted)
    said = str(caught.value)
    assert ": refused: " in said
    assert "\n" not in said
    return said


def looked_up(path: object, how: str = "get_object", **more: Any) -> dict[str, Any]:
    return {"_target_": f"hydra.utils.{how}", "path": path, **more}


@pytest.mark.parametrize(
    "path",
    [
        "mine.fn",
        "mine.double",
        "mine.made",
        "mine.cached",
        "mine.decorated",
        "mine.wrapped",
        "mine.marked",
        "mine.bound",
        "mine.Net",
        "mine.Net.Inner",
        "mine.Net.small",
        "mine.Net.static",
        "mine.Net.inherited",
        "mine.Net.activation",  # of a known kind, in torch.nn
        "mine.Other",
        "mine.Sizes",
        "mine.Color",
        "mine.Color.RED",
        "mine.Point",
        "mine.LocalNet",
        "pkg.fn",
        "pkg.Any",
        "pkg.inside.fn",
    ],
)
def test_what_a_trusted_module_defines_may_be_called(path: str) -> None:
    trusted = [path.partition(".")[0]]
    nodes: list[object] = [
        {"_target_": path},
        {"_target_": path, "_partial_": True, "x": 1},
        looked_up(path),
    ]
    nodes += [
        looked_up(path, "get_method"),
        {"_target_": "hydra.utils.get_class", "_args_": [path]},
    ]
    for node in nodes:
        targets.ensure_trusted({"_target_": "torch.nn.Sequential", "_args_": [node]}, "k", trusted)
    if path not in ("mine.LocalNet", "mine.Net.activation"):
        assert "--trust" in refusal({"_target_": path})


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("mine.system", "it is defined in posix, which is not trusted"),
        ("mine.load", "it is defined in torch.serialization, which is not trusted"),
        ("mine.loads", "it is defined in torch.serialization, which is not trusted"),
        ("mine.twice", "it is defined in posix, which is not trusted"),
        ("mine.rewrapped", "it is defined in torch.serialization, which is not trusted"),
        ("mine.lying", "it is defined in posix, which is not trusted"),
        ("mine.Net.loads", "it is defined in torch.serialization, which is not trusted"),
        ("mine.Net.made", "it is defined in posix, which is not trusted"),
        ("mine.Net.foreign", "it is defined in torch.utils.data.dataloader, which is not trusted (--trust torch.utils.data.dataloader)"),
        ("mine.helped", "it is defined in helpers, which is not trusted (--trust helpers)"),
        ("mine.forged", "it is defined in helpers, which is not trusted (--trust helpers)"),
        ("mine.Helper", "it is defined in helpers, which is not trusted (--trust helpers)"),
        ("mine.Helped.make", "it is defined in helpers, which is not trusted (--trust helpers)"),
        ("mine.partial", "it is defined in functools, which is not trusted"),
        ("mine.relu", "no Module, Optimizer, scheduler, Dataset or metric of a trusted module (--trust torch.nn.functional)"),
        ("mine.LocalPlain", "no Module, Optimizer, scheduler, Dataset or metric of a trusted module"),
        ("mine.act", "it is neither a class nor a function"),
        ("mine.other", "it is neither a class nor a function"),
        ("mine.number", "it is neither a class nor a function"),
        ("mine.table", "it is neither a class nor a function"),
        ("mine.circle", "it is neither a class nor a function"),
        ("mine.Color.GREEN", "'GREEN' is not in a trusted module"),
        ("mine.Foreign.OK", "'OK' is not in a trusted module"),
        ("mine.found", "it is defined in http, which is not trusted"),
        ("mine.lazy", "'lazy' is not in a trusted module"),
        ("mine.nope", "'nope' is not in a trusted module"),
        ("mine.Net.method", "'method' is not in a trusted module"),
        ("mine.Net.slow", "'slow' is not in a trusted module"),
        ("mine.Net.prop", "'prop' is not in a trusted module"),
        ("mine.Net.mro", "'mro' is not in a trusted module"),
        ("mine.Net.__init__", "'__init__' is not in a trusted module"),
        ("mine.Net.__subclasses__", "'__subclasses__' is not in a trusted module"),
        ("mine.fn.__globals__", "'__globals__' is not in a trusted module"),
        ("mine.fn.__call__", "'__call__' is not in a trusted module"),
        ("mine.cached.cache_clear", "'cache_clear' is not in a trusted module"),
        ("mine.bound.func", "'func' is not in a trusted module"),
        ("mine.table.get", "'get' is not in a trusted module"),
        ("mine.DataLoader.check_worker_number_rationality", "'check_worker_number_rationality' is not in a trusted module"),
        ("mine.__builtins__", "'__builtins__' is not in a trusted module"),
        ("mine.__loader__.load_module", "'__loader__' is not in a trusted module"),
        ("mine.os.system", "'os' leads out of the trusted modules to 'os'"),
        ("mine.places.exists", "'places' leads out of the trusted modules to 'posixpath'"),
        ("mine.np.load", "'np' leads out of the trusted modules to 'numpy'"),
        ("mine.helpers.helped", "'helpers' leads out of the trusted modules to 'helpers'"),
        ("pkg.mine.fn", "'mine' leads out of the trusted modules to 'mine'"),
        ("pkg.helped", "it is defined in helpers, which is not trusted (--trust helpers)"),
        ("pkg.__main__", "'__main__' is not in a trusted module"),
        ("mine", "only names in torch.nn, torch.optim, sweeplab, mine, pkg are trusted (--trust MODULE)"),
        ("mine.", "only names in torch.nn, torch.optim, sweeplab, mine are trusted (--trust MODULE)"),
        ("mines.fn", "only names in torch.nn, torch.optim, sweeplab, mine, pkg are trusted (--trust mines)"),
    ],
)  # fmt: skip
def test_what_it_merely_imports_may_not(path: str, says: str) -> None:
    trusted = ("mine",) if path.startswith("mine.") else ("mine", "pkg")
    trusted = ("pkg",) if path.startswith("pkg.") else trusted
    for partial in ({}, {"_partial_": True}):
        assert (
            refusal({"_target_": path, **partial}, *trusted)
            == f"k._target_={path}: refused: {says}"
        )
    for how in ("get_class", "get_method", "get_object", "get_static_method"):
        assert refusal(looked_up(path, how), *trusted) == f"k.path={path}: refused: {says}"


@pytest.mark.parametrize(
    "node",
    [
        looked_up("os.system"),
        looked_up(["os.system"]),
        looked_up({"_target_": "mine.fn"}),
        looked_up("mine.fn", _partial_=True),
        looked_up("mine.fn", obj="os.system"),
        looked_up("mine.fn", _args_=["os.system"]),
        looked_up(None),
        looked_up("${x}.system"),
        {"_target_": "hydra.utils.get_object"},
        {"_target_": "hydra.utils.get_object", "_args_": ["os.system"]},
        {"_target_": "hydra.utils.get_object", "_args_": ["mine.fn", "mine.fn"]},
        {"_target_": "hydra.utils.get_object", "_args_": "os.system"},
        {"_target_": "hydra.utils.get_object", "_args_": []},
        {"_target_": "hydra.utils.instantiate", "config": {"x": 1}},
        {"_target_": "hydra.utils.call"},
        {"_target_": "hydra.utils.get_original_cwd"},
        {"_target_": "hydra._internal.utils._locate", "path": "os.system"},
        {"_target_": "hydra.utils.get_object.__globals__"},
    ],
)
def test_a_look_up_is_judged_by_what_it_looks_up(node: dict[str, Any]) -> None:
    assert ": refused: " in refusal(node, "mine")
    deep = {"_target_": "torch.nn.Sequential", "_args_": [[{"deep": node}]]}
    assert ": refused: " in refusal(deep, "mine")
    assert ": refused: " in refusal(node, "mine", "hydra")


@pytest.mark.parametrize(
    "path",
    [
        "sweeplab.load_model",
        "sweeplab.runs.loading.load_model",
        "sweeplab.runs.run.train",
        "sweeplab.commands.cli.main",
        "sweeplab.store.Store",
        "sweeplab.store.write_atomic",
        "sweeplab.tracking.sync",
        "sweeplab.tracking.download",
        "sweeplab.targets.instantiate",
        "sweeplab.targets.locate",
        "sweeplab.runs.weights.load_weights",
        "sweeplab.replay.record._load",
        "sweeplab.data.fetch.IdxSet",
    ],
)
def test_what_sweeplab_does_is_never_a_records_to_call(path: str) -> None:
    said = f"k._target_={path}: refused: "
    assert refusal({"_target_": path}).startswith(said)
    assert refusal(
        {"_target_": path}, "sweeplab", "sweeplab.runs.run", "sweeplab.data.fetch"
    ).startswith(said)


@pytest.mark.parametrize(
    "path",
    [
        "torch.nn.functional.relu",
        "torch.nn.functional.gelu",
        "torch.nn.init.normal_",
        "torch.nn.utils.clip_grad_norm_",
        "torch.nn.utils.prune.is_pruned",
        "torch.nn.modules.module.register_module_forward_hook",
        "torch.nn.parallel.data_parallel",
        "torch.nn.parallel.scatter_gather.gather",
        "torch.nn.Module.load_state_dict",
        "torch.nn.Embedding.from_pretrained",
        "torch.optim.swa_utils.update_bn",
        "torch.optim.optimizer.register_optimizer_step_pre_hook",
        "torch.optim.Optimizer.load_state_dict",
    ],
)
def test_of_what_is_always_trusted_only_known_kinds_may_be_called(path: str) -> None:
    assert refusal({"_target_": path}).startswith(f"k._target_={path}: refused: ")
    assert refusal(looked_up(path)).startswith(f"k.path={path}: refused: ")


def test_functions_of_torch_need_to_be_trusted_by_name() -> None:
    targets.ensure_trusted({"_target_": "torch.nn.functional.relu"}, "k", ["torch.nn.functional"])
    targets.ensure_trusted(looked_up("torch.nn.functional.relu"), "k", ["torch.nn.functional"])
    assert refusal({"_target_": "torch.nn.functional.relu"}).endswith(
        "(--trust torch.nn.functional)"
    )
    says = "it is defined in torch._C._nn, which is not trusted (--trust torch._C._nn)"
    assert refusal({"_target_": "torch.nn.functional.gelu"}, "torch.nn.functional").endswith(says)
    targets.ensure_trusted({"_target_": "torch.nn.functional.gelu"}, "k", ["torch._C._nn"])
    says = "it is defined in torch._VF, which is not trusted (--trust torch._VF)"
    assert refusal(looked_up("torch.nn.functional.conv2d"), "torch.nn.functional").endswith(says)
    targets.ensure_trusted(looked_up("torch.nn.functional.conv2d"), "k", ["torch._VF"])
    for path in ("torch.relu", "torch.float32"):
        refusal(looked_up(path))
        targets.ensure_trusted(looked_up(path), "k", ["torch"])
    targets.ensure_trusted(looked_up("torch.nn.Tanh", "get_class"), "k")
    targets.ensure_trusted({"_target_": "math.exp"}, "k", ["math"])


def test_torchvision_is_trusted_where_that_is_said() -> None:
    compose = {"_target_": "torchvision.transforms.Compose", "transforms": [{"_target_": "torchvision.transforms.ToTensor"}]}  # fmt: skip
    assert refusal(compose).endswith("are trusted (--trust torchvision.transforms)")
    targets.ensure_trusted(compose, "k", ["torchvision.transforms"])
    targets.ensure_trusted(
        {"_target_": "torchvision.transforms.v2.ToImage"}, "k", ["torchvision.transforms"]
    )
    targets.ensure_trusted({"_target_": "torchvision.models.resnet18"}, "k", ["torchvision"])
    targets.ensure_trusted(
        looked_up("torchvision.transforms.InterpolationMode.BILINEAR"), "k", ["torchvision"]
    )
    assert "leads out of" in refusal(
        {"_target_": "torchvision.models.resnet.torch.load"}, "torchvision"
    )


def test_a_refusal_names_all_modules_that_are_missing() -> None:
    nodes = [{"_target_": "one.fn"}, {"_target_": "two.deep.Net.small"}, {"_target_": "os.system"}, {"_target_": "one.Net"}]  # fmt: skip
    says = "k[0]._target_=one.fn: refused: only names in torch.nn, torch.optim, sweeplab are trusted (--trust one --trust two.deep)"  # fmt: skip
    assert refusal(nodes) == says


def test_hydras_block_list_stays_on() -> None:
    with pytest.raises(UserError, match="is blocklisted because"):
        targets.ensure_trusted({"_target_": "posix.system"}, "k", ["posix"])


def test_a_look_up_is_known_by_its_name() -> None:
    assert targets.is_lookup(looked_up("mine.fn"))
    assert not targets.is_lookup({"_target_": "hydra.utils.instantiate"})
    assert not targets.is_lookup({"_target_": ["hydra.utils.get_class"]})
    assert not targets.is_lookup("hydra.utils.get_class")
