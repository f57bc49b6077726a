"""Sweeps: the plan of one, made and checked before anything is trained; carrying it out; comparing what came out.

Nothing is imported here: `fork` is to start a process before this one has loaded PyTorch.
"""
