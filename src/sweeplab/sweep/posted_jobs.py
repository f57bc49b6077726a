"""Jobs from a board, checked once more on the machine that is to train them."""

from __future__ import annotations

from contextlib import suppress

from sweeplab import config, data, store
from sweeplab.errors import UserError
from sweeplab.runs.job import Job, prepare
from sweeplab.runs.once import Once
from sweeplab.sweep.board import Posted
from sweeplab.sweep.local import Local


class PostedJobs:
    """Makes jobs of what a board has, and loads their data once."""

    def __init__(self, home: store.Store, sweep_id: str, local: Local) -> None:
        self._home = home
        self._sweep_id = sweep_id
        self._local = local
        self._once = Once()
        self._shared: set[str] = set()  # data sets

    def job(self, posted: Posted) -> Job:
        """Check a job once more. Raises UserError unless it is the same run as was planned."""
        settings = config.validate(posted.config)
        settings.store.root = str(self._home.root.absolute())
        settings.sweep.id = self._sweep_id
        job = prepare(settings, posted.overrides, self._once)
        if job.fingerprint != posted.fingerprint:
            changed = "it comes out as another run here than where it was planned"
            raise UserError(f"{posted.name}: {changed}: its data or its code differ")
        self._share(job)
        return job

    def _share(self, job: Job) -> None:
        """Hold a job's data set in memory once, for all jobs of this worker."""
        name = repr(job.config.data)
        if name in self._shared:
            return
        self._shared.add(name)
        with suppress(Exception):  # the job finds the same, and its log says so
            splits = job.load()
            if data.can_be_shared(splits):
                self._local.share(name, splits)

    def log(self, posted: Posted, text: str) -> None:
        """Write what is wrong with a job where its launcher looks for it."""
        log = self._home.run(posted.fingerprint).log_file
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("a", encoding="utf-8") as file:
            file.write(config.redact_text(text) + "\n")
