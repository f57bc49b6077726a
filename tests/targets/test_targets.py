"""`_target_`s: looked up, checked, built, hashed, trusted."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from conftest import Write
from omegaconf import OmegaConf
from torch import nn

from sweeplab import config, targets
from sweeplab.errors import UserError

Project = Callable[..., None]


@pytest.fixture
def project(write: Write) -> Project:
    """Writes the modules of a user's project, which can then be imported: `project(mine="x = 1")`."""

    def named(**modules: str) -> None:
        write(
            {
                f"{name.replace('__', '/').replace('/init', '/__init__')}.py": text
                for name, text in modules.items()
            }
        )

    return named


def refusal(call: Callable[..., object], *args: object) -> str:
    with pytest.raises(UserError) as caught:
        call(*args)
    return str(caught.value)


def test_importing_it_is_quick() -> None:
    program = "import sys, sweeplab.targets; print(sorted({'torch', 'hydra', 'omegaconf', 'mlflow'} & set(sys.modules)))"
    shown = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    ).stdout
    assert shown == "[]\n"


# locate


def test_locate_finds_what_hydra_finds() -> None:
    assert targets.locate("torch.optim.Adam", "optimizer._target_") is torch.optim.Adam
    assert (
        targets.locate("torch.optim.lr_scheduler.OneCycleLR", "k")
        is torch.optim.lr_scheduler.OneCycleLR
    )


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("torch.optim.Adamm", "'torch.optim' has no 'Adamm'; did you mean 'torch.optim.Adam'?"),
        ("torch.optm.Adam", "'torch' has no 'optm'; did you mean 'torch.optim.Adam'?"),
        ("torch.optm.Adamm", "'torch' has no 'optm'; did you mean 'torch.optim.Adam'?"),
        ("torhc.optim.Adam", "no module 'torhc'; did you mean 'torch.optim.Adam'?"),
        ("torch.nn.relu", "'torch.nn' has no 'relu'; did you mean 'torch.nn.ReLU'?"),
        ("xqzwv.Net", "no module 'xqzwv'; is its package installed?"),
        ("torch.nn.Linear.xqzwv", "'torch.nn.Linear' has no 'xqzwv'; valid: "),
        ("", "is not a dotted name such as torch.optim.Adam"),
        ("torch..Adam", "is not a dotted name such as torch.optim.Adam"),
    ],
)
def test_locate_names_the_nearest(path: str, says: str) -> None:
    assert refusal(targets.locate, path, "optimizer._target_").startswith(
        f"optimizer._target_={path}: {says}"
    )


def test_the_nearest_module_is_sought_among_the_users_own_first(
    project: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    project(my_net="class Net: ...")
    monkeypatch.delitem(sys.modules, "netrc", raising=False)  # in which `Net` would be sought, too
    near = {
        "mynet": "my_net",
        "my_nets": "my_net",
        "mi_net": "my_net",
        "netrk": "netrc",
    }  # one letter off
    for module, meant in near.items():
        said = f"m._target_={module}.Net: no module '{module}'; did you mean '{meant}.Net'?"
        assert refusal(targets.locate, f"{module}.Net", "m._target_") == said
    said = "m._target_=noterc.Net: no module 'noterc'; is its package installed?"
    assert refusal(targets.locate, "noterc.Net", "m._target_") == said, "netrc is far away"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("import absent_thing", "ModuleNotFoundError: No module named 'absent_thing'"),
        ("x = 1 / 0", "ZeroDivisionError: division by zero"),
    ],
)
def test_locate_does_not_mask_an_error_in_the_users_module(
    project: Project, text: str, says: str
) -> None:
    project(broken=text)
    assert refusal(targets.locate, "broken.Net", "model._target_") == (
        f"model._target_=broken.Net: the module 'broken' exists, but failed to import: {says}"
    )


@pytest.mark.parametrize(
    "path", ["os.system", "builtins.exec", "subprocess.Popen", "torch.os.system"]
)
def test_locate_keeps_hydras_block_list(path: str) -> None:
    said = refusal(targets.locate, path, "model._target_")
    assert said.startswith(f"model._target_={path}: Target '")
    assert " is blocklisted because " in said


# check

