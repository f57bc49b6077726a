"""Steps as users write them, with the networks that they are for: a VAE, a GAN, distillation, and wrong ones."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from fractions import Fraction
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

Pair = tuple[Tensor, Tensor]


class VAE(nn.Module):
    """A small variational autoencoder of 8 x 8 pictures."""

    def __init__(self, in_features: int = 64, latent: int = 4) -> None:
        super().__init__()
        self.encoder = nn.Sequential(
            nn.Linear(in_features, 32), nn.ReLU(), nn.Linear(32, 2 * latent)
        )
        self.decoder = nn.Sequential(nn.Linear(latent, 32), nn.ReLU(), nn.Linear(32, in_features))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        mean, log_variance = self.encoder(x).chunk(2, dim=1)
        z = mean + torch.randn_like(mean) * (0.5 * log_variance).exp() if self.training else mean
        return self.decoder(z), mean, log_variance


def vae(model: nn.Module, loss: nn.Module, batch: Pair, beta: float = 1.0) -> dict[str, Any]:
    inputs, _ = batch
    output, mean, log_variance = model(inputs)
    error = functional.binary_cross_entropy_with_logits(output, inputs, reduction="sum") / len(
        inputs
    )
    kl = -0.5 * (1 + log_variance - mean**2 - log_variance.exp()).sum() / len(inputs)
    return {
        "loss": error + beta * kl,
        "kl": kl,
        "pictures": output[:10].sigmoid().reshape(-1, 1, 8, 8),
    }


class ByNumpy(nn.Linear):
    """Initial weights by way of numpy, which needs their values."""

    def __init__(self) -> None:
        super().__init__(64, 10)
        self.weight.data = torch.from_numpy(self.weight.detach().numpy().round(2))


class GAN(nn.Module):
    """A generator and a discriminator."""

    def __init__(self, latent: int = 8, pixels: int = 64) -> None:
        super().__init__()
        self.latent = latent
        self.netG = nn.Sequential(
            nn.Linear(latent, 32), nn.ReLU(), nn.Linear(32, pixels), nn.Sigmoid()
        )
        self.netD = nn.Sequential(nn.Linear(pixels, 32), nn.LeakyReLU(0.2), nn.Linear(32, 1))


def gan(model: GAN, loss: nn.Module, batch: Pair) -> Iterator[tuple[str, Tensor]]:
    real, _ = batch
    fake = model.netG(torch.randn(len(real), model.latent))
    ones, zeros = torch.ones(len(real), 1), torch.zeros(len(real), 1)
    yield "netD", loss(model.netD(real), ones) + loss(model.netD(fake.detach()), zeros)
    yield "netG", loss(model.netD(fake), ones)


def of_noise(model: GAN, loss: nn.Module, batch: Pair) -> Tensor:
    """Takes the mean of a made picture as loss, whatever the batch is."""
    return model.netG(torch.randn(len(batch[0]), model.latent)).mean()


class Distilled:
    """A step with a network, a generator and a counter of its own."""

    def __init__(self, weight: float = 0.5) -> None:
        self.weight = weight
        self.teacher = nn.Linear(64, 10)
        self.random = torch.Generator().manual_seed(3)
        self.calls = 0

    def __call__(self, model: nn.Module, loss: nn.Module, batch: Pair) -> dict[str, Any]:
        inputs, targets = batch
        self.calls += 1
        if model.training:
            with torch.no_grad():  # the teacher drifts
                self.teacher.weight += 0.01 * torch.randn(10, 64, generator=self.random)
        output = model(inputs)
        soft = self.teacher(inputs).softmax(1)
        both = (1 - self.weight) * loss(output, targets) + self.weight * loss(output, soft)
        return {"loss": both * (1 + 1e-4 * self.calls), "output": output, "target": targets}


def mixed(model: nn.Module, loss: nn.Module, batch: Pair, alpha: float = 0.4) -> dict[str, Any]:
    """Mixup: drawn from torch's own stream in training, plain in an evaluation."""
    inputs, targets = batch
    if not model.training:
        output = model(inputs)
        return {"loss": loss(output, targets), "output": output, "target": targets}
    share = float(torch.distributions.Beta(alpha, alpha).sample())
    order = torch.randperm(len(inputs))
    output = model(share * inputs + (1 - share) * inputs[order])
    return {"loss": share * loss(output, targets) + (1 - share) * loss(output, targets[order])}


def counted(model: nn.Module, loss: nn.Module, batch: Pair) -> dict[str, Any]:
    """Counts only the digits below 5."""
    inputs, targets = batch
    few = targets < 5
    output = model(inputs)
    value = functional.cross_entropy(output[few], targets[few], reduction="sum")
    return {"loss": value / few.sum().clamp(min=1), "count": few.sum(), "share": few.float().mean()}


def of_threes(
    model: nn.Module, loss: nn.Module, batch: Pair, as_int: bool = False
) -> dict[str, Any]:
    """Counts only the digit 3, which many a small batch lacks; its numbers are of several kinds."""
    inputs, targets = batch
    three = targets == 3
    count = int(three.sum()) if as_int else three.sum()
    value = functional.cross_entropy(model(inputs)[three], targets[three])
    return {"loss": value, "count": count, "third": Fraction(1, 3), "one": np.float32(1)}


# --- Wrong ones -------------------------------------------------------------------------------------------------------


def of_bias(model: nn.Linear, loss: nn.Module, batch: Pair) -> Tensor:
    return model.bias.pow(2).sum()


def many(model: nn.Module, loss: nn.Module, batch: Pair) -> dict[str, Any]:
    inputs, targets = batch
    return {"loss": loss(model(inputs), targets), "count": torch.ones(3)}


