"""Train what the command line asks for: one run, or with -m a sweep of them. `python train.py --help` says how."""

import hydra
from omegaconf import DictConfig

from sweeplab.commands.cli import guarded, train


@guarded
@hydra.main(config_path="experiments", config_name="config", version_base="1.3")
def main(config: DictConfig) -> None:
    train(config)


if __name__ == "__main__":
    main()
