"""The programs that sweeplab is measured beside, each as its own documentation would have it; README.md says how.

All train 784-392-196-10 with BatchNorm and ReLU on the same 55,000 examples of MNIST: cross-entropy, Adam with a learning
rate of 0.001, batches of 128, the last incomplete one dropped. Each takes turns with the others: see `turns`.
"""