LINEAR = {"_target_": "torch.nn.Linear", "in_features": 4, "out_features": 2}
ADAM = {"_target_": "torch.optim.Adam", "lr": 0.1}
NO_BAIS = "torch.nn.Linear has no argument 'bais'; did you mean 'bias'?"
DEEP = {"_target_": "torch.nn.ModuleList", "modules": [{**LINEAR, "bais": False}]}


@pytest.mark.parametrize(
    ("node", "supplied", "problems"),
    [
        (LINEAR, (), []),
        (OmegaConf.create(LINEAR), (), []),
        (ADAM, ["params"], []),
        (
            {"_target_": "torch.nn.Sequential", "_args_": [LINEAR, {"_target_": "torch.nn.ReLU"}]},
            (),
            [],
        ),
        ({**LINEAR, "_convert_": "all", "_recursive_": True}, (), []),
        ({"_target_": "torch.nn.Linear", "_partial_": True}, (), []),
        ({"_target_": "torch.nn.Linear", "_args_": [4, 2]}, (), []),
        ({"_target_": "torch.nn.Module", "anything": 1}, (), []),  # takes **kwargs
        ({"_target_": "builtins.dict", "anything": 1}, (), []),  # has no signature
        ({**LINEAR, "bais": False}, (), [f"k.bais=false: {NO_BAIS}"]),
        (
            {"_target_": "torch.nn.Linear", "in_features": 4},
            (),
            ["k.out_features: is missing; torch.nn.Linear needs it: +k.out_features=VALUE"],
        ),
        ({**LINEAR, "in_features": "???"}, (), ["k.in_features=???: must be given"]),
        (ADAM, (), ["k.params: is missing; torch.optim.Adam needs it: +k.params=VALUE"]),
        (
            {**ADAM, "params": None},
            ["params"],
            ["k.params=null: sweeplab itself gives torch.optim.Adam its 'params'"],
        ),
        (
            {**LINEAR, "_args_": [4]},
            (),
            ["k.in_features=4: _args_ gives torch.nn.Linear its 'in_features'"],
        ),
        (
            {"_target_": "torch.nn.ReLU", "_args_": [True, 1]},
            (),
            ["k._target_=torch.nn.ReLU: takes 1 positional arguments, not 2"],
        ),
        (3, (), ["k=3: must be a node with a _target_"]),
        (
            {"hidden": 3},
            (),
            ["k._target_: is missing; give the dotted name of a class, such as torch.nn.Linear"],
        ),
        (
            {"_target_": 3},
            (),
            ["k._target_=3: must be the dotted name of a class, such as torch.nn.Linear"],
        ),
        (
            {"_target_": "torch.optim.sgd"},
            (),
            ["k._target_=torch.optim.sgd: is a module, not a class; valid: torch.optim.sgd.SGD"],
        ),
        ({"_target_": "math.pi"}, (), ["k._target_=math.pi: is a float, not a class"]),
        (
            {"_target_": "torch.nn.Linaer"},
            (),
            [
                "k._target_=torch.nn.Linaer: 'torch.nn' has no 'Linaer'; did you mean 'torch.nn.Linear'?"
            ],
        ),
        (DEEP, (), [f"k.modules[0].bais=false: {NO_BAIS}"]),
        ({**DEEP, "_recursive_": False}, (), []),  # left to the class that gets it
    ],
)
def test_check(node: object, supplied: Any, problems: list[str]) -> None:
    assert targets.check(node, "k", supplied) == problems


VALID = "; valid: bias, device, dtype, in_features, out_features"


def test_check_lists_all_problems() -> None:
    assert targets.check(
        {"_target_": "torch.nn.Linear", "in_feature": 4, "zz": "y\x1b" * 40}, "model"
    ) == [
        "model.in_feature=4: torch.nn.Linear has no argument 'in_feature'; did you mean 'in_features'?",
        f"model.zz={'y ' * 28}y...: torch.nn.Linear has no argument 'zz'{VALID}",
        "model.in_features: is missing; torch.nn.Linear needs it: +model.in_features=VALUE",
        "model.out_features: is missing; torch.nn.Linear needs it: +model.out_features=VALUE",
    ]


