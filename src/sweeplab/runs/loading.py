"""The trained network of a run, back from the store or from MLflow."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from sweeplab import config, store, targets, tracking
from sweeplab.errors import UserError, one_line
from sweeplab.runs.predictions import Predictor
from sweeplab.runs.weights import verified_weights, verified_weights_of
from sweeplab.train import state

MLFLOW_ID = 32  # hex digits of MLflow's run ids


def load_model(
    run: str | Path,
    root: str | Path | None = None,
    given: Mapping[str, Any] | None = None,
    *,
    epoch: int | None = None,
) -> nn.Module:
    """Return the trained network of a run, on the CPU, in eval mode.

    It is an object of the class that was trained. Its attribute `predict` is the run's `Predictor`,
    which prepares raw inputs as the training set was, unless the class has an attribute of this
    name; `load_predictor` returns the same, typed.

    `run` is the run's folder, its id or the beginning of one (in the store `root`; default: `runs`
    in the root), or an MLflow run id. `given` are the secrets that its record hides, by their keys:
    {"model.password": "..."}. With `epoch` it is the network as it was after that epoch, of those
    that `trainer.keep_every` has kept. Raises UserError if there is no such run, it has no such
    weights, or a secret is missing. What comes from an MLflow server is built only if it is a class
    of torch.nn or sweeplab.
    """
    return load_predictor(run, root, given, epoch=epoch).model


def load_predictor(
    run: str | Path,
    root: str | Path | None = None,
    given: Mapping[str, Any] | None = None,
    *,
    epoch: int | None = None,
) -> Predictor:
    """Return what predicts as a run does: `load_model(...).predict`, for the same arguments."""
    home = store.Store(
        config.absolute(config.StoreSection().root) if root is None else config.expand_home(root)
    )
    if epoch is not None and type(epoch) is not int:
        raise UserError(f"epoch={epoch!r}: must be a whole number, or None")
    try:
        stored = home.find(str(run))
    except UserError as missing:
        if len(str(run)) != MLFLOW_ID:
            raise
        if epoch is not None:
            reason = "MLflow has only a run's best weights; load_model(..., epoch=) needs the store"
            raise UserError(f"{run}: {reason}") from missing
        return _load_from_mlflow(str(run), given or {})
    return _predictor(stored, given or {}, epoch)


def _predictor(run: store.Run, given: Mapping[str, Any], epoch: int | None = None) -> Predictor:
    _ensure_trusted(run)
    model = load(run, _recorded(run, given), epoch)
    predictor = Predictor(model, run.id, run.start())
    if not hasattr(model, "predict"):
        vars(model)["predict"] = predictor  # no submodule and no state, whatever the class does
    return predictor


def _ensure_trusted(run: store.Run) -> None:
    """Raise UserError if a run that was unpacked here would call what nobody has trusted."""
    origin = run.origin()
    if origin is None:  # trained here, perhaps with a module of this project
        make_importable(run)
        return
    trusted = list(origin.get("trusted") or [])
    if trusted:
        make_importable(run)
    try:
        targets.ensure_trusted(run.config(), "", trusted)
    except UserError as error:
        advice = f"if you trust it: sweeplab unpack {origin.get('file')} --trust MODULE"
        raise UserError(f"{error}; run {run.id} was unpacked here: {advice}") from error


def make_importable(run: store.Run) -> None:
    """Let modules of the user's, and trusted ones, be found.

    They are in the root, else in what came along with an unpacked run.

    They come last, so that they take no other module's place.
    """
    folders = [config.root()]
    origin = run.origin()
    if origin is not None:
        home = store.Store(run.folder.parent)
        folders.append(home.code_folder(str(origin.get("sweep"))))
    sys.path += [str(folder) for folder in folders if str(folder) not in sys.path]


def _recorded(run: store.Run, given: Mapping[str, Any]) -> config.Node:
    """Return the network's node of a record, with the given secrets put in."""
    advice = "give it: load_model(..., given={{'{key}': ...}})"
    node: config.Node = config.reveal(run.recorded("model"), "model", given, advice)
    return node


def load(run: store.Run, node: config.Node, epoch: int | None = None) -> nn.Module:
    """Build the network of this node, and load the run's weights into it."""
    weights = verified_weights(run) if epoch is None else verified_weights_of(run, epoch)
    model: nn.Module = targets.instantiate(node)
    try:
        state.restore(weights, model)
    except RuntimeError as error:
        reason = one_line(error)[:200]
        raise UserError(
            f"{run.folder}: its network is not what it was when it was trained: {reason}"
        ) from error
    return model.eval()


def _load_from_mlflow(run_id: str, given: Mapping[str, Any]) -> Predictor:
    with tempfile.TemporaryDirectory() as folder:
        tracking.download(tracking.resolve_uri(config.Tracking()), run_id, Path(folder))
        found = store.Run(Path(folder))
        if (reason := store.weights.why_none(found)) is not None:
            raise UserError(f"{run_id}: {reason}")
        targets.ensure_trusted(found.recorded("model"), "model")
        return _predictor(found, given)
