"""What a config computes with: code by dotted names, installed packages, and files, each of which makes a run stale."""

from __future__ import annotations

import hashlib
import importlib
import os
import py_compile
import sys
import time
import zipfile
from pathlib import Path

import pytest
from conftest import Write

from sweeplab import config, targets
from sweeplab.runs.job import Job, prepare
from sweeplab.runs.once import Once
from sweeplab.targets import files, syntax

NOTHING = targets.digest([])


def named(*words: str) -> list[str]:
    """The modules and packages behind words that are arguments."""
    return list(targets.parts([], {f"model.a{n}": word for n, word in enumerate(words)}))[1:]


# --- dotted names as arguments


@pytest.mark.parametrize(
    ("word", "modules"),
    [
        ("mine.act", ["helper", "mine"]),
        ("mine:act", ["helper", "mine"]),
        ("mine.Net.small", ["helper", "mine"]),
        ("pkg.deep.fn", ["pkg", "pkg.deep"]),
        ("pkg.deep", ["pkg", "pkg.deep"]),
        ("space.inside.fn", ["space.inside"]),  # a package without __init__.py
        ("starred.anything", ["mine", "helper", "starred"]),
        # Ordinary words.
        ("mine", []),
        ("mine.csv", []),
        ("mine.nope", []),
        ("pkg.nope.fn", []),
        ("relu", []),
        ("torch.float32", []),
        ("torch.nn.ReLU", []),
        ("resnet.v2", []),
        ("layer1.0.conv", []),
        ("math.pi", []),
        ("sweeplab.models.MLP", []),
        ("numpy.float32", []),
        ("a b.c", []),
        ("", []),
        (".", []),
        ("mine.", []),
        ("mine..act", []),
        ("valid/loss", []),
        ("space.nope", []),
    ],
)
def test_an_argument_that_names_code_of_the_project_counts(
    write: Write, word: str, modules: list[str]
) -> None:
    write({
        "mine.py": "from helper import y\nclass Net: pass\ndef act(x): return x",
        "helper.py": "y = 1",
        "pkg/__init__.py": "",
        "pkg/deep.py": "fn = lambda: 1",
        "space/inside.py": "def fn(): pass",
        "starred.py": "from mine import *",
    })  # fmt: skip
    before = set(sys.modules)
    assert sorted(named(word)) == sorted(modules)
    assert set(sys.modules) == before, "nothing is imported to find out"


NET = """
import torch
from pathlib import Path
class Net(torch.nn.Linear):
    def __init__(self, in_features, out_features, hidden=None, act=None, layers=None, vocab=None, bias=True):
        super().__init__(in_features, out_features, bias)
class Set(torch.utils.data.Dataset):
    def __init__(self, path, classes=None): self.xs = [float(x) for x in Path(path).read_text().split()]
    def __len__(self): return len(self.xs)
    def __getitem__(self, i): return torch.full((64,), self.xs[i]), 0
"""
ACT = "def act(x): return x * {}"
MINE = ("data=digits", "model=linear", "model._target_=net.Net")


def prepared(*overrides: str) -> Job:
    return prepare(config.compose([*MINE, *overrides]), [])


def changed(before: Job, after: Job) -> list[str]:
    """The parts that a plan, `compare` and replay name; [] if the finished run is found again."""
    assert before.question == after.question
    names = sorted({*before.code, *after.code})
    different = [name for name in names if before.code.get(name) != after.code.get(name)]
    assert bool(different) == (before.fingerprint != after.fingerprint)
    return different


@pytest.mark.parametrize(
    "overrides",
    [
        ["+model.act._target_=hydra.utils.get_method", "+model.act.path=acts.act"],
        ["+model.act._target_=hydra.utils.get_object", "+model.act.path=acts.act"],
        ["+model.act._target_=hydra.utils.get_class", "+model.act.path=acts.Act"],
        ["+model.act=acts.act"],
        ["+model.act=acts:act"],
        ["+model.act._target_=acts.act", "+model.act._partial_=true"],
        ["+model.layers=[3,{name:acts.act}]"],
        ["+model.layers=[{_target_:torch.nn.Identity,_args_:[acts.act]}]"],
        ["+metrics.share._target_=own.Share", "+model.layers={a:{b:acts.act}}"],
    ],
    ids=str,
)
def test_a_function_named_by_an_argument_makes_a_run_stale(
    write: Write, overrides: list[str]
) -> None:
    write({"net.py": NET, "acts.py": ACT.format(1) + "\nclass Act: pass"})
    before = prepared(*overrides)
    write({"acts.py": ACT.format(22) + "\nclass Act: pass"})
    assert changed(before, prepared(*overrides)) == ["acts"]
    write({"acts.py": "# a comment\n" + ACT.format(1) + "\nclass Act: pass"})
    assert changed(before, prepared(*overrides)) == []