def wordy(model: nn.Module, loss: nn.Module, batch: Pair) -> dict[str, Any]:
    inputs, targets = batch
    return {"loss": loss(model(inputs), targets), "count": "all"}


def of_no_part(model: nn.Module, loss: nn.Module, batch: Pair) -> Iterator[tuple[str, Tensor]]:
    inputs, targets = batch
    yield "", loss(model(inputs), targets)


def nothing(model: nn.Module, loss: nn.Module, batch: Pair) -> None:
    model(batch[0])


def vector(model: nn.Module, loss: nn.Module, batch: Pair) -> Tensor:
    return model(batch[0]).sum(1)


def detached(model: nn.Module, loss: nn.Module, batch: Pair) -> Tensor:
    return loss(model(batch[0]), batch[1]).detach()


def nameless(model: nn.Module, loss: nn.Module, batch: Pair) -> Mapping[str, Tensor]:
    return {"losses": loss(model(batch[0]), batch[1])}


def plain_yield(model: nn.Module, loss: nn.Module, batch: Pair) -> Iterator[Tensor]:
    yield loss(model(batch[0]), batch[1])


def silent(model: nn.Module, loss: nn.Module, batch: Pair) -> Iterator[Any]:
    yield from ()


def two_scores(model: nn.Module, loss: nn.Module, batch: Pair) -> dict[str, Any]:
    output = model(batch[0])
    return {"loss": loss(output, batch[1]), "output": output, "target": batch[1], "accuracy": 1.0}


def rate(model: nn.Module, loss: nn.Module, batch: Pair) -> dict[str, Any]:
    return {"loss": loss(model(batch[0]), batch[1]), "lr": 0.1}


def unfit(model: nn.Module, loss: nn.Module, batch: Pair) -> dict[str, Any]:
    output = model(batch[0])
    return {"loss": loss(output, batch[1]), "output": output, "target": batch[1][:1].expand(3)}


def failing(model: nn.Module, loss: nn.Module, batch: Pair) -> Tensor:
    raise ZeroDivisionError("as it says")


def failing_when_evaluated(model: nn.Module, loss: nn.Module, batch: Pair) -> Tensor:
    if not model.training:
        raise ZeroDivisionError("as it says")
    return loss(model(batch[0]), batch[1])


def of_two(model: nn.Module, batch: Pair) -> Tensor:
    return model(batch[0]).sum()


class NotCallable:
    pass


# --- Sequences of different lengths -----------------------------------------------------------------------------------


class Words:
    """Sequences of 2 to 9 numbers; the class is whether they go up more often than down."""

    def __init__(self, count: int = 400) -> None:
        generator = torch.Generator().manual_seed(0)
        self.examples = []
        for _ in range(count):
            length = int(torch.randint(2, 10, (1,), generator=generator))
            sequence = torch.randn(length, generator=generator)
            self.examples.append(
                {"sequence": sequence, "up": (sequence.diff() > 0).float().mean() > 0.5}
            )

    def __len__(self) -> int:
        return len(self.examples)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        return self.examples[index]


def padded(examples: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    sequences = [example["sequence"] for example in examples]
    return {
        "sequence": nn.utils.rnn.pad_sequence(sequences, batch_first=True),
        "length": torch.tensor([len(sequence) for sequence in sequences]),
        "up": torch.stack([example["up"] for example in examples]).long(),
    }


class LSTM(nn.Module):
    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.layer = nn.LSTM(1, width, batch_first=True)
        self.dropout = nn.Dropout(0.1)
        self.out = nn.Linear(width, 2)

    def forward(self, sequence: Tensor, length: Tensor) -> Tensor:
        packed = nn.utils.rnn.pack_padded_sequence(
            sequence[:, :, None], length, batch_first=True, enforce_sorted=False
        )
        _, (hidden, _) = self.layer(packed)
        return self.out(self.dropout(hidden[-1]))


def classified(model: nn.Module, loss: nn.Module, batch: dict[str, Tensor]) -> dict[str, Any]:
    output = model(batch["sequence"], batch["length"].cpu())
    right = (output.argmax(1) == batch["up"]).float().mean()
    return {"loss": loss(output, batch["up"]), "right": right}


def swapped(picture: Tensor) -> Tensor:
    """Exchange red and blue."""
    return picture.flip(0)


class Nested(nn.Module):
    """A network whose parts lie in a part."""

    def __init__(self, in_features: int, out_features: int) -> None:
        super().__init__()
        self.net = nn.ModuleDict(
            {"body": nn.Linear(in_features, 8), "head": nn.Linear(8, out_features)}
        )

    def forward(self, inputs: Tensor) -> Tensor:
        output: Tensor = self.net["head"](self.net["body"](inputs).relu())
        return output


def of_nested(model: nn.Module, loss: nn.Module, batch: Pair) -> Iterator[tuple[str, Tensor]]:
    """Update the head alone; the optimizer of the body is idle."""
    inputs, targets = batch
    yield "net.head", loss(model(inputs), targets)


def weighed(
    model: nn.Module, loss: nn.Module, batch: Pair, count: float = 1.0, late: bool = False
) -> dict[str, Any]:
    """Let batches count by a number; with `late`, those of two examples count by one."""
    inputs, targets = batch
    share = torch.tensor(1.0 if late and len(inputs) == 2 else count)
    return {"loss": loss(model(inputs), targets), "count": share}


def sinking(
    optimizer: torch.optim.Optimizer, factor: float | None = None
) -> torch.optim.lr_scheduler.LambdaLR:
    """Multiply the learning rate by this factor from the third epoch (or batch) on; None is nan."""
    later = float("nan") if factor is None else factor
    return torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1.0 if step < 2 else later)
