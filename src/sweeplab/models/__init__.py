"""The networks and losses of sweeplab; any class of torch.nn or of yours works in their place."""

from sweeplab.models.cnn import CNN
from sweeplab.models.losses import MSELoss, NLLLoss
from sweeplab.models.mlp import MLP

__all__ = ["CNN", "MLP", "MSELoss", "NLLLoss"]
