"""A project of one's own: a data set, a network and a metric that sweeplab knows nothing of."""
