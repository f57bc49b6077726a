"""JAX and optax: a whole epoch is one compiled function, a scan over its batches into donated buffers.

Initialised as torch initialises nn.Linear and nn.BatchNorm1d, with the same running statistics.
"""

from __future__ import annotations

import time
from functools import partial
from itertools import pairwise
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from benchmarks.peers import tensors
from benchmarks.peers.turns import Turns, arguments

jax.config.update("jax_default_matmul_precision", "highest")  # fp32 also on a GPU, as PyTorch's

BATCH = 128
SIZES = [784, 392, 196, 10]
ADAM = optax.adam(1e-3)


def initial(key: jax.Array) -> tuple[Any, Any]:
    """(weights, running statistics of the hidden layers)."""
    weights, running = [], []
    for wide, narrow in pairwise(SIZES):
        key, w, b = jax.random.split(key, 3)
        bound = wide**-0.5
        layer = {
            "w": jax.random.uniform(w, (wide, narrow), minval=-bound, maxval=bound),
            "b": jax.random.uniform(b, (narrow,), minval=-bound, maxval=bound),
        }
        if narrow != SIZES[-1]:
            layer |= {"scale": jnp.ones(narrow), "shift": jnp.zeros(narrow)}
            running.append((jnp.zeros(narrow), jnp.ones(narrow)))
        weights.append(layer)
    return weights, running


def forward(weights: Any, running: Any, x: jax.Array, *, train: bool) -> tuple[jax.Array, Any]:
    """(logits, the running statistics afterwards)."""
    after = []
    for layer, (mean, variance) in zip(weights[:-1], running, strict=True):
        x = x @ layer["w"] + layer["b"]
        used = (x.mean(0), x.var(0)) if train else (mean, variance)
        after.append(
            (0.9 * mean + 0.1 * used[0], 0.9 * variance + 0.1 * used[1] * BATCH / (BATCH - 1))
        )
        x = (x - used[0]) * jax.lax.rsqrt(used[1] + 1e-5) * layer["scale"] + layer["shift"]
        x = jax.nn.relu(x)
    return x @ weights[-1]["w"] + weights[-1]["b"], after


@partial(jax.jit, donate_argnums=0)
def epoch(state: Any, order: jax.Array, x: jax.Array, y: jax.Array) -> tuple[Any, jax.Array]:
    """One step for each row of `order`; (state, mean loss)."""

    def loss(
        weights: Any, running: Any, inputs: jax.Array, targets: jax.Array
    ) -> tuple[jax.Array, Any]:
        logits, running = forward(weights, running, inputs, train=True)
        return optax.softmax_cross_entropy_with_integer_labels(logits, targets).mean(), running

    def step(state: Any, indices: jax.Array) -> tuple[Any, jax.Array]:
        weights, running, moments = state
        (value, running), slopes = jax.value_and_grad(loss, has_aux=True)(
            weights, running, x[indices], y[indices]
        )
        updates, moments = ADAM.update(slopes, moments)
        return (optax.apply_updates(weights, updates), running, moments), value

    state, losses = jax.lax.scan(step, state, order)
    return state, losses.mean()


def main() -> None:
    given = arguments()
    jax.config.update("jax_platforms", given.device)
    turns = Turns(given.epochs)
    chance = np.random.default_rng(given.seed)
    x, y = (jnp.asarray(part) for part in tensors.training(given.data))
    weights, running = initial(jax.random.key(given.seed))
    state = weights, running, ADAM.init(weights)
    for _ in range(given.epochs):
        began = time.perf_counter()
        order = chance.permutation(len(x))[: len(x) // BATCH * BATCH].reshape(-1, BATCH)
        state, loss = epoch(state, order, x, y)
        loss.block_until_ready()
        turns.trained(time.perf_counter() - began)
    x, y = (jnp.asarray(part) for part in tensors.read(given.data, "t10k"))
    logits, _ = forward(state[0], state[1], x, train=False)
    turns.tested(float((logits.argmax(1) == y).mean()))


if __name__ == "__main__":
    main()
