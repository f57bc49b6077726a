"""What Hydra has to find of sweeplab: the sweeper and the search path."""
