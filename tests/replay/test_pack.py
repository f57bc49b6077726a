"""A sweep in one file: packed, unpacked elsewhere, and refused if it is not what was packed."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import random
import shutil
import signal
import sys
import tarfile
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import kill
import pytest
from conftest import Command, Write, ended

from sweeplab.commands import cli
from sweeplab.replay import archive, portable
from sweeplab.store import Event, Run, Status, Store
from sweeplab.store.journal import written

OWN = "from torch import nn\n\n\nclass Net(nn.Linear):\n    '''A layer.'''\n"
SWEEP = (
    "-m", "data=digits", "tracking=off", "sweep.report=false", "trainer.epochs=2", "seed=0,1,2",
    "model=linear", "model._target_=handed.Net", "data.root=secret-place/data",
)  # fmt: skip
_made: dict[str, bytes] = {}


@pytest.fixture
def sweeplab(
    root: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Command:
    """`sweeplab ...` in this process, beside `train`; what it finds by then is forgotten."""
    monkeypatch.setattr(sys, "path", [*sys.path])
    return lambda *arguments: ended(lambda: cli.main(arguments), capfd)


@pytest.fixture
def packed(root: Path, train: Command, sweeplab: Command, write: Write) -> Path:
    """The file of a sweep over three seeds of a class of one's own, in an empty root."""
    file = root / "x.tgz"
    if "file" not in _made:
        write({"handed.py": OWN})
        trained = train(*SWEEP, "store.root=away/runs")
        assert trained.code == 0, trained.err
        done = sweeplab(
            "pack", sweep_id(root / "away/runs"), "--output", str(file), "store.root=away/runs"
        )
        assert done.code == 0, done.err
        assert "3 runs, the code of handed" in done.out.replace("\n", " ")
        _made["file"] = file.read_bytes()
        shutil.rmtree(root / "away")
        (root / "handed.py").unlink()
    file.write_bytes(_made["file"])
    return file


def sweep_id(folder: Path) -> str:
    return str(Store(folder).manifests()[-1]["id"])


def content(file: Path) -> dict[str, bytes]:
    """Member -> what is in it, but for the list of members."""
    held = {}
    with tarfile.open(file) as packed:
        for info in packed:
            member = packed.extractfile(info)
            assert member is not None
            held[info.name] = member.read()
    del held[archive.MANIFEST]
    return held


def test_what_is_unpacked_is_compared_as_it_was(
    packed: Path, sweeplab: Command, root: Path
) -> None:
    done = sweeplab("unpack", str(packed), "tracking=off")
    assert done.code == 0, done.err
    assert "3 runs added" in done.out
    home = Store(root / "runs")
    assert len(home.runs()) == 3
    for run in home.runs():
        result, history = run.history()
        assert result == history.result
        assert result is not None
        assert (result.status, history.start["config"]) == (Status.FINISHED, run.config())
    ours = sweep_id(root / "runs")
    assert home.code_folder(ours).joinpath("handed.py").read_text() == OWN
    compared = sweeplab("compare", ours[:8], "--json", "--report", "report")
    assert compared.code == 0, compared.err
    assert len(json.loads(compared.out)["groups"]) == 1
    assert (root / "report/report.html").is_file()
    kept = {
        file: file.read_bytes() for file in sorted((root / "runs").rglob("*")) if file.is_file()
    }
    again = sweeplab("unpack", "tracking=off", str(packed))
    assert "0 runs added, 3 were there already" in again.out
    assert kept.keys() == {file for file in (root / "runs").rglob("*") if file.is_file()}
    repacked = sweeplab("pack", ours, "--output", "again.tgz")
    assert repacked.code == 0, repacked.err
    assert "left out: handed: its code is not here" in repacked.out
    assert {n: c for n, c in content(packed).items() if n != "code/handed.py"} == content(
        root / "again.tgz"
    )


