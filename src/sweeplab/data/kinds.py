"""The kinds of examples: how one is taken, batches are made of them, and a split is cut."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset

from sweeplab.data.examples import (
    ExampleView,
    is_frame,
    is_iterable,
    is_map_style,
    read_through,
    replayed,
)
from sweeplab.data.reading import Reading, read_sample, sample_numbers
from sweeplab.data.splits import Split, StreamingSplit, first_digest
from sweeplab.data.transforms import Transforms
from sweeplab.data.trees import kind_of
from sweeplab.errors import UserError, a_or_an

if TYPE_CHECKING:
    from sweeplab.config import Data


class Kind(ABC):
    """Examples of one kind, on their way from a set to a batch: take, collate, prepare.

    A part of a set is an ExampleView, whose examples are still to be read, or held in memory.
    """

    wanted: str  # what a target must deliver
    draws = False  # collating may draw random numbers

    def __init__(self, data: Data) -> None:
        self.data = data

    # --- From an example to a batch ---------------------------------------------------------------

    @abstractmethod
    def take(self, example: Any, transforms: Transforms) -> Any:
        """Return an example of the set, transformed, with its tensors on the CPU."""

    @abstractmethod
    def collate(self, examples: list[Any]) -> Any:
        """Make a raw batch. Raises UserError where that is impossible."""

    @abstractmethod
    def prepare(self, batch: Any) -> Any:
        """Return a raw batch as a model takes it; it may be changed in place."""

    # --- From what a target delivers to a part ----------------------------------------------------

    @abstractmethod
    def arrays(self, delivered: Any) -> Any:
        """Return what is held in memory as arrays; None where examples have to be read."""

    @abstractmethod
    def size(self, example: Any) -> int:
        """Return the bytes that an example takes in memory."""

    def part(self, delivered: Any, transforms: Transforms) -> Any:
        """Make a part of what a target delivered. Raises UserError where that is no set."""
        part = self.arrays(delivered)
        if part is None:
            if is_map_style(delivered):
                part = self.view(delivered, transforms)
            elif is_iterable(delivered):
                read = read_through(delivered, self.size, self.data.memory)
                part = self.view(read, transforms)
            else:
                raise self.not_a_set(delivered)
        if len(part) == 0:
            raise UserError("data.dataset: the target delivers no examples")
        if transforms and not isinstance(part, ExampleView):
            return self.view(part, transforms)
        return part

    def view(self, dataset: Any, transforms: Transforms) -> ExampleView:
        """Return a view of a set, whose examples are transformed each time they are read."""
        return ExampleView(dataset, transforms, self.take)

    def not_a_set(self, delivered: object) -> UserError:
        """Return the error for what is no set."""
        what = f"the target delivers {_description(delivered)}; it must deliver {self.wanted}"
        return UserError(f"data.dataset: {what}")

    def for_training(self, part: Any, transforms: Transforms) -> ExampleView:
        """View a part with other transforms. Raises UserError where they do not give a batch."""
        view = self.view(part.dataset if isinstance(part, ExampleView) else part, transforms)
        self.prepare(self.collate(read_sample(view).examples))
        return view

    # --- From a part to a split -------------------------------------------------------------------

    def sample(self, part: Any) -> Reading:
        """Read a few examples."""
        if isinstance(part, ExampleView):
            return read_sample(part)
        return Reading([part[number] for number in sample_numbers(len(part))], random=False)

    @abstractmethod
    def batched(self, sample: list[Any]) -> Any:
        """Hold a sample. Raises UserError where no batch can be made of it."""

    @abstractmethod
    def hold(self, examples: list[Any]) -> Any:
        """Hold all examples of a part in memory."""

    @abstractmethod
    def digest(self, held: Any) -> str:
        """Compute a SHA-256 over all that is held. Raises UserError for unknown objects."""

    def digest_of_sample(self, sample: Any) -> str:
        """Compute a SHA-256 over a held sample; the types of unknown objects stand for them."""
        return self.digest(sample)

    def scale_note(self, held: Any) -> str | None:  # noqa: ARG002
        """Say that the inputs are far from unit scale, if they are; of training examples."""
        return None

    def notes(self, held: Any) -> list[str]:  # noqa: ARG002  # nothing is known of any numbers
        """Say what a user should know of the numbers that are held."""
        return []

    @abstractmethod
    def cut(self, part: Any, indices: Tensor) -> Split:
        """Return a split of these examples, in memory where it can be."""

    def stream(self, part: Any, indices: Tensor, *, held: bool = False) -> StreamingSplit:
        """Return a split of these examples, which are read during training.

        A set that only iterates is read by at most one process: several would each iterate all of
        it. It is `held` if the digest of the set is over all its examples.
        """
        workers, window = self.data.workers, None
        if dataset := replayed(part):
            dataset = dataset.of_split(len(indices), self.data.memory)
            part = part.of(dataset)
            window = self.data.buffer or 1
            # What a process keeps is gone with it, after an epoch
            workers = 0 if dataset.is_held else min(workers, 1)
        return StreamingSplit(
            examples=part,
            indices=indices,
            collate=self.collate,
            prepare=self.prepare,
            workers=workers,
            first=first_digest(part),
            held=held,
            draws=self.draws or isinstance(part, ExampleView),
            window=window,
        )


def _description(value: object) -> str:
    """Describe what is no set, and how it differs from one."""
    kind = kind_of(value)
    if isinstance(value, DataLoader):
        return f"{a_or_an(kind)}, whose batches sweeplab makes itself"
    if isinstance(value, IterableDataset):
        return f"{a_or_an(kind)}, an IterableDataset without __len__"
    if is_frame(value):
        return f"{a_or_an(kind)} of pandas (data=csv reads a table)"
    if not isinstance(value, Mapping):
        return a_or_an(kind)
    keys = [str(key) for key in value]
    if not keys:
        return f"an empty {kind}"
    text = f"{a_or_an(kind)} of the keys {', '.join(keys[:6])}"
    if len(keys) > 6:
        text += ", ..."
    if "data" in value and "target" in value:
        text += " (scikit-learn's own take return_X_y: true beside _target_)"
    return text
