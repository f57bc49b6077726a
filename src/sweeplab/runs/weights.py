"""Weights on disk: written whole or not at all, read without running anything that is in them."""

from __future__ import annotations

import hashlib
import json
from collections import OrderedDict
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from sweeplab import store
from sweeplab.errors import UserError, first_line, summary
from sweeplab.store import DamagedError, Run, write_atomic
from sweeplab.train import state as states
from sweeplab.train.state import State, snapshot

VERSIONS = "versions"
VERSIONS_SHA256 = ".sha256"  # no module has such a name


def weights_bytes(state: Mapping[str, Any]) -> bytes:
    """Serialise weights in the safetensors format; in torch's, if safetensors cannot hold them.

    Tied weights are written once under each name.
    """
    versions = states.metadata(state)
    versions[VERSIONS_SHA256] = _versions_sha256(versions)
    if all(states.is_ordinary(value) for value in state.values()):
        try:
            tensors = {name: _whole(value) for name, value in state.items()}
            return safetensors.torch.save(tensors, {VERSIONS: json.dumps(versions)})
        except (KeyError, TypeError, ValueError, safetensors.SafetensorError):
            pass  # a type that safetensors does not have
    kept = OrderedDict(
        (name, _whole(v) if states.is_ordinary(v) else v) for name, v in state.items()
    )
    kept._metadata = versions  # type: ignore[attr-defined]  # as torch does it
    return states.to_bytes(kept)


def _whole(value: Tensor) -> Tensor:
    """Copy a tensor into contiguous memory of its own: views, expanded and conjugate ones, too."""
    return (
        value.detach()
        .cpu()
        .resolve_conj()
        .resolve_neg()
        .clone(memory_format=torch.contiguous_format)
    )


def write_weights(run: Run, state: Mapping[str, Any]) -> None:
    """Keep the weights in the run's folder, in the file whose name tells their format."""
    _write(run.weights_files, state)


def write_weights_of(run: Run, epoch: int, state: Mapping[str, Any]) -> None:
    """Keep the weights after an epoch in the run's folder; the journal tells their digest."""
    run.kept.mkdir(exist_ok=True)
    _write(store.weights.of_epoch(run, epoch), state)
    run.journal.append(store.Event.WEIGHTS, epoch=epoch, sha256=weights_sha256(state))


def _write(files: Sequence[Path], state: Mapping[str, Any]) -> None:
    """Write weights into one of two files, for the formats that they may have."""
    content = weights_bytes(state)
    file, other = files if _is_safetensors(content) else reversed(files)
    write_atomic(file, content)
    other.unlink(missing_ok=True)


def _is_safetensors(content: bytes) -> bool:
    return not content.startswith(b"PK")  # as a zip file does, which torch.save makes


def load_weights(path: Path, device: torch.device | str = "cpu") -> State:
    """Load the weights of network and loss from a file; nothing in it can run code."""
    return _weights_of(path.read_bytes(), device)


def _weights_of(content: bytes, device: torch.device | str = "cpu") -> State:
    """Read weights in either format. Raises ValueError if they are damaged."""
    if _is_safetensors(content):
        with_header = safetensors.torch.load(content)
        versions = json.loads(_header(content).get(VERSIONS, "{}"))
    else:
        with_header = states.from_bytes(content)
        versions = states.metadata(with_header)
    if versions and versions.pop(VERSIONS_SHA256, None) != _versions_sha256(versions):
        raise ValueError("the versions of its modules are damaged")
    loaded = OrderedDict(
        (n, v.to(device) if isinstance(v, Tensor) else v) for n, v in with_header.items()
    )
    loaded._metadata = versions  # type: ignore[attr-defined]  # as torch does it
    return loaded


def _header(content: bytes) -> dict[str, str]:
    """Read what a safetensors file says besides its tensors."""
    length = int.from_bytes(content[:8], "little")
    return dict(json.loads(content[8 : 8 + length]).get("__metadata__") or {})


