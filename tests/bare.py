"""The programs of the gallery as plain loops, which use sweeplab for their data and their random streams alone."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from fnmatch import fnmatch
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, conv2d, cross_entropy, mse_loss, normalize, softplus
from torch.optim import Adam, AdamW, Optimizer

from sweeplab import data
from sweeplab.config import Config
from sweeplab.data.batches import Batches
from sweeplab.targets import instantiate
from sweeplab.train.random_state import seed_stream

Loss = Callable[[nn.Module, Any], Tensor]
Curve = dict[str, list[float]]


def loss_of_symbols(model: nn.Module, batch: Any) -> Tensor:
    text, following = batch
    return cross_entropy(model(text).flatten(0, 1), following.flatten())


def loss_of_pair(model: nn.Module, batch: Any) -> Tensor:
    inputs, targets = batch
    return cross_entropy(model(inputs), targets)


def loss_of_sequences(model: nn.Module, batch: Any) -> Tensor:
    return cross_entropy(model(batch["text"], batch["length"]), batch["balanced"])


def loss_of_vae(model: nn.Module, batch: Any) -> Tensor:
    pictures, _ = batch
    decoded, mean, log_variance = model(pictures)
    error = nn.functional.binary_cross_entropy_with_logits(decoded, pictures, reduction="none")
    kl = -0.5 * (1 + log_variance - mean.square() - log_variance.exp())
    return error.sum(1).mean() + kl.sum(1).mean()


def loss_of_labels(model: nn.Module, batch: Any) -> Tensor:
    inputs, labels = batch
    return nn.functional.binary_cross_entropy_with_logits(model(inputs), labels)


def squared_error(model: nn.Module, batch: Any) -> Tensor:
    inputs, targets = batch
    return nn.functional.mse_loss(model(inputs), targets)


def loss_of_graphs(model: nn.Module, batch: Any) -> Tensor:
    return cross_entropy(model(batch["edges"], batch["graph"]), batch["kind"])


def contrastive_loss(model: nn.Module, batch: Any) -> Tensor:
    distance = (model(batch["first"]) - model(batch["second"])).norm(dim=1)
    apart = nn.functional.relu(1 - distance)
    return torch.where(batch["same"].bool(), distance.square(), apart.square()).mean()


def loss_of_mixed(model: nn.Module, batch: Any) -> Tensor:
    inputs, targets = batch
    if not model.training:
        return cross_entropy(model(inputs), targets)
    share = torch.distributions.Beta(0.4, 0.4).sample()
    other = torch.randperm(len(inputs))
    output = model(share * inputs + (1 - share) * inputs[other])
    return share * cross_entropy(output, targets) + (1 - share) * cross_entropy(
        output, targets[other]
    )


def loss_of_nodes(model: nn.Module, batch: Any) -> Tensor:
    return cross_entropy(model(batch["node"]), batch["community"])


def loss_of_sentence_pairs(model: nn.Module, batch: Any) -> Tensor:
    return cross_entropy(model(batch["text"], batch["length"]), batch["kind"])


def loss_of_words(model: nn.Module, batch: Any) -> Tensor:
    source, target = batch
    output = model(source, target[:, :-1])
    return cross_entropy(output.flatten(0, 1), target[:, 1:].flatten(), ignore_index=0)


def words_of(batch: Any) -> float:
    return float((batch[1][:, 1:] != 0).sum())


def loss_of_painting(model: nn.Module, pictures: Any) -> Tensor:
    """The same filters are drawn anew for each batch, and the flower is looked at each time."""
    rng = torch.Generator().manual_seed(0)
    filters = [
        nn.init.kaiming_normal_(torch.empty(32, channels, 3, 3), generator=rng)
        for channels in (3, 32, 32)
    ]

    def look(pictures: Tensor) -> tuple[Tensor, Tensor]:
        x, grams = pictures * 2 - 1, []
        for weight in filters:
            x = avg_pool2d(conv2d(x, weight).relu(), 2)
            flat = x.flatten(2)
            grams.append(flat @ flat.transpose(1, 2) / flat.shape[2])
        return x, torch.stack(grams, dim=1)

    flower = importlib.import_module("style").photo("flower.jpg")[None]
    wanted = look(flower)[1].expand(len(pictures), -1, -1, -1)
    painted, photo = look(model(pictures)), look(pictures)
    content = mse_loss(painted[0], photo[0]) / mse_loss(photo[0].roll(1, 0), photo[0])
    return content + mse_loss(painted[1], wanted) / mse_loss(photo[1], wanted)


def layer_losses(model: nn.Module, batch: Any) -> list[Tensor]:
    """The loss of each layer of the forward-forward algorithm."""
    inputs, labels = batch
    wrong = (labels + torch.randint_like(labels, 1, 10)) % 10
    losses = []
    right_x, wrong_x = (
        torch.cat([inputs, 3 * nn.functional.one_hot(each, 10)], dim=1) for each in (labels, wrong)
    )
    for layer in model.layers:  # type: ignore[union-attr]
        size = right_x.shape[1] ** 0.5
        right_x = layer(normalize(right_x.detach()) * size).relu()
        wrong_x = layer(normalize(wrong_x.detach()) * size).relu()
        right, wrong_ = right_x.square().mean(1), wrong_x.square().mean(1)
        losses.append(softplus(2 - right).mean() + softplus(wrong_ - 2).mean())
    return losses


def loss_of_layers(model: nn.Module, batch: Any) -> Tensor:
    return torch.stack(layer_losses(model, batch)).sum()


# --- How they are trained -----------------------------------------------------------------------------------------


def adam(model: nn.Module, rate: float) -> list[Optimizer]:
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    return [Adam(trained, lr=rate, fused=True)]


def adam_with_decay(model: nn.Module, rate: float) -> list[Optimizer]:
    return [Adam(model.parameters(), lr=rate, weight_decay=0.0005, fused=True)]


def adam_by_layer(model: nn.Module, rate: float) -> list[Optimizer]:
    layers = model.layers
    return [Adam(layer.parameters(), lr=rate, fused=True) for layer in layers]  # type: ignore[union-attr]


def _grouped(
    model: nn.Module, patterns: list[str]
) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    """Return the parameters with a name that fits, and the others."""
    chosen, others = [], []
    for name, parameter in model.named_parameters():
        fits = any(fnmatch(name, pattern) for pattern in patterns)
        (chosen if fits else others).append(parameter)
    return chosen, others


def adamw_in_groups(model: nn.Module, rate: float) -> list[Optimizer]:
    patterns = ["*.bias", "*norm*", "out.0.*", "places", "token"]
    without, others = _grouped(model, patterns)
    groups = [{"params": others}, {"params": without, "weight_decay": 0.0}]
    return [AdamW(groups, lr=rate, weight_decay=0.05, fused=True)]


def adam_with_a_quick_head(model: nn.Module, rate: float) -> list[Optimizer]:
    head, others = _grouped(model, ["4.*"])
    groups = [{"params": others}, {"params": head, "lr": 0.003}]
    return [Adam(groups, lr=rate, fused=True)]


@dataclass
class Program:
    """A program as it is without sweeplab: what a batch is, and the loss of it."""

    loss: Loss
    clip_norm: float | None = None
    overrides: tuple[str, ...] = ("scheduler=constant",)
    optimizers: Callable[[nn.Module, float], list[Optimizer]] = adam
    count: Callable[[Any], float] = lambda batch: 1  # how much a batch counts in an epoch's mean

    def train(self, model: nn.Module, optimizers: list[Optimizer], batch: Any) -> float:
        (optimizer,) = optimizers
        return self.update(model, optimizer, self.loss(model, batch))

    def update(self, model: nn.Module, optimizer: Optimizer, loss: Tensor) -> float:
        optimizer.zero_grad()
        loss.backward()
        if self.clip_norm is not None:
            nn.utils.clip_grad_norm_(model.parameters(), self.clip_norm)
        optimizer.step()
        return loss.item()


class LayerByLayer(Program):
    """Each layer has an optimizer of its own."""

    def train(self, model: nn.Module, optimizers: list[Optimizer], batch: Any) -> float:
        losses = layer_losses(model, batch)
        pairs = zip(optimizers, losses, strict=True)
        return sum(self.update(model, optimizer, loss) for optimizer, loss in pairs)


class PieceByPiece(Program):
    """Texts are read in pieces of 32, with an update after each, and the state goes on."""

    def train(self, model: nn.Module, optimizers: list[Optimizer], batch: Any) -> float:
        losses, state = [], None
        for start in range(0, batch.shape[1] - 1, 32):
            if state is not None:
                state = (state[0].detach(), state[1].detach())
            output, state = model(batch[:, start : start + 32], state)
            target = batch[:, start + 1 : start + 33]
            loss = cross_entropy(output.flatten(0, 1), target.flatten())
            losses.append(self.update(model, optimizers[0], loss))
        return sum(losses) / len(losses)


def loss_of_texts(model: nn.Module, batch: Any) -> Tensor:
    output, _ = model(batch[:, :-1], None)  # at once: the state goes on
    return cross_entropy(output.flatten(0, 1), batch[:, 1:].flatten())


class Adversaries(Program):
    """A discriminator and a generator, each with an optimizer of its own."""

    def train(self, model: nn.Module, optimizers: list[Optimizer], batch: Any) -> float:
        bce = nn.BCEWithLogitsLoss()
        real, _ = batch
        ones, zeros = torch.ones(len(real), 1), torch.zeros(len(real), 1)
        fake = model.netG(torch.randn(len(real), 16, 1, 1))
        judged = bce(model.netD(real), ones) + bce(model.netD(fake.detach()), zeros)
        loss_d = self.update(model, optimizers[0], judged)
        loss_g = self.update(model, optimizers[1], bce(model.netD(fake), ones))
        return loss_d + loss_g


def loss_of_gan(model: nn.Module, batch: Any) -> Tensor:
    bce = nn.BCEWithLogitsLoss()
    real, _ = batch
    ones, zeros = torch.ones(len(real), 1), torch.zeros(len(real), 1)
    fake = model.netG(torch.randn(len(real), 16, 1, 1))
    of_d = bce(model.netD(real), ones) + bce(model.netD(fake), zeros)
    return of_d + bce(model.netD(fake), ones)


def adam_by_part(model: nn.Module, rate: float) -> list[Optimizer]:
    return [
        Adam(part.parameters(), lr=lr, betas=(0.5, 0.999))
        for part, lr in ((model.netD, 0.0005), (model.netG, 0.001))
    ]


# The gradient of a bias before BatchNorm is 0 but for rounding, which Adam makes as large a change as any: it does nothing in
# training, but shifts the running mean. So the last bits of a layer (oneDNN's, here) are seen in valid/loss at 1e-5.
NO_BATCH_NORM = ("scheduler=constant", "model.batch_norm=false")
LAST_LAYER = (
    "~optimizer.groups",
    "+optimizer.groups={4.*:{lr:0.003}}",
)  # the 6th without BatchNorm
PROGRAMS = {
    "characters": Program(loss_of_symbols),
    "cnn": Program(loss_of_pair),
    "distillation": Program(loss_of_pair),
    "entailment": Program(loss_of_sentence_pairs, clip_norm=1.0),
    "finetuning": Program(
        loss_of_pair, overrides=(*NO_BATCH_NORM, *LAST_LAYER), optimizers=adam_with_a_quick_head
    ),
    "forward_forward": LayerByLayer(loss_of_layers, optimizers=adam_by_layer),
    "gan": Adversaries(loss_of_gan, optimizers=adam_by_part),
    "gat": Program(loss_of_nodes, optimizers=adam_with_decay),
    "gcn": Program(loss_of_nodes, optimizers=adam_with_decay),
    "graph": Program(loss_of_graphs),
    "kfold": Program(loss_of_pair),
    "mixup": Program(loss_of_mixed, overrides=NO_BATCH_NORM),
    "multilabel": Program(loss_of_labels, overrides=NO_BATCH_NORM),
    "regression": Program(squared_error),
    "resnet": Program(loss_of_pair),
    "rows": Program(loss_of_pair),
    "segmentation": Program(loss_of_pair),
    "sequences": Program(loss_of_sequences, clip_norm=1.0),
    "siamese": Program(contrastive_loss),
    "style": Program(loss_of_painting),
    "superresolution": Program(squared_error),
    "timeseries": Program(squared_error, clip_norm=1.0),
    "transformer": Program(loss_of_pair, optimizers=adamw_in_groups),
    "translation": Program(loss_of_words, clip_norm=1.0, count=words_of),
    "vae": Program(loss_of_vae),
    "words": PieceByPiece(loss_of_texts, clip_norm=1.0),
}


def bare_batches(config: Config) -> tuple[Batches, Batches]:
    splits = data.load(config.data)
    batch_size = config.trainer.batch_size
    train = Batches(splits.train, batch_size, device="cpu", seed=0, drop_last=True, limit=4)
    return train, Batches(splits.valid, config.trainer.eval_batch_size, device="cpu", limit=4)


def bare_curve(config: Config, program: Program) -> Curve:
    """Train in a plain loop, with the same random streams; the losses of each epoch."""
    torch.set_num_threads(1)
    train, valid = bare_batches(config)
    seed_stream(0, "initialisation")
    model = instantiate(config.model)
    optimizers = program.optimizers(model, config.optimizer.get("lr", 0.01))
    seed_stream(0, "dropout")
    curve: Curve = {"train/loss": [], "valid/loss": []}
    for epoch in range(1, config.trainer.epochs + 1):
        model.train()
        losses, counts = [], []
        for batch in train.epoch(epoch):
            losses.append(program.train(model, optimizers, batch))
            counts.append(program.count(batch))
        weighted = sum(loss * count for loss, count in zip(losses, counts, strict=True))
        curve["train/loss"].append(weighted / sum(counts))
        model.eval()
        with torch.no_grad():
            (whole,) = valid.epoch(0)
            curve["valid/loss"].append(program.loss(model, whole).item())
    return curve


def difference(curve: Curve, bare: Curve) -> float:
    """Return by how much two curves differ at most, as a share of the values of the bare one."""
    return max(
        abs(value - other) / abs(other)
        for name, values in bare.items()
        for value, other in zip(curve[name], values, strict=True)
    )
