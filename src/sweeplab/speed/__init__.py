"""Tricks that make runs faster and change no result, one a file."""
