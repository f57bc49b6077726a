"""What changes weights: an optimizer with its learning rate schedule, for a network or a part."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

from torch import Tensor, nn
from torch.amp import GradScaler
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

from sweeplab.train import schedule


@dataclass(kw_only=True)
class Updater:
    """An optimizer, its schedule, and the parameters whose gradients it takes."""

    optimizer: Optimizer
    scheduler: LRScheduler | ReduceLROnPlateau
    parameters: Sequence[nn.Parameter]  # frozen ones included
    interval: str = "auto"  # when the scheduler steps: step | epoch | auto
    clip_norm: float | None = None
    scaler: GradScaler | None = None  # in fp16, in which small gradients would be 0
    key: str = "scheduler"  # of the schedule in the config
    updates: int = 0  # in this process
    _rates: Sequence[float] = ()  # of the last batch, if the scheduler steps each batch

    @cached_property
    def trained(self) -> list[nn.Parameter]:
        """The parameters that are not frozen."""
        return [parameter for parameter in self.parameters if parameter.requires_grad]

    @cached_property
    def steps_each_batch(self) -> bool:
        """Whether the scheduler steps after each batch, and not after each epoch."""
        return schedule.steps_by_batch(self.interval, self.scheduler)

    def clear_gradients(self) -> None:
        """Forget all gradients."""
        for parameter in self.parameters:  # quicker than zero_grad by 1 % of a step
            parameter.grad = None

    def scaled(self, loss: Tensor) -> Tensor:
        """Return what gradients are computed of: in fp16 the loss times the current scale."""
        return loss if self.scaler is None else self.scaler.scale(loss)

    def clip(self) -> None:
        """Scale the gradients down to `clip_norm`."""
        if self.clip_norm is None:
            return
        if self.scaler is not None:
            self.scaler.unscale_(self.optimizer)
        nn.utils.clip_grad_norm_(self.parameters, self.clip_norm)

    def scale_gradients(self, factor: Tensor | float) -> None:
        """Multiply all gradients by a factor."""
        for parameter in self.parameters:
            if parameter.grad is not None:
                parameter.grad *= factor

    def step_by(self, add_gradients: Callable[[], Tensor]) -> Tensor:
        """Step by an optimizer that may look at a batch several times, as LBFGS does.

        `add_gradients` is called at each look, and returns the loss; returned is that of the first.
        """
        if self.scaler is not None:  # which calls the optimizer, or leaves it out
            self.clear_gradients()
            first = add_gradients()
            self.step()
            return first

        def look() -> Tensor:
            self.clear_gradients()
            loss = add_gradients()
            self.clip()
            return loss

        # A tensor, as torch's own examples return
        loss: Tensor = self.optimizer.step(look)  # type: ignore[arg-type, assignment]
        self.updates += 1
        self.step_schedule()
        return loss

    def step(self) -> None:
        """Update, and step the schedule, for an optimizer that looks at a batch once."""
        self.update()
        self.step_schedule()

    def update(self) -> None:
        """Clip the gradients and change the weights; in fp16 only if all gradients are finite."""
        self.clip()
        if self.scaler is None:
            self.optimizer.step()
        else:
            self.scaler.step(self.optimizer)
            self.scaler.update()
        self.updates += 1

    def step_schedule(self) -> None:
        """Step a scheduler that counts batches."""
        if self.steps_each_batch:
            self._rates = self.checked_rates()
            self._step_scheduler()

    def checked_rates(self) -> list[float]:
        """Return the learning rates as they are now.

        Raises ValueError for what a schedule of one's own may give, and nothing is learned by.
        """
        rates = schedule.rates(self.optimizer)
        for rate in rates:
            if not 0 <= rate < math.inf:
                name = type(self.scheduler).__name__
                wanted = "it must be a finite number >= 0"
                raise ValueError(f"{self.key}: {name} gives the learning rate {rate:g}; {wanted}")
        return rates

    def last_rates(self) -> Sequence[float]:
        """Return the learning rates of the last batch, one for each parameter group."""
        return self._rates if self.steps_each_batch else schedule.rates(self.optimizer)

    def end_epoch(self, monitored: float) -> None:
        """Step a scheduler that counts epochs; a plateau looks at the monitored metric."""
        if isinstance(self.scheduler, ReduceLROnPlateau):
            self._step_scheduler(monitored)
        elif not self.steps_each_batch:
            self._step_scheduler()

    def _step_scheduler(self, *monitored: float) -> None:
        """Step the scheduler, of a ReduceLROnPlateau by the monitored metric."""
        step: Callable[..., None] = self.scheduler.step
        if self.updates and self.scaler is None:
            step(*monitored)
            return
        # Torch warns of optimizers without a step; so do we, and in fp16 the first may be left out
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", r"Detected call of `lr_scheduler\.step")
            step(*monitored)