def test_the_jobs_of_one_plan_differ_by_what_they_name(write: Write) -> None:
    write({"net.py": NET, "acts.py": ACT.format(1), "other.py": ACT.format(2), "words.txt": "a"})
    once = Once()
    asked = ["relu", "acts.act", "other.act", "words.txt"]
    jobs = [prepare(config.compose([*MINE, f"+model.act={word}"]), [], once) for word in asked]
    assert [list(job.code)[1:] for job in jobs] == [["net"], ["acts", "net"], ["net", "other"], ["model.act (file)", "net"]]  # fmt: skip


# --- what an import leads to


@pytest.mark.parametrize(
    ("text", "modules"),
    [
        ("from pkg import *", ["pkg", "pkg.a"]),  # which __all__ names
        ("from pkg import a", ["pkg", "pkg.a"]),
        ("if True:\n    import pkg.b\nelse:\n    import pkg.a", ["pkg", "pkg.a", "pkg.b"]),
        ("try:\n    import absent\nexcept ImportError:\n    from pkg import b", ["pkg", "pkg.b"]),
        ("import importlib\nx = importlib.import_module('pkg.b')", ["pkg", "pkg.b"]),
        (
            "from hydra.utils import get_class\ndef f(): return get_class('pkg.b.B')",
            ["pkg", "pkg.b"],
        ),
        ("from shadow import x", ["shadow"]),
        ("x = open\n", []),
    ],
)
def test_what_a_module_imports_counts(write: Write, text: str, modules: list[str]) -> None:
    write({
        "mine.py": text,
        "pkg/__init__.py": "__all__ = ['a']\n__all__ += ['nope']",
        "pkg/a.py": "x = 1",
        "pkg/b.py": "x = 1",
        "shadow/__init__.py": "x = 1",
        "shadow.py": "raise SystemExit('the package comes first')",
    })  # fmt: skip
    assert list(targets.parts(["mine.Net"]))[1:] == sorted(["mine", *modules])


COMPUTED = "import importlib\nfor n in NAMES:\n    "


@pytest.mark.parametrize(
    ("name", "text", "modules"),
    [
        ("mine", "import importlib\nx = importlib.import_module(name='other')", ["other"]),
        ("mine", "from importlib import import_module as load\nx = load('other')", ["other"]),
        ("mine", "import importlib\nx = importlib.import_module('.a', 'pkg')", ["pkg", "pkg.a"]),
        (
            "mine",
            "import importlib\nx = importlib.import_module('.a', package='pkg')",
            ["pkg", "pkg.a"],
        ),
        ("mine", "x = __import__('pkg', fromlist=['a'])", ["pkg", "pkg.a"]),
        ("mine", "import runpy\nx = runpy.run_module('other')", ["other"]),
        (
            "mine",
            "from hydra.utils import instantiate\nx = instantiate({'_target_': 'other.f'})",
            ["other"],
        ),
        (
            "mine",
            "from hydra.utils import instantiate\nx = instantiate(dict(_target_='other.f'))",
            ["other"],
        ),
        ("mine", "import pydoc\nx = pydoc.locate('other.f')", ["other"]),
        ("mine", "import pkgutil\nx = pkgutil.resolve_name('other:f')", ["other"]),
        ("mine", "class Net:\n    def __init__(self, act='other.f'): pass", ["other"]),
        ("mine", "'Like other.f.'\nclass Net:\n    'other.f'\n    x: int = 1\n    'other.f'", []),
        ("mine", "x = 'mine.csv', 'other.g', 'a.b', 'no module.f'", []),
        # By a computed name: all modules of the package.
        ("mine", COMPUTED + "importlib.import_module(f'pkg.{n}')", ["pkg", "pkg.a", "pkg.inner.c"]),
        ("mine", COMPUTED + "importlib.import_module('pkg.' + n)", ["pkg", "pkg.a", "pkg.inner.c"]),
        (
            "mine",
            COMPUTED + "importlib.import_module('pkg.%s' % n)",
            ["pkg", "pkg.a", "pkg.inner.c"],
        ),
        (
            "mine",
            COMPUTED + "importlib.import_module('pkg.{}'.format(n))",
            ["pkg", "pkg.a", "pkg.inner.c"],
        ),
        (
            "mine",
            COMPUTED + "importlib.import_module('.' + n, 'pkg')",
            ["pkg", "pkg.a", "pkg.inner.c"],
        ),
        ("mine", COMPUTED + "importlib.import_module(f'space.{n}')", ["space.d"]),
        ("mine", COMPUTED + "importlib.import_module(n)", []),
        ("mine", COMPUTED + "importlib.import_module(f'torch.{n}')", []),
        ("lab", COMPUTED + "importlib.import_module(f'.{n}', __name__)", ["lab.e"]),
        ("lab", COMPUTED + "importlib.import_module(f'{__name__}.{n}')", ["lab.e"]),
        ("lab", COMPUTED + "importlib.import_module(__name__ + '.' + n)", ["lab.e"]),
        ("lab", COMPUTED + "importlib.import_module(n)", ["lab.e"]),
        ("lab", "def __getattr__(n): return __import__(n)", ["lab.e"]),
        # What only type checkers see.
        (
            "mine",
            "from typing import TYPE_CHECKING\nif TYPE_CHECKING: import other\nelse: import space.d",
            ["space.d"],
        ),
        ("mine", "import typing\nif typing.TYPE_CHECKING:\n    import other", []),
    ],
)
def test_what_a_module_names_counts_as_if_it_were_imported(
    write: Write, name: str, text: str, modules: list[str]
) -> None:
    write({
        "mine.py" if name == "mine" else "lab/__init__.py": text,
        "other.py": "def f(): return 1",
        "pkg/__init__.py": "",
        "pkg/a.py": "x = 1",
        "pkg/data/x.txt": "1",
        "pkg/inner/c.py": "x = 1",
        "space/d.py": "x = 1",
        "lab/e.py": "x = 1",
    })  # fmt: skip
    assert list(targets.parts([f"{name}.Net"]))[1:] == sorted([name, *modules])


