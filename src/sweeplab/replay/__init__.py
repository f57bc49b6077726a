"""Replays: a recorded run, checked, trained again, and compared with its record bit by bit."""
