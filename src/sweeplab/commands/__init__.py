"""The commands: train.py's entry, and `sweeplab` with its subcommands."""
