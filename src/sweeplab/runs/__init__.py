"""Runs: a config checked and fingerprinted, its parts built and trained, with a checkpoint after each epoch."""