@pytest.mark.parametrize(
    "text", ["globals()['act'] = 1", "import sys\nsetattr(sys.modules[__name__], 'act', 1)"]
)
def test_a_name_that_is_bound_in_another_way_counts(write: Write, text: str) -> None:
    write({"mine.py": text})
    assert named("mine.act") == ["mine"]


@pytest.mark.parametrize(
    "text",
    [
        "'A text.'\nclass Net:\n    'Another.'\n    x = 1000\n    'One of x.'",
        "class Net:\n\n\tx = (1_000)  # much",
        "\ufeffclass Net:\r\n    x = 1000\r\n",
    ],
)
def test_what_does_not_compute_does_not_count(write: Write, text: str) -> None:
    write({"mine.py": "class Net:\n    x = 1000"})
    before = targets.digest(["mine.Net"])
    time.sleep(0.02)
    write({"mine.py": text})
    assert targets.digest(["mine.Net"]) == before


def test_names_that_an_init_brings(write: Write) -> None:
    write({"lab/__init__.py": "from .nets import Net", "lab/nets.py": "from .sizes import W\nclass Net: pass", "lab/sizes.py": "W = 1"})  # fmt: skip
    assert named("lab.Net") == ["lab", "lab.nets", "lab.sizes"]


def test_a_project_behind_a_link(write: Write, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write({"elsewhere/lab/__init__.py": "x = 1"})
    before = targets.digest(["elsewhere.lab.Net"])
    (root / "lab").symlink_to(root / "elsewhere/lab")
    assert named("lab.x") == ["lab"]
    write({"elsewhere/lab/__init__.py": "x = 22"})
    assert targets.digest(["elsewhere.lab.Net"]) != before


def test_modules_without_source(write: Write, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write({"bare.py": "x = 1", "in_zip.py": "import helper\nx = 1", "helper.py": "y = 1"})
    py_compile.compile(str(root / "bare.py"), cfile=str(root / "bare.pyc"), doraise=True)
    (root / "bare.py").unlink()
    suffix = importlib.machinery.EXTENSION_SUFFIXES[0]
    (root / f"fast{suffix}").write_bytes(b"not really")
    with zipfile.ZipFile(root / "lib.zip", "w") as archive:
        archive.write(root / "in_zip.py", "zipped/in_zip.py")
        archive.writestr("zipped/__init__.py", "")
    monkeypatch.syspath_prepend(root / "lib.zip")
    importlib.invalidate_caches()
    paths = ["bare.Net", "fast.Net", "zipped.in_zip.Net"]
    before = targets.parts(paths)
    assert list(before)[1:] == ["bare", "fast", "helper", "zipped", "zipped.in_zip"]
    (root / f"fast{suffix}").write_bytes(b"not really, either")
    with zipfile.ZipFile(root / "lib.zip", "w") as archive:
        archive.writestr("zipped/__init__.py", "")
        archive.writestr("zipped/in_zip.py", "import helper\nx = 22")
    importlib.invalidate_caches()
    after = targets.parts(paths)
    assert [name for name in after if after[name] != before.get(name)] == ["fast", "zipped.in_zip"]


def test_a_module_whose_file_is_gone(write: Write, root: Path) -> None:
    write({"gone.py": "x = 1"})
    importlib.import_module("gone")
    (root / "gone.py").unlink()
    assert targets.digest(["gone.x"]) == NOTHING


# --- installed packages


def install(
    site: Path, name: str, version: str, *, own: bool = False, record: bool = True, **modules: str
) -> None:
    """An installed package, as pip leaves it."""
    stem = name.replace("-", "_")
    for old in site.glob(f"{stem}-*.dist-info"):
        for file in old.iterdir():
            file.unlink()
        old.rmdir()
    metadata = site / f"{stem}-{version}.dist-info"
    metadata.mkdir(parents=True)
    listed = []
    for module, text in modules.items():
        file = site / f"{module.replace('__', '/').replace('/init', '/__init__')}.py"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        listed.append(f"{file.relative_to(site)},sha256=x,{len(text)}\n")
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    if record:
        (metadata / "RECORD").write_text("".join(listed))
    if own:
        (metadata / "direct_url.json").write_text(
            '{"url": "file:///home/me/mylab", "dir_info": {}}'
        )
    importlib.invalidate_caches()


@pytest.fixture
def site(root: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = root / "env/lib/python3/site-packages"
    folder.mkdir(parents=True)
    monkeypatch.syspath_prepend(folder)
    return folder


def test_a_package_of_others_counts_by_its_version(site: Path, write: Write) -> None:
    install(site, "some_nets", "1.0", somenets__models="class Net: pass", helps="x = 1")
    install(site, "zz", "9", zz="x = 1")
    write({"mine.py": "import zz, somenets.models\nclass Net: pass"})
    assert targets.parts(["somenets.models.Net"]) == {
        "numerics": str(targets.NUMERICS),
        "some_nets (version)": "1.0",
    }
    assert named("somenets.models.Net") == ["some_nets (version)"], "named by an argument"
    assert named("somenets.models.nope") == []
    assert list(targets.parts(["mine.Net"])) == ["numerics", "mine"], (
        "what the project imports is recorded only"
    )
    before = targets.digest(["somenets.models.Net"])
    install(site, "some_nets", "1.0", somenets__models="class Net: x = 1", helps="x = 1")
    assert targets.digest(["somenets.models.Net"]) == before
    install(site, "some_nets", "1.1", somenets__models="class Net: x = 1", helps="x = 1")
    assert targets.parts(["somenets.models.Net"])["some_nets (version)"] == "1.1"
    assert targets.digest(["somenets.models.Net"]) != before
    install(site, "some_nets", "1.1.dev20261126+g1234567", somenets__models="", helps="")
    assert len(targets.parts(["somenets.models.Net"])["some_nets (version)"]) == 12, (
        "as long as any digest"
    )


@pytest.mark.parametrize("record", [True, False])
def test_a_package_of_ones_own_counts_by_its_content_too(
    site: Path, write: Write, record: bool
) -> None:
    texts = {
        "mylab__init": "from .nets import Net",
        "mylab__nets": "import other_lab\nclass Net: pass",
    }
    install(site, "mylab", "0.1", own=True, record=record, **texts)
    install(site, "other-lab", "0.2", own=True, record=record, other_lab="import theirs\nx = 1")
    install(site, "theirs", "3", record=record, theirs="x = 1")
    parts = targets.parts(["mylab.Net"])
    assert list(parts)[1:] == [
        "mylab",
        "mylab (version)",
        "mylab.nets",
        "other-lab (version)",
        "other_lab",
    ]
    assert (parts["mylab (version)"], parts["other-lab (version)"]) == ("0.1", "0.2")
    before = targets.digest(["mylab.Net"])
    install(site, "other-lab", "0.2", own=True, record=record, other_lab="import theirs\nx = 22")
    assert targets.digest(["mylab.Net"]) != before, "built again, with the same version"
    install(
        site, "other-lab", "0.2", own=True, record=record, other_lab="# x\nimport theirs\nx = 1"
    )
    assert targets.digest(["mylab.Net"]) == before
    install(site, "mylab", "0.2", own=True, record=record, **texts)
    assert targets.digest(["mylab.Net"]) != before


def test_a_module_that_no_package_lists_is_ones_own(site: Path, write: Write) -> None:
    write({"src/linked/__init__.py": "x = 1", "env/lib/python3/site-packages/byhand.py": "x = 1"})
    (site / "linked").symlink_to(site.parents[3] / "src/linked")
    assert list(targets.parts(["linked.Net", "byhand.Net"])) == ["numerics", "byhand", "linked"]


def test_a_namespace_that_packages_share(site: Path) -> None:
    install(site, "lab-a", "1", lab__a__nets="class Net: pass")
    install(site, "lab-b", "2", own=True, lab__b__nets="class Net: pass")
    assert list(targets.parts(["lab.a.nets.Net", "lab.b.nets.Net"]))[1:] == ["lab-a (version)", "lab-b (version)", "lab.b.nets"]  # fmt: skip


def test_a_package_that_is_really_installed() -> None:
    import sklearn

    found = targets.parts(
        ["sklearn.datasets.load_iris", "torch.nn.Linear", "torchvision.datasets.MNIST"]
    )
    assert found == {
        "numerics": str(targets.NUMERICS),
        "scikit-learn (version)": sklearn.__version__,
    }


# --- files


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("words.txt", "model.vocab"),
        ("./words.txt", "model.vocab"),
        ("sub/../words.txt", "model.vocab"),
        ("{root}/words.txt", "model.vocab"),
        ("~/words.txt", "model.vocab"),
        ("$HOME/words.txt", "model.vocab"),
        ("file://{root}/words.txt", "model.vocab"),
        ("link.txt", "model.vocab"),
        ("noname", "model.vocab"),
    ],
)
def test_a_file_counts_by_its_content(
    write: Write, root: Path, monkeypatch: pytest.MonkeyPatch, text: str, key: str
) -> None:
    monkeypatch.setenv("HOME", str(root))
    write({"net.py": NET, "words.txt": "one", "noname": "one", "sub/x": ""})
    (root / "link.txt").symlink_to("words.txt")
    override = f"+{key}='{text.format(root=root)}'"
    before = prepared(override)
    assert (
        before.code[f"{key} (file)"]
        == hashlib.sha256(hashlib.sha256(b"one").hexdigest().encode()).hexdigest()[:12]
    )
    time.sleep(0.02)
    write({"words.txt": "two", "noname": "two"})
    assert changed(before, prepared(override)) == [f"{key} (file)"]
    write({"words.txt": "one", "noname": "one"})
    assert changed(before, prepared(override)) == []


def test_files_count_in_every_section(write: Write) -> None:
    write({"net.py": NET + "\ndef steps(optimizer, table, **_): return torch.optim.lr_scheduler.ConstantLR(optimizer)", "a.csv": "1 2 3"})  # fmt: skip
    overrides = [
        "+model.layers=[{w:a.csv}]",
        "scheduler=constant",
        "scheduler._target_=net.steps",
        "+scheduler.table=a.csv",
    ]
    overrides += [
        "data.dataset._target_=net.Set",
        "+data.dataset.path=a.csv",
        "+data.dataset.classes=a.csv",
    ]
    held = prepared(
        *overrides, "trainer.batch_size=1", "data.valid=1", "data.test=1", "model.out_features=10"
    )
    assert [name for name in held.code if "(file)" in name] == [
        "model.layers[0].w (file)",
        "scheduler.table (file)",
    ]
    streamed = prepared(
        *overrides,
        "trainer.batch_size=1",
        "data.valid=1",
        "data.test=1",
        "data.memory=0",
        "data.version=1",
    )
    files_of_data = ["data.dataset.classes (file)", "data.dataset.path (file)"]
    assert [name for name in streamed.code if "(file)" in name] == [*files_of_data, "model.layers[0].w (file)", "scheduler.table (file)"]  # fmt: skip


def test_a_held_set_that_is_moved_is_the_same(write: Write) -> None:
    write({"net.py": NET, "a.txt": "1 2 3", "b/c.txt": "1 2 3"})
    small = ("trainer.batch_size=1", "data.valid=1", "data.test=1")
    runs = [
        prepared(*small, "data.dataset._target_=net.Set", f"+data.dataset.path={path}")
        for path in ("a.txt", "b/c.txt")
    ]
    assert changed(*runs) == []


def test_words_that_name_no_input_add_nothing(
    write: Write, root: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    write({"relu/x.txt": "1", "cache/x.txt": "1", "log.txt": "1", "many/0.txt": ""})
    for n in range(files.MOST_FILES):
        (root / f"many/x{n}.txt").touch()
    words = {
        "model.act": "relu",  # a word, though a folder has that name
        "model.cache_dir": "./cache",
        "model.out": "log.txt",
        "model.log_file": "log.txt",
        "model.here": ".",
        "model.above": "..",
        "model.root": str(root),
        "model.gone": "absent.txt",
        "model.path": "",
        "model.url": "https://example.org/weights.pt",
        "model.text": "x" * 5000,
        "model.null": "a\0b",
        "model.nobody": "~nobody-here/x",
        "model.root_dir": "./many",
        "model.device": "/dev/null",
    }
    assert files.file_digests(words) == {}
    folders = dict.fromkeys(
        ["model.act_dir", "model.weights", "model.pretrained", "model.my_tokenizer"], "relu"
    )
    assert list(files.file_digests({**folders, "model.x": "relu/"})) == [*folders, "model.x"]


def test_a_folder_counts_by_the_files_in_it(write: Write, root: Path) -> None:
    write({"w/a.txt": "1", "w/deep/b.txt": "2", "w/.hidden/c": "3", "w/__pycache__/d": "4"})
    (root / "w/loop").symlink_to(root / "w")

    def digest() -> str:
        time.sleep(0.02)
        (found,) = files.file_digests({"model.weights": "./w"}).values()
        return found

    first = digest()
    write({"w/.hidden/c": "5", "w/__pycache__/d": "6"})
    assert digest() == first
    (root / "w").rename(root / "v")
    (root / "v/loop").unlink()
    assert files.file_digests({"model.weights": "v/"}) == {"model.weights": first}, (
        "wherever it lies"
    )
    (root / "v").rename(root / "w")
    write({"w/deep/b.txt": "9"})
    assert digest() != first
    write({"w/deep/b.txt": "2"})
    assert digest() == first
    (root / "w/a.txt").rename(root / "w/z.txt")
    assert digest() != first


def test_of_a_large_file_spread_blocks_count(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "WHOLE", 2**20)
    file = root / "large.bin"
    content = bytearray(3 * 2**20)

    def digest(at: int) -> str:
        content[at] ^= 1
        file.write_bytes(content)
        content[at] ^= 1
        time.sleep(0.02)
        return files.file_digests({"model.weights": "large.bin"})["model.weights"]

    whole = {digest(at) for at in (0, len(content) - 1, 2**20 + 2**19)}
    assert len(whole) == 3
    file.write_bytes(content + b"x")
    assert files.file_digests({"model.weights": "large.bin"})["model.weights"] not in whole, (
        "its size counts"
    )


def test_what_cannot_be_read_is_left_to_whoever_opens_it(write: Write, root: Path) -> None:
    write({"secret.txt": "1"})
    (root / "secret.txt").chmod(0)
    found = files.file_digests({"model.vocab": "secret.txt"})
    assert found["model.vocab"] == ("unreadable: Permission denied" if os.geteuid() else hashlib.sha256(b"1").hexdigest())  # fmt: skip


def test_a_file_is_read_once(write: Write, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write({"once.txt": "one"})
    read: list[object] = []
    plain = hashlib.file_digest
    monkeypatch.setattr(hashlib, "file_digest", lambda *given: read.append(given) or plain(*given))
    for _ in range(3):
        files.file_digests({"model.vocab": "once.txt", "loss.weights": "./once.txt"})
    assert len(read) == 1


# --- another Python


@pytest.mark.parametrize(
    ("code", "text"),
    [
        ("f'{a}'", "f'{a}'"),
        ("""f"{a['b']}\\n" """, """f"{a['b']}\\n\""""),
        ("""f"{a['b']}: {c!r:>{d['e']}}" """, """f"{a['b']}: {c!r:>{d['e']}}\""""),
        ("""f'"{a}" is not {b["c"]}' """, """f'''"{a}" is not {b['c']}'''"""),
        ("""f"{', '.join(f'{x}' for x in a)}" """, """f"{', '.join((f'{x}' for x in a))}\""""),
    ],
)
def test_code_is_written_alike_by_every_python(code: str, text: str) -> None:
    assert syntax.source(f"x = {code}".encode()).text == f"x = {text}"
