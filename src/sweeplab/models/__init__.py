"""The networks, losses and steps of sweeplab; any class of torch.nn, or of yours, works as well."""

from sweeplab.models.cnn import CNN
from sweeplab.models.losses import FunctionLoss, MSELoss, NLLLoss, NoLoss
from sweeplab.models.mlp import MLP
from sweeplab.models.steps import supervised

__all__ = ["CNN", "MLP", "FunctionLoss", "MSELoss", "NLLLoss", "NoLoss", "supervised"]
