"""Plugins that Hydra discovers: sweepers, launchers and the search path."""