def test_an_interpolation_to_nowhere_is_named() -> None:
    node = OmegaConf.create(
        {"model": {"_target_": "torch.nn.Linear", "in_features": "${data.nope}"}}
    ).model
    assert (
        refusal(targets.check, node, "model")
        == "model.in_features: refers to data.nope, which is not there; give model.in_features a "
        "value of its own"
    )


@pytest.mark.parametrize(
    ("target", "name", "answer"),
    [
        ("torch.nn.Linear", "in_features", True),
        (nn.Linear, "hidden", False),
        ("torch.nn.Module", "kwargs", True),
        ("torch.nn.Module", "in_features", False),  # **kwargs promise nothing
        (dict, "x", False),  # has no signature
    ],
)
def test_accepts(target: str | Callable[..., object], name: str, answer: bool) -> None:
    assert targets.accepts(target, name) is answer


# instantiate, build


def test_instantiate_gives_plain_lists_and_dicts(project: Project) -> None:
    project(
        keeps="class Net:\n    def __init__(self, model, hidden, extra):\n        self.all = model, hidden, extra"
    )
    config = OmegaConf.create(
        {"a": 3, "net": {"_target_": "keeps.Net", "hidden": [4, "${a}"], "extra": {"b": [1]}}}
    )
    model = nn.Linear(2, 2)
    kept = targets.instantiate(config.net, model).all
    assert kept == (model, [4, 3], {"b": [1]})
    assert (type(kept[1]), type(kept[2]), type(kept[2]["b"])) == (list, dict, list)
    assert targets.instantiate(config.net, model=model).all[0] is model


NET = """
class Net:
    def __init__(self, hidden=1, width=1, note=None):
        if hidden < 1: raise ValueError("hidden must be at least 1,\\n   not 0")
        if width < 1: raise KeyError("small")
        if note == "int": int("x" + note)
        if note == "bare": raise OSError
        if note: raise RuntimeError("no note wanted")
"""


def test_build_builds() -> None:
    weight = nn.Parameter(torch.zeros(2))
    optimizer = targets.build(ADAM, "optimizer", [weight])
    assert type(optimizer) is torch.optim.Adam
    assert optimizer.param_groups[0]["params"][0] is weight


@pytest.mark.parametrize(
    ("node", "says"),
    [
        # The value in the message points to one argument, ...
        (
            {"_target_": "torch.optim.Adam", "lr": -1},
            "k.lr=-1: Invalid learning rate: -1 (torch.optim.Adam)",
        ),
        # ... or the name, ...
        (
            {"_target_": "mine.Net", "hidden": 0, "width": 1},
            "k.hidden=0: hidden must be at least 1, not 0 (mine.Net)",
        ),
        # ... or the type, ...
        (
            {"_target_": "mine.Net", "hidden": "abc"},
            "k.hidden=abc: '<' not supported between instances of 'str' and 'int' (mine.Net)",
        ),
        # ... also where the node is not the outermost one.
        (
            {
                "_target_": "torch.nn.Sequential",
                "_args_": [LINEAR, {"_target_": "torch.nn.Dropout", "p": 3}],
            },
            "k._args_[1].p=3: dropout probability has to be between 0 and 1, but got 3 (torch.nn.Dropout)",
        ),
        # An unknown argument behind **kwargs.
        (
            {"_target_": "torch.nn.Flatten", "dim": 3},
            "k.dim=3: Flatten.__init__() got an unexpected keyword argument 'dim' (torch.nn.Flatten)",
        ),
        # No argument, or more than one.
        ({"_target_": "mine.Net", "width": 0}, "k: KeyError: 'small' (mine.Net)"),
        ({"_target_": "mine.Net", "note": "bare"}, "k: OSError (mine.Net)"),
        (
            {"_target_": "torch.optim.SGD", "momentum": 0.0, "dampening": 0.5, "nesterov": True},
            "k: Nesterov momentum requires a momentum and zero dampening (torch.optim.SGD)",
        ),
    ],
)
def test_build_blames_the_value(project: Project, node: dict[str, Any], says: str) -> None:
    project(mine=NET)
    arguments = [[nn.Parameter(torch.zeros(2))]] if "optim" in node["_target_"] else []
    assert refusal(targets.build, node, "k", *arguments) == says


