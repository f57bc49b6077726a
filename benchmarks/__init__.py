"""What sweeplab costs, measured side by side with others in one run; results and what did not help: README.md."""