def _versions_sha256(versions: Mapping[str, Any]) -> str:
    return hashlib.sha256(repr(sorted(versions.items())).encode()).hexdigest()


def verified_weights(run: Run) -> State:
    """Load the weights of a run, checked to be those it ended with. Raises UserError otherwise."""
    store.weights.ensure(run)
    result = run.result()
    assert result is not None
    advice = f"remove {run.folder} and issue its command again"
    return _verified(run.weights_file, result.weights_sha256, "ended with", advice)


def verified_weights_of(run: Run, epoch: int) -> State:
    """Load the weights that a run had after an epoch. Raises UserError if they were not kept."""
    if (reason := store.weights.why_none_of(run, epoch)) is not None:
        raise UserError(f"{run.folder}: {reason}")
    _, history = run.history()
    file = next(file for file in store.weights.of_epoch(run, epoch) if file.exists())
    advice = f"remove it, and sweeplab replay {run.id} trainer.keep_every={epoch} puts it back"
    return _verified(file, history.kept_weights[epoch], f"had after epoch {epoch}", advice)


def _verified(file: Path, digest: str | None, when: str, advice: str) -> State:
    """Load weights of this digest. Raises DamagedError where the file holds anything else."""
    try:
        weights = load_weights(file)
    except Exception as error:  # whatever safetensors makes of damaged bytes
        raise DamagedError(file, first_line(error), advice) from error
    if weights_sha256(weights) != digest:
        raise DamagedError(file, f"these are not the weights that the run {when}", advice)
    return weights


def weights_sha256(state: Mapping[str, Any]) -> str:
    """Hash names, types, shapes and bits, in the order of the names: the same on every device."""
    return states.sha256(state)


def try_saving(model: nn.Module, loss: nn.Module) -> None:
    """Save and load the weights once, in memory: what would fail at the end fails here.

    Raises UserError that names what cannot be kept.
    """
    if any(is_lazy(parameter) for parameter in loss.parameters()):
        raise UserError(
            "loss: has parameters without a shape, as torch.nn's Lazy modules have; only networks may"
        )
    if any(is_lazy(parameter) for parameter in model.parameters()):
        return  # they have no numbers yet
    try:
        state = snapshot(model, loss)
        of_model, of_loss = states.parts(state)
        refuse_unsafe({"model": of_model, "loss": of_loss})
        on_meta = any(isinstance(value, Tensor) and value.is_meta for value in state.values())
        odd = not on_meta and not all(states.is_ordinary(value) for value in state.values())
        states.restore(_weights_of(weights_bytes(state)) if odd else state, model, loss)
    except UserError:
        raise
    except Exception as error:  # of the user's network, or of torch
        why = f"its weights could not be saved and loaded again: {summary(error)}"
        raise UserError(f"model: {why}") from error


def refuse_unsafe(value: Mapping[str, Any]) -> None:
    """Raise UserError with what no checkpoint can hold."""
    if found := list(states.unsafe(value)):
        raise UserError(
            f"{', '.join(found)}: cannot be kept in a checkpoint, since it cannot be read back without running code; "
            "a state may hold tensors, arrays, numbers, texts, and lists and dicts of them"
        )


def ensure_fit(
    init_from: str, wanted: Mapping[str, Any], free: Collection[str], weights: Mapping[str, Any]
) -> None:
    """Raise UserError unless the network has weights of exactly these names and shapes.

    `wanted` are the forms of the network's weights by name; those that are `free` may take another.
    """
    given = states.forms(states.parts(weights)[0])
    names = {**wanted, **given}
    differing = [name for name in names if name not in free and wanted.get(name) != given.get(name)]
    wrong = [
        f"  {name}: the network has {wanted.get(name, 'none')}, the run {given.get(name, 'none')}"
        for name in differing
    ]
    if wrong:
        raise UserError(
            "\n".join([f"trainer.init_from={init_from}: its weights do not fit:", *wrong])
        )
