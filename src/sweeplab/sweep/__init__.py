"""Sweeps: made and checked as a plan before anything is trained, carried out, compared.

Nothing is imported here: `fork` is to start a process before this one has loaded PyTorch.
"""