def test_the_same_sweep_makes_the_same_bytes_and_no_place_goes_along(
    packed: Path, sweeplab: Command, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert sweeplab("unpack", str(packed), "tracking=off").code == 0
    for name in ("one.tgz", "two.tgz"):
        assert sweeplab("pack", sweep_id(root / "runs"), "--output", name).code == 0
        time.sleep(0.01)
    assert (root / "one.tgz").read_bytes() == (root / "two.tgz").read_bytes()
    for text in content(packed).values():
        assert b"secret-place" not in text
        assert b"away/runs" not in text
        assert str(root).encode() not in text
    os.mkfifo(root / "pipe.tex")  # in the place of a device, which root would replace
    refused = sweeplab("pack", "latest", "--output", "pipe.tex")
    assert (refused.code, refused.err) == (
        2,
        "--output=pipe.tex: name a file in a folder that is there\n",
    )
    may = os.access
    monkeypatch.setattr(
        os, "access", lambda place, mode: may(place, mode) and Path(place) != root / "locked"
    )
    (root / "locked").mkdir()
    refused = sweeplab("pack", "latest", "--output", "locked/x.tgz")
    assert refused.code == 2
    assert refused.err.startswith(f"{root}/locked cannot be written; name a file elsewhere")
    refused = sweeplab("compare", "--latex", "pipe.tex")
    assert refused.code == 2
    assert "--latex=pipe.tex: is no file that can be replaced" in refused.err
    assert (root / "pipe.tex").is_fifo()
    refused = sweeplab("pack", "latest", "--output", "/proc/mine.tgz")
    assert refused.code == 1
    assert refused.err.startswith("/proc/mine.tgz: No such file or directory")


def test_a_foreign_class_is_called_only_if_it_is_trusted(
    packed: Path, sweeplab: Command, root: Path, write: Write
) -> None:
    from sweeplab import load_model

    write({"handed.py": "raise SystemExit('imported')"})
    assert sweeplab("unpack", str(packed), "tracking=off").code == 0
    run = Store(root / "runs").runs()[0]
    with pytest.raises(ValueError, match=r"handed\.Net: refused.*--trust MODULE"):
        load_model(run.id)
    assert sweeplab("show", run.id).code == 2
    (root / "handed.py").unlink()
    assert sweeplab("unpack", str(packed), "--trust", "handed", "tracking=off").code == 0
    with pytest.raises(ValueError, match="its weights were removed"):
        load_model(run.id)


def test_a_run_that_is_here_stays_as_it_is_and_one_at_work_is_not_touched(
    packed: Path, sweeplab: Command, root: Path
) -> None:
    ids = [name[5:21] for name in content(packed) if name.startswith("runs/")]
    here, at_work = (Run(root / "runs" / run_id) for run_id in ids[:2])
    here.folder.mkdir(parents=True)
    here.journal.append(Event.START, fingerprint=here.id, config={})
    before = here.journal.path.read_bytes()
    with at_work.claim():
        done = sweeplab("unpack", str(packed), "tracking=off")
        assert "1 run added, 2 were there already" in done.out
        assert [file.name for file in at_work.folder.iterdir()] == ["lock"]
    assert here.journal.path.read_bytes() == before


@pytest.mark.parametrize("moment", range(3))
def test_killed_at_any_moment_nothing_is_half_made(
    packed: Path, root: Path, sweeplab: Command, moment: int
) -> None:
    random.seed(moment)
    process = kill.command(
        root, "-m", "sweeplab.commands.cli", "unpack", str(packed), "tracking=off"
    )
    deadline = time.monotonic() + 60
    while not list(root.glob("runs/.unpacking.*/runs")) and process.poll() is None:
        assert time.monotonic() < deadline
    time.sleep(random.random() * 0.05)
    if process.poll() is None:
        os.kill(process.pid, signal.SIGKILL)
    process.wait()
    for run in Store(root / "runs").runs():
        assert run.history()[1].status == Status.FINISHED
    assert sweeplab("unpack", str(packed), "tracking=off").code == 0
    assert len(Store(root / "runs").runs()) == 3
    assert list(root.glob("runs/.unpacking.*")) == []


# --- hostile files


def tar(members: list[tuple[tarfile.TarInfo, bytes]], tail: bytes = bytes(1024)) -> bytes:
    """The members in the form of `archive.write`, so that only what they are is refused."""
    raw = b""
    for info, text in members:
        info.size = len(text) if info.isreg() else 0
        raw += info.tobuf(tarfile.USTAR_FORMAT, "utf-8") + text + bytes(-len(text) % 512)
    return gzip.compress(raw + tail)


def entry(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, link
    return info


def listed(members: dict[str, bytes], sweep: str, **other: object) -> bytes:
    """An archive that lists what it holds, whatever that is."""
    rows = [[name, len(text), hashlib.sha256(text).hexdigest()] for name, text in members.items()]
    head = json.dumps({"format": 1, "sweep": sweep, "members": rows, **other}).encode()
    # A header holds 100 characters; a longer name is refused in the list.
    every = [(entry(archive.MANIFEST), head), *((entry(n[:50]), t) for n, t in members.items())]
    return tar(every)


def resealed(journal: bytes, change: Callable[[dict], object]) -> bytes:  # type: ignore[type-arg]
    lines = [json.loads(line) for line in journal.splitlines()]
    for line in lines:
        del line["crc"]
        change(line)
    return b"".join(map(written, lines))


NAMES = (
    "../out", "runs/../../out", "/sweeplab-out", "runs/..", "runs/0123456789abcdef.jsonl/x", "code/../../out.py",
    "code/a b.py", "code/a.so", "code/.hidden.py", "code//a.py", "code/" + "a/" * 9 + "a.py", "code/" + "a" * 200 + ".py",
    "weights/0123456789abcdef.pt", "weights/0123456789abcdef.pkl", "runs/0123456789ABCDEF.jsonl", "sweeps/x.json",
    "store.json", "code/\u202eyp.a.py", "code/a\n.py", "C:\\out.py", "runs\\out.jsonl", "manifest.json", "origin.json",
    "sweep.json.", "",
)  # fmt: skip
STARTS: dict[str, Callable[[dict], object]] = {  # type: ignore[type-arg]
    "place": lambda s: s["config"]["store"].update(root="/etc"),
    "uri": lambda s: s["config"]["tracking"].update(uri="http://evil"),
    "override": lambda s: s["overrides"].append("tracking.uri=http://evil"),
    "then": lambda s: s["config"]["sweep"].update(then="touch out"),
    "asked": lambda s: s["asked"].update(seed=77),
    "fingerprint": lambda s: s.update(fingerprint="0" * 64),
    "name": lambda s: s.update(name=["x"]),
    "config": lambda s: s.update(config="x"),
    "experiment": lambda s: s.update(experiment={"a": 1}),
    "deep": lambda s: s["config"].update(model=json.loads('{"a":' * 30 + "1" + "}" * 30)),
    "data": lambda s: s.update(data=None),
}


LISTS = {
    "list of lists": b'{"format": 1, "members": [' + b"[]," * 4_000_000 + b"[]]}",
    "list of blanks": b" " * 20_000_000,
    "list of a name": b'{"format": 1, "members": [["' + b"a" * 20_000_000 + b'", 0, ""]]}',
    "list of many": json.dumps(
        {"format": 1, "members": [[f"runs/{n:016x}.jsonl", 0, "0" * 64] for n in range(20_000)]}
    ).encode(),
    "size of 100,000 digits": b'{"format": 1, "members": [["sweep.json", ' + b"9" * 100_000 + b', ""]]}',
    "size that is no number": b'{"format": 1, "members": [["sweep.json", NaN, ""]]}',
    "surrogate": b'{"format": 1, "members": [["\\ud800", 1, ""]]}',
}  # fmt: skip
SWEEPS: dict[str, Callable[[dict], object]] = {  # type: ignore[type-arg]
    "end": lambda s: s.update(ended=float("inf")),
    "huge end": lambda s: s.update(ended=10**4000),
    "from": lambda s: s.update({"from": {"x": 1}}),
    "looks": lambda s: s.update(looks={"first": 0, "taken": 1, "after": ["x"]}),
    "margin": lambda s: s.update(margin="x"),
    "search": lambda s: s.update(search={"importance": {"a": []}}),
    "intervals": lambda s: s.update(search={"importance_intervals": {"a": [1]}}),
}
LINES: dict[str, Callable[[dict], object]] = {  # type: ignore[type-arg]
    "time": lambda x: x.update(time="1"),
    "late": lambda x: x.update(time=1e300),
    "epoch": lambda x: x.update(epoch="x"),
    "huge epoch": lambda x: x.update(epoch=10**3000),
    "metrics": lambda x: x.update(metrics={str(n): 1.0 for n in range(20_000)}),
    "values": lambda x: x.update(more=[[]] * 200_000),
    "text": lambda x: x.update(more="x" * 4_500_000),
}


REASONS = {
    "name '../out'": "'../out' is no name of a member",
    "start name": "what should be a text is none",
    "start experiment": "line 1: unhashable",
    "a digit": "line 4: its content does not fit its checksum",
    "torn": "a journal has no end",
    "case": "two members have the same name",
    "another sweep": "it is a list of another sweep",
    "pickled weights": "the weights of ",
    "list of lists": "its list holds more than 500,000 values",
    "list of many": "its list is none of at most ",
    "no runs": "it holds no run",
    "zeros behind": "something stands after its last member",
}
"""Why some are refused: not for what is wrong with all of them."""


def whole_list(file: Path) -> bytes:
    """The list of an archive, with its header."""
    whole = gzip.decompress(file.read_bytes())
    size = tarfile.TarInfo.frombuf(whole[:512], "ascii", "strict").size
    return whole[: 512 + size + (-size % 512)]


def hostile(file: Path) -> Iterator[tuple[str, bytes]]:
    """Name -> a file that is not to be taken."""
    good = content(file)
    sweep = json.loads(good[archive.SWEEP])["id"]
    journals = [name for name in good if name.startswith("runs/")]
    for name in NAMES:
        yield f"name {name[:30]!r}", listed({**good, name: b"x"}, sweep)
    for kind in (
        tarfile.SYMTYPE,
        tarfile.LNKTYPE,
        tarfile.CHRTYPE,
        tarfile.BLKTYPE,
        tarfile.FIFOTYPE,
        tarfile.DIRTYPE,
    ):
        head = json.dumps(
            {"format": 1, "sweep": sweep, "members": [["sweep.json", 0, ""]]}
        ).encode()
        yield (
            f"kind {kind!r}",
            tar([(entry("manifest.json"), head), (entry("sweep.json", kind, "/etc/passwd"), b"")]),
        )
    for name, change in STARTS.items():

        def one(line: dict, change: Callable[[dict], object] = change) -> None:  # type: ignore[type-arg]
            if line["event"] == "start":
                change(line)

        yield (
            f"start {name}",
            listed(
                dict(sorted({**good, journals[0]: resealed(good[journals[0]], one)}.items())), sweep
            ),
        )
    flipped = bytearray(good[journals[0]])
    flipped[-60] ^= 1
    yield "a digit", listed(dict(sorted({**good, journals[0]: bytes(flipped)}.items())), sweep)
    yield "torn", listed(dict(sorted({**good, journals[0]: good[journals[0]][:-3]}.items())), sweep)
    yield (
        "unfinished",
        listed({**good, journals[0]: good[journals[0]].splitlines(keepends=True)[0]}, sweep),
    )
    yield (
        "no cell",
        listed(
            dict(sorted({**good, "runs/0123456789abcdef.jsonl": good[journals[0]]}.items())), sweep
        ),
    )
    yield (
        "pickled weights",
        listed({**good, f"weights/{journals[0][5:21]}.safetensors": b"PK\3\4"}, sweep),
    )
    yield (
        "weights of nothing",
        listed({**good, "weights/0123456789abcdef.safetensors": b"x"}, sweep),
    )
    yield (
        "sweep with a command",
        listed({**good, "sweep.json": good["sweep.json"][:-1] + b', "then": "touch out"}'}, sweep),
    )
    yield "another sweep", listed(good, "0" * 64)
    yield "another format", listed(good, sweep, format=2)
    yield "case", listed({**good, "code/Handed.py": b"x"}, sweep)
    yield (
        "twice",
        tar(
            [
                (
                    entry(archive.MANIFEST),
                    b'{"format": 1, "members": [["sweep.json",1,""],["sweep.json",1,""]]}',
                )
            ]
        ),
    )
    bomb = json.dumps({"format": 1, "members": [["sweep.json", 2**28, ""]]}).encode()
    yield "bomb", tar([(entry(archive.MANIFEST), bomb)])
    yield (
        "size",
        tar([(entry(archive.MANIFEST), b'{"format": 1, "members": [["sweep.json", -1, ""]]}')]),
    )
    for name, head in LISTS.items():
        yield name, tar([(entry(archive.MANIFEST), head)])
    for name, change in SWEEPS.items():
        changed = json.loads(good[archive.SWEEP])
        change(changed)
        yield f"sweep {name}", listed({**good, archive.SWEEP: json.dumps(changed).encode()}, sweep)
    for name, change in LINES.items():
        changed = resealed(good[journals[0]], change)
        yield f"line {name}", listed({**good, journals[0]: changed}, sweep)
    runs = {name: text for name, text in good.items() if name not in journals}
    yield "no runs", listed(runs, sweep)
    yield "many streams", gzip.compress(b"") * 300_000 + file.read_bytes()
    yield "zeros behind", file.read_bytes() + bytes(10 * archive.MIB)
    for header in ({"path": "../../out"}, {"size": "999999999"}, {"GNU.sparse.name": "../out"}):
        info = entry(journals[0])
        info.pax_headers = header
        pax = info.tobuf(tarfile.PAX_FORMAT)
        yield f"pax {header}", gzip.compress(whole_list(file) + pax + bytes(2048))
    yield "deep list", tar([(entry(archive.MANIFEST), b"[" * 100_000)])
    yield "no list", tar([(entry("sweep.json"), good["sweep.json"])])
    whole = gzip.decompress(file.read_bytes())
    yield "tail", gzip.compress(whole + b"x")
    yield "second stream", file.read_bytes() + gzip.compress(b"x" * 512)
    yield "cut", file.read_bytes()[:-200]
    yield "cut inside", gzip.compress(whole[: len(whole) // 2])
    yield "no gzip", whole
    yield "nothing", b""
    yield "noise", random.Random(0).randbytes(5000)
    yield "broken gzip", file.read_bytes()[:100] + random.Random(0).randbytes(3000)
    yield "zlib", zlib.compress(whole)


def test_no_hostile_file_leaves_anything(packed: Path, sweeplab: Command, root: Path) -> None:
    files = dict(hostile(packed))
    assert len(files) >= 90
    packed.unlink()
    outside = set(root.parent.iterdir())
    for name, bad in files.items():
        file = root / "bad.tgz"
        file.write_bytes(bad)
        began = time.process_time()
        done = sweeplab("unpack", str(file), "tracking=off")
        assert time.process_time() - began < 5, name
        assert done.code == 2, (name, done.out)
        assert f"{file}: refused: {REASONS.get(name, '')}" in done.err, (name, done.err)
        assert len(done.err.splitlines()) == 1, (name, done.err)
        assert [entry.name for entry in root.iterdir()] == ["bad.tgz"], name
    assert outside == set(root.parent.iterdir())
    assert not Path("/sweeplab-out").exists()


def test_a_journal_that_nobody_could_unpack_is_not_packed(
    packed: Path, sweeplab: Command, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert sweeplab("unpack", str(packed), "tracking=off").code == 0
    monkeypatch.setattr(archive, "MOST_VALUES", 10)
    refused = sweeplab("pack", "latest", "--output", "large.tgz")
    assert refused.code == 2
    assert "there is nothing to pack" in refused.err
    assert "its journal is too large" in refused.err
    assert not (root / "large.tgz").exists()


def test_a_file_or_sweep_that_is_not_there_is_refused_before_anything_is_made(
    sweeplab: Command, root: Path
) -> None:
    assert (
        sweeplab("unpack", "nope.tgz").err
        == "nope.tgz: there is no such file; sweeplab pack SWEEP makes one\n"
    )
    assert sweeplab("pack", "nope").code == 2
    assert list(root.iterdir()) == []


def test_what_travels_is_what_is_computed() -> None:
    typed = [
        "seed=1",
        "store.root=/x",
        "+tracking.uri=y",
        "hydra/launcher=slurm",
        "trainer.init_from=/x/runs/ab12/",
    ]
    assert portable.overrides(typed) == ["seed=1", "trainer.init_from=ab12"]
    end = {"event": "end", "error": "OSError: /home/me/data/x.csv: gone"}
    assert portable.line(end)["error"] == "OSError: .../x.csv: gone"
    assert portable.line(portable.line(end)) == portable.line(end)