def test_a_number_is_not_found_inside_another(project: Project) -> None:
    project(
        mine="class Net:\n    def __init__(self, **kw): raise ValueError('bad: 10, -1, 1.5, 2')"
    )
    assert refusal(targets.build, {"_target_": "mine.Net", "a": 1, "b": 5, "c": 2}, "k") == (
        "k.c=2: bad: 10, -1, 1.5, 2 (mine.Net)"
    )


# targets, digest


def test_targets_at_every_depth() -> None:
    node = {
        "_target_": "a.A",
        "x": [{"_target_": "b.B", "_args_": ({"_target_": "c.C"},)}],
        "y": {"z": {"_target_": 3}},
    }
    assert config.class_paths(node) == ["a.A", "b.B", "c.C"]
    assert config.class_paths(OmegaConf.create({"sub": {"_target_": "d.D"}})) == ["d.D"]
    assert config.class_paths(None) == []


NOTHING = "d13c23bf73330deedf9d2f8d016655e80c3971f6760143f2cac17cdbe37080a5"  # sha256 of "[6, []]": NUMERICS, no files


def test_the_code_of_others_contributes_nothing() -> None:
    installed = [
        "torch.nn.Linear",
        "torchvision.datasets.MNIST",
        "sweeplab.models.MLP",
        "math.sqrt",
        "nope.nope",
        "a b",
    ]
    assert targets.digest([]) == NOTHING
    assert targets.digest(installed) == NOTHING


PROJECT = {
    "mylab__init": "",
    "mylab__nets": "from . import parts\nfrom .deep import layers as l\nclass Net:\n    pass",
    "mylab__parts": "import helper\nx = 1",
    "mylab__deep__init": "y = 1",
    "mylab__deep__layers": "from ..sizes import WIDTH",
    "mylab__sizes": "WIDTH = 3",
    "mylab__unrelated": "z = 1",
    "helper": "def helps():\n    import torch\n    return 1",
}


@pytest.mark.parametrize(
    ("module", "text", "same"),
    [
        ("mylab__nets", "# A comment\n" + PROJECT["mylab__nets"] + "  # another", True),
        ("mylab__nets", "'''Doc.'''\n\n" + PROJECT["mylab__nets"].replace("pass", "'doc'"), True),
        ("mylab__unrelated", "z = 2", True),
        ("mylab__nets", PROJECT["mylab__nets"] + "\nx = 1", False),
        ("mylab__init", "x = 1", False),
        ("mylab__parts", "import helper\nx = 22", False),
        ("mylab__deep__init", "y = 22", False),
        ("mylab__deep__layers", "from ..sizes import WIDTH\nx = 1", False),
        ("mylab__sizes", "WIDTH = 33", False),
        ("helper", "def helps():\n    import torch\n    return 22", False),
        ("helper", "def helps(:", False),
    ],
)
def test_the_digest_follows_the_users_code(
    project: Project, module: str, text: str, same: bool
) -> None:
    project(**PROJECT)
    before = targets.digest(["mylab.nets.Net"])
    assert before != NOTHING
    project(**{module: text})
    assert (targets.digest(["mylab.nets.Net"]) == before) is same


def test_the_digest_runs_nothing_and_knows_no_machine(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = "raise SystemExit('was run')"
    project(pkg__init=text, pkg__net=text)
    before = targets.digest(["pkg.net.Net"])
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "pkg").rename(tmp_path / "elsewhere" / "pkg")
    importlib.invalidate_caches()
    assert targets.digest(["pkg.net.Net"]) == NOTHING
    monkeypatch.syspath_prepend(tmp_path / "elsewhere")
    assert targets.digest(["pkg.net.Net", "torch.nn.Linear"]) == before
    assert "pkg" not in sys.modules


