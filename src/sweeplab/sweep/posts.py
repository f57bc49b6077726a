"""The jobs that a launcher has posted on a board, and what becomes of them."""

from __future__ import annotations

import asyncio
import os
import signal
import time

from sweeplab import console, store
from sweeplab.sweep.board import LaunchersBoard, Posted
from sweeplab.sweep.place import Process, result_seen
from sweeplab.sweep.worker import LOST, NEVER

LOOK = 0.3  # seconds between two looks at the board
BEAT = 5.0  # seconds between two signs of life on it


class PostedProcess(Process):
    """A job on the board, and the process in which a worker trains it."""

    def __init__(self, board: LaunchersBoard, name: str, title: str, run: store.Run) -> None:
        """`name` is that of its post, and `title` what people know it by."""
        super().__init__()
        self._title = title
        self.since = None
        self.worker: str | None = None  # at work on it
        self._board = board
        self._name = name
        self._run = run
        self._begun = asyncio.Event()
        self._code: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._wished: signal.Signals | None = None  # to be sent once a worker has it

    @property
    def is_over(self) -> bool:
        return self._code.done()

    async def begun(self) -> None:
        await self._begun.wait()

    async def ended(self) -> int:
        """Wait for its end; return its exit code, minus a signal, LOST or NEVER."""
        code = await asyncio.shield(self._code)  # a launcher that leaves must not cancel it
        if code == 0:
            await result_seen(self._run)
        return code

    def send(self, number: signal.Signals) -> None:
        """Have its worker send it a signal; one that nobody has begun is withdrawn."""
        if self.is_over:
            return
        if self.worker is not None:
            self._board.ask(self.worker, self._name, number)
        elif self._board.withdraw(self._name):
            self.end(NEVER)
        else:
            self._wished = number

    def begin(self, worker: str) -> None:
        """Take note that a worker is at work on it."""
        self.worker, self.since = worker, time.monotonic()
        self._begun.set()
        if self._wished is not None:
            self.send(self._wished)

    def wait_again(self) -> None:
        """Take note that its worker has left it to others."""
        if self.worker is not None:
            console.say(f"{self._title}: left by worker {self.worker}, and waits for another")
        self.worker = self.since = None

    def end(self, code: int) -> None:
        if not self.is_over:
            self._code.set_result(code)


class Posts:
    """The jobs that are on the board, or at work, for one launcher."""

    def __init__(self, board: LaunchersBoard) -> None:
        self._board = board
        self._posts: dict[str, PostedProcess] = {}  # by the name of the post
        self._number = 0  # of the last post
        self._earlier: dict[str, tuple[str, str]] = {}  # run -> its post and worker
        for worker, names in board.taken().items():
            if board.is_alive(worker):
                self._earlier |= {name.partition("-")[2]: (name, worker) for name in names}
            numbers = [int(name.partition("-")[0]) for name in names]
            self._number = max([self._number, *numbers])
        self._looked_at = self._beaten_at = 0.0
        self._greeted: set[str] = set()  # workers
        self.busy: set[str] = set()  # workers that have had a job

    def __len__(self) -> int:
        """Count the jobs that have not ended, and were not withdrawn."""
        return sum(not process.is_over for process in self._posts.values())

    def add(self, job: Posted, run: store.Run) -> PostedProcess:
        """Post a job, unless a living worker has it from an earlier launcher."""
        name, worker = self._earlier.pop(run.id, ("", ""))
        if name in self._board.taken_by(worker):
            process = self._posts[name] = PostedProcess(self._board, name, job.name, run)
            self._begin(process, worker)
            return process
        self._number += 1
        name = f"{self._number:06d}-{run.id}"
        process = self._posts[name] = PostedProcess(self._board, name, job.name, run)
        self._board.post(name, job)
        return process

    def _begin(self, process: PostedProcess, worker: str) -> None:
        process.begin(worker)
        self.busy.add(worker)

    def look(self) -> None:
        """See now and then what has become of the jobs and the workers."""
        now = time.monotonic()
        if now - self._looked_at < LOOK:
            return
        self._looked_at = now
        self._posts = {name: one for name, one in self._posts.items() if not one.is_over}
        if now - self._beaten_at > BEAT:
            self._beaten_at = now
            os.utime(self._board.lock_file)
        self._end()
        self._follow(self._board.taken())
        self._greet()

    def _end(self) -> None:
        """End the jobs of which a worker tells how they ended."""
        for name, code in self._board.ended().items():
            process = self._posts.pop(name, None)
            if process is not None:
                process.end(code)

    def _follow(self, taken: dict[str, list[str]]) -> None:
        """Take note of who is at work on what, and of workers that have gone."""
        workers = {name: worker for worker, names in taken.items() for name in names}
        for name, process in self._posts.items():
            worker = workers.get(name)
            if worker is not None and process.worker != worker:
                self._begin(process, worker)
        for worker, names in taken.items():
            if names and not self._board.is_alive(worker):
                self._lose(worker)
        for name in self._board.open():
            if name in self._posts:
                self._posts[name].wait_again()

    def _lose(self, worker: str) -> None:
        """Take the jobs from a worker that has gone, but for those that it has ended."""
        self._end()
        info = self._board.info(worker)
        where = f" on {info.host}" if info else ""
        console.say(f"worker {worker}{where} was lost", style="yellow")
        for name in self._board.taken().get(worker, []):
            process = self._posts.pop(name, None)
            if process is not None:
                process.end(LOST)
        self._board.forget(worker)

    def _greet(self) -> None:
        """Say which workers take no jobs, and why."""
        for name in self._board.members():
            info = self._board.info(name)
            if info is None or name in self._greeted:
                continue
            self._greeted.add(name)
            if info.problem is not None:
                where = f"worker {name} on {info.host}"
                console.complain(f"store.root={self._board.root}: {where} {info.problem}")
