"""Training: the loop, and what it is made of; it knows tensors and networks, neither Hydra nor MLflow nor a store."""
