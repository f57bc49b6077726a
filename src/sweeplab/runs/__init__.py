"""Runs: a config is checked and fingerprinted, its parts are built, trained and checkpointed."""