def test_the_digest_of_a_started_script(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = ModuleType("__main__")
    monkeypatch.setitem(sys.modules, "__main__", script)
    assert targets.digest(["__main__.Net"]) == NOTHING
    (tmp_path / "script.py").write_text("class Net: pass")
    script.__file__ = str(tmp_path / "script.py")
    assert targets.digest(["__main__.Net"]) != NOTHING


MADE = "from torch import nn\nclass Net(nn.Linear): pass\ndef act(x): return x\n"


def test_what_only_this_process_has_is_of_the_script(monkeypatch: pytest.MonkeyPatch) -> None:
    script, made, known = ModuleType("__main__"), ModuleType("made_by_hand"), ModuleType("json.own")
    exec(MADE, script.__dict__)  # noqa: S102
    exec(MADE, made.__dict__)  # noqa: S102
    for name, module in (("__main__", script), ("made_by_hand", made)):
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setattr(json, "Net", script.__dict__["Net"], raising=False)
    monkeypatch.setattr(json, "act", script.__dict__["act"], raising=False)
    monkeypatch.setattr(json, "own", known, raising=False)
    known.Net = script.__dict__["Net"]  # type: ignore[attr-defined]
    here = {
        "_target_": "__main__.Net",
        "a": "made_by_hand.Net",
        "b": {"_target_": "made_by_hand.inner.Net"},
        "c": ["json.Net", "json.own.Net"],
        "d": "json.act",
    }
    assert targets.script_names(here, "model") == {
        "model._target_": "__main__.Net",
        "model.a": "made_by_hand.Net",
        "model.b._target_": "made_by_hand.inner.Net",
        "model.c[0]": "json.Net",
        "model.c[1]": "json.own.Net",
        "model.d": "json.act",
    }
    elsewhere = ["json.JSONDecoder", "json.decoder.JSONDecoder", "json.missing", "sys.path", "zipimport.zipimporter",
                 "made_by_hand", "made by hand.x", "not_imported.Net", "xml.dom", "1.5", ""]  # fmt: skip
    assert targets.script_names({"_target_": "torch.nn.Linear", "words": elsewhere}, "model") == {}


# ensure_trusted

MINE = """
from collections import OrderedDict
from torch import nn, load
from torch.utils.data import Dataset
class Net(nn.Module):
    class Inner(nn.Module): pass
class Set(Dataset): pass
class F1:
    def update(self): pass
    def compute(self): pass
    def reset(self): pass
class Other: pass
"""


@pytest.mark.parametrize(
    "node",
    [
        LINEAR,
        ADAM,
        {
            "_target_": "torch.optim.lr_scheduler.ReduceLROnPlateau",
            "in_features": "${data.in_features}",
        },
        {
            "_target_": "torch.nn.Sequential",
            "_args_": [LINEAR, {"_target_": "torch.nn.modules.activation.ReLU"}],
        },
        {"data": {"width": 3}, "model": {**LINEAR, "in_features": "${data.width}"}},
        {"_target_": "mine.Net"},
        {"_target_": "mine.Net.Inner"},
        [{"_target_": "mine.Set"}, {"_target_": "mine.F1"}],
        "a string",
        None,
    ],
)
def test_known_kinds_are_trusted(project: Project, node: object) -> None:
    project(mine=MINE)
    assert targets.ensure_trusted(node, "k", trusted=["mine"]) is None  # type: ignore[func-returns-value]


HOSTILE = [
    "os.system",
    "builtins.exec",
    "subprocess.Popen",
    "torch.load",
    "torch.hub.load",
    "torch.nn.modules.module.torch.load",
    "torch.nn.modules.module.torch.save",
    "torch.nn.modules.module.torch.os.makedirs",
    "torch.optim.optimizer.torch.hub.load",
    "hostile_probe.run",
    "torch.nn",
    "torch.nnx.Linear",
    "torch.nn..Linear",
    "torch.nn.functional.relu",
    "torch.nn.init.normal_",
    "torch.nn.Linear.forward",
    "torch.nn.Linear.__init__.__globals__",
    "torch.nn.__main__",
    "torch.nn.modules.module.OrderedDict",
    "torch.nn.Parameter",
    "torch.nn.Linaer",
    "sweeplab.targets.lookup.importlib.import_module",
    "sweeplab.targets.digest",
    "sweeplab.errors.UserError",
    "${a}.system",
    3,
    None,
    ["os.system"],
]
WRAPPED: dict[str, Callable[[object], object]] = {
    "alone": lambda node: node,
    "one level down": lambda node: {**LINEAR, "bias": node},
    "two levels down": lambda node: {**LINEAR, "bias": {"deep": {"deeper": node}}},
    "in a list": lambda node: {"model": [1, [node]]},
    "under _args_": lambda node: {"_target_": "torch.nn.Sequential", "_args_": [node]},
    "in a config": lambda node: OmegaConf.create({"model": {**LINEAR, "bias": node}}),
    "elsewhere": lambda node: (
        OmegaConf.create({"x": node, "model": {**LINEAR, "bias": "${x}"}}).model
    ),
}


@pytest.fixture
def nothing_happened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], bool]:
    """Whether, since the test began, no module was imported, none of the hostile functions called or read off torch."""
    (tmp_path / "hostile_probe.py").write_text("def run(): pass")
    monkeypatch.syspath_prepend(tmp_path)
    targets.ensure_trusted([LINEAR, ADAM], "k")
    happened: list[str] = []
    for owner, name in (
        (torch.hub, "load"),
        (os, "system"),
        (os, "makedirs"),
        (subprocess, "Popen"),
    ):
        monkeypatch.setattr(owner, name, lambda *_, name=name, **__: happened.append(name))

    class Spy(ModuleType):
        def __getattribute__(self, name: str) -> object:
            if name in {"load", "save", "hub", "os"}:
                happened.append(name)
            return super().__getattribute__(name)

    monkeypatch.setattr(torch, "__class__", Spy)
    imported = set(sys.modules)
    return lambda: not happened and set(sys.modules) == imported


