"""Training: the loop and its parts. It knows tensors and networks; no Hydra, MLflow or store."""
