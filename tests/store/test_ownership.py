"""Whose a store is: moved, copied, restored, seen through other mounts and from other machines."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from conftest import Command, can_mount

from sweeplab.errors import UserError
from sweeplab.store import Store, ownership, read_json, write_json

SHORT = ("data=digits", "model=linear", "trainer.epochs=1", "trainer.threads=1")


def ids(*folders: Path) -> list[str]:
    return [Store(folder).id for folder in folders]


def owner(folder: Path) -> str:
    return Store(folder).ownership.owner


@pytest.fixture
def first(root: Path) -> Path:
    """A store that knows its place."""
    folder = root / "first" / "runs"
    Store(folder).open().settle()
    return folder


def copy(source: Path, target: Path, *how: str) -> Path:
    target.parent.mkdir(parents=True, exist_ok=True)
    subprocess.run(["cp", *(how or ["-r"]), source, target], check=True)
    return target


@pytest.mark.parametrize("how", ["-r", "-a", "-al"])
def test_a_copy_has_an_id_of_its_own_and_says_so_once(first: Path, root: Path, how: str) -> None:
    (before,) = ids(first)
    second = copy(first, root / "second", how)
    told = Store(second).settle()
    assert (
        told
        == f"{second} is a copy of {first}: it goes on under an id of its own, with MLflow runs of its own"
    )
    assert Store(second).settle() is None
    assert Store(first).settle() is None
    assert ids(first, second)[0] == before != ids(second)[0]
    assert Store(second).ownership.former == [before]
    assert owner(first) != owner(second)
    third = copy(second, root / "third", how)
    assert f"a copy of {second}" in str(Store(third).settle())
    assert len(set(ids(first, second, third))) == 3
    assert Store(third).ownership.former == [before, ids(second)[0]]
    assert Store(third).ownership.first == before


def test_a_moved_store_keeps_its_id(first: Path, root: Path) -> None:
    before = (*ids(first), owner(first))
    moved = first.rename(root / "moved")
    assert Store(moved).settle() is None
    assert (*ids(moved), owner(moved)) == before
    again = copy(moved, root / "other disk")
    shutil.rmtree(moved)
    assert Store(again).settle() is None
    assert ids(again) == [before[0]]
    assert owner(again) != before[1], "it cannot be told for sure"


def test_a_copy_is_noticed_though_the_other_one_was_away_for_a_while(
    first: Path, root: Path
) -> None:
    away = first.rename(root / "unmounted")
    second = copy(away, root / "second")
    assert Store(second).settle() is None
    away.rename(first)
    assert f"a copy of {first}" not in str(Store(first).settle())
    assert ids(first) == ids(second), "so far"
    third = second.rename(root / "third")
    assert f"a copy of {first}" in str(Store(third).settle())
    assert ids(first) != ids(third)


def test_a_restored_store_keeps_its_id_and_one_that_was_put_aside_gets_another(
    first: Path, root: Path
) -> None:
    (before,) = ids(first)
    aside = first.rename(root / "aside")
    copy(aside, first)
    assert Store(first).settle() is None
    assert ids(first) == [before]
    assert Store(aside).settle() is not None
    assert ids(aside) != [before]


def test_an_archive_is_a_copy_where_the_store_still_is(first: Path, root: Path) -> None:
    subprocess.run(["tar", "-cf", root / "a.tar", "-C", first.parent, "runs"], check=True)
    (root / "second").mkdir()
    subprocess.run(["tar", "-xf", root / "a.tar", "-C", root / "second"], check=True)
    assert Store(root / "second" / "runs").settle() is not None
    shutil.rmtree(first)
    subprocess.run(["tar", "-xf", root / "a.tar", "-C", first.parent], check=True)
    assert Store(first).settle() is None


def test_a_link_is_the_same_store(first: Path, root: Path) -> None:
    (root / "link").symlink_to(first)
    assert Store(root / "link").settle() is None
    assert ids(root / "link") == ids(first)


@can_mount
def test_the_same_folder_through_another_mount_is_no_copy(first: Path, root: Path) -> None:
    (root / "mount").mkdir()
    code = f"from sweeplab.store import Store; home = Store({str(root / 'mount')!r}); print(home.settle(), home.id)"
    words = 'mount --bind "$1" "$2" && exec "$3" -c "$4"'
    program = [
        "unshare",
        "-rm",
        "sh",
        "-c",
        words,
        "-",
        first,
        root / "mount",
        sys.executable,
        code,
    ]
    done = subprocess.run(program, check=True, capture_output=True, text=True)
    assert done.stdout.split() == ["None", *ids(first)]


@pytest.mark.parametrize(("moved", "other_inode", "kind", "is_copy"), [
    (False, False, "ext4", False),  # a shared disk
    (False, True, "ext4", True),  # the same path, by rsync
    (False, True, "fuse.sshfs", False),  # whose inodes are as they come
    (False, True, "overlay", False),  # of a container, anew each time
    (True, False, "nfs4", False),  # mounted elsewhere
    (True, True, "ext4", True),  # by rsync, or a checkout
    (True, True, "fuse.sshfs", True),
])  # fmt: skip
def test_another_machine(
    first: Path,
    root: Path,
    monkeypatch: pytest.MonkeyPatch,
    moved: bool,
    other_inode: bool,
    kind: str,
    is_copy: bool,
) -> None:
    before = (*ids(first), owner(first))
    here = first
    if other_inode:
        aside = first.rename(root / "aside")
        copy(aside, first)
        shutil.rmtree(aside)
    if moved:
        here = first.rename(root / "here")
    monkeypatch.setattr(ownership, "machine", lambda: "another")
    monkeypatch.setattr(ownership, "_kind", lambda _: kind)
    told = Store(here).settle()
    assert told == (f"{here} is a copy of {first} of another machine: it goes on under an id of its own, "
                    "with MLflow runs of its own" if is_copy else None)  # fmt: skip
    assert (ids(here) != [before[0]]) == is_copy
    assert (owner(here) == before[1]) == (not other_inode)
    assert Store(here).settle() is None


def test_the_kind_of_a_disk_is_that_of_the_longest_mount() -> None:
    assert ownership._kind("/proc/self") == "proc"
    assert ownership._kind("/") not in ("", "proc")


def test_a_store_of_an_earlier_version_keeps_its_id(root: Path) -> None:
    home = Store(root / "runs").open()
    write_json(home.root / "store.json", {"id": "a" * 32})
    assert home.settle() is None
    assert home.id == "a" * 32
    assert read_json(home.root / "store.json")["places"] == [str(home.root)]
    assert Store(copy(home.root, root / "second")).settle() is not None


@pytest.mark.parametrize("content", ['{"id": 1}', '{"id": ""}', '{"other": "x"}', "[]", "{"])
def test_a_damaged_file_is_told(root: Path, content: str) -> None:
    home = Store(root / "runs").open()
    (home.root / "store.json").write_text(content)
    with pytest.raises(
        UserError,
        match=r"store\.json: is damaged: .*; remove it, and what was sent to MLflow before",
    ):
        home.settle()


def test_processes_that_find_a_copy_at_once_agree_on_its_id(first: Path, root: Path) -> None:
    second = copy(first, root / "second")
    code = f"from sweeplab.store import Store; print(Store({str(second)!r}).id)"
    at_once = [
        subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
        for _ in range(4)
    ]
    found = [process.communicate()[0].strip() for process in at_once]
    assert set(found) == set(ids(second))
    assert ids(first) != ids(second)


def test_a_store_that_can_only_be_read_keeps_what_it_says(
    first: Path, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    second = copy(first, root / "second")

    def refuse(*_: object) -> Any:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(ownership, "write_json", refuse)
    assert Store(second).settle() is None
    assert ids(second) == ids(first)


def test_sync_says_it_once(first: Path, root: Path, sweeplab: Command) -> None:
    second = copy(first, root / "second")
    ended = sweeplab("sync", "store.root=second")
    assert ended.out.splitlines()[0].startswith(
        f"{second} is a copy of {first}: it goes on under an id of its own"
    )
    assert "copy" not in sweeplab("sync", "store.root=second").out


def test_training_says_it(first: Path, root: Path, train: Command) -> None:
    second = copy(first, root / "second")
    told = train(
        *SHORT,
        "store.root=second",
        "tracking.uri=http://127.0.0.1:1",
        "tracking.wait=0",
        tracking=True,
    )
    assert f"{second} is a copy of {first}" in told.out


@pytest.mark.parametrize("further", [[], ["-m", "seed=0,1"]])
def test_training_without_tracking_finds_it_out(
    first: Path, root: Path, train: Command, further: list[str]
) -> None:
    second = copy(first, root / "second")
    assert f"{second} is a copy of {first}" in train(*further, *SHORT, "store.root=second").out
    moved = first.rename(root / "moved")
    assert len(set(ids(moved, second))) == 2


def test_training_without_tracking_gives_no_store_an_id(root: Path, train: Command) -> None:
    train(*SHORT, "store.root=new")
    assert not Store(root / "new").has_id