@pytest.mark.parametrize("target", HOSTILE, ids=str)
def test_hostile_records_are_refused(nothing_happened: Callable[[], bool], target: object) -> None:
    for where, wrap in WRAPPED.items():
        said = refusal(
            targets.ensure_trusted,
            wrap({"_target_": target, "_partial_": True, "command": "true"}),
            "k",
        )
        assert "_target_=" in said, where
        assert ": refused: " in said, where
        assert nothing_happened(), where


@pytest.mark.parametrize(
    ("target", "says"),
    [
        (
            "torch.load",
            "only names in torch.nn, torch.optim, sweeplab, mine are trusted (--trust MODULE)",
        ),
        (
            "torch.nn.modules.module.torch.load",
            "'torch' leads out of the trusted modules to 'torch'",
        ),
        ("torch.nn.Linaer", "'Linaer' is not in a trusted module"),
        (
            "torch.nn.Parameter",
            "no Module, Optimizer, scheduler, Dataset or metric of a trusted module",
        ),
        ("mine.load", "it is defined in torch.serialization, which is not trusted"),
        ("mine.OrderedDict", "it is defined in collections, which is not trusted"),
    ],
)
def test_a_refusal_says_why(project: Project, target: str, says: str) -> None:
    project(mine=MINE)
    node = {"model": {"_target_": target}}
    assert (
        refusal(targets.ensure_trusted, node, "k", ["mine"])
        == f"k.model._target_={target}: refused: {says}"
    )


def test_what_hydra_would_call_is_what_was_checked(project: Project) -> None:
    project(shadow__init="import shadow.inner\nclass inner:\n    Net = print", shadow__inner=MINE)
    assert refusal(
        targets.ensure_trusted, {"_target_": "shadow.inner.Net"}, "k", ["shadow.inner"]
    ) == ("k._target_=shadow.inner.Net: refused: Hydra finds something else under this name")


@pytest.mark.parametrize(
    "value",
    ["${oc.env:HOME}", "x${oc.env:HOME}", "${a.${oc.env:HOME}}", "${a}${b}", "${ oc.env:HOME}"],
)
def test_foreign_interpolations_are_refused(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "secret")
    says = f"model.bias={value}: refused: a record may refer to its own keys only"
    node = {**LINEAR, "bias": value}
    config = OmegaConf.create({"a": "$", "b": "{oc.env:HOME}", "model": node})
    assert refusal(targets.ensure_trusted, node, "model") == says
    assert refusal(targets.ensure_trusted, config, "") == says
    assert refusal(targets.ensure_trusted, config.model, "model") == says
    assert refusal(targets.ensure_trusted, [{"x": config}], "") == says.replace(
        "model", "[0].x.model", 1
    )
    assert refusal(targets.ensure_trusted, value, "name") == says.replace("model.bias", "name", 1)
