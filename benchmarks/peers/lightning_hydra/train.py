"""Lightning under Hydra: LightningModule, LightningDataModule, ModelCheckpoint, MLFlowLogger.

python benchmarks/peers/lightning_hydra/train.py data.root=data trainer.max_epochs=5
python benchmarks/peers/lightning_hydra/train.py -m lr=0.001,0.003 'seed=range(3)' hydra/launcher=joblib
"""

from __future__ import annotations

from typing import Any

import hydra
import lightning
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import MLFlowLogger
from omegaconf import DictConfig
from torch import Tensor, nn
from torch.utils.data import DataLoader, random_split
from torchvision import datasets, transforms

Batch = tuple[Tensor, Tensor]


class Digits(lightning.LightningDataModule):
    def __init__(self, root: str, batch_size: int, workers: int) -> None:
        super().__init__()
        self.root = root
        self.loading: dict[str, Any] = {"num_workers": workers, "persistent_workers": workers > 0}
        self.batch_size = batch_size

    def setup(self, stage: str) -> None:
        transform = transforms.Compose(
            [transforms.ToTensor(), transforms.Normalize((0.1307,), (0.3081,))]
        )
        if stage == "fit":
            both = datasets.MNIST(self.root, train=True, transform=transform)
            self.valid, self.train = random_split(
                both, [5_000, 55_000], torch.Generator().manual_seed(0)
            )
        else:
            self.test = datasets.MNIST(self.root, train=False, transform=transform)

    def train_dataloader(self) -> DataLoader[Any]:
        return DataLoader(self.train, self.batch_size, shuffle=True, drop_last=True, **self.loading)

    def val_dataloader(self) -> DataLoader[Any]:
        return DataLoader(self.valid, 1000, **self.loading)

    def test_dataloader(self) -> DataLoader[Any]:
        return DataLoader(self.test, 1000, **self.loading)


class Classifier(lightning.LightningModule):
    def __init__(self, hidden: list[int], lr: float, one_cycle: bool) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.lr, self.one_cycle = lr, one_cycle
        layers: list[nn.Module] = [nn.Flatten()]
        for wide, narrow in zip([784, *hidden], hidden, strict=False):
            layers += [nn.Linear(wide, narrow), nn.BatchNorm1d(narrow), nn.ReLU()]
        self.network = nn.Sequential(*layers, nn.Linear(hidden[-1], 10))

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        return self._step(batch, "train")

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        self._step(batch, "valid")

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        self._step(batch, "test")

    def _step(self, batch: Batch, name: str) -> Tensor:
        inputs, targets = batch
        output = self.network(inputs)
        loss = nn.functional.cross_entropy(output, targets)
        accuracy = (output.argmax(1) == targets).float().mean()
        self.log_dict(
            {f"{name}/loss": loss, f"{name}/accuracy": accuracy}, on_step=False, on_epoch=True
        )
        return loss

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.Adam(self.parameters(), lr=self.lr)
        if not self.one_cycle:
            return optimizer
        steps = int(self.trainer.estimated_stepping_batches)
        scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, self.lr, total_steps=steps)
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": scheduler, "interval": "step"},
        }


@hydra.main(config_path="conf", config_name="config", version_base="1.3")
def main(config: DictConfig) -> None:
    lightning.seed_everything(config.seed)
    model = Classifier(
        hydra.utils.instantiate(config.hidden, _convert_="all"), config.lr, config.one_cycle
    )
    data = Digits(**config.data)
    callbacks = [hydra.utils.instantiate(node) for node in config.callbacks.values()]
    callbacks.append(ModelCheckpoint(monitor="valid/accuracy", mode="max"))
    trainer = lightning.Trainer(
        **config.trainer, logger=MLFlowLogger(**config.mlflow), callbacks=callbacks
    )
    trainer.fit(model, datamodule=data)
    trainer.test(model, datamodule=data, ckpt_path=config.test)


if __name__ == "__main__":
    main()
