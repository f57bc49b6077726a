"""A Ray cluster on this machine, on 127.0.0.1: prints its address, and ends with its standard input.

    python tests/ray_nodes.py 1 1      a head, and another node, with so many CPUs

A line on the standard input does something, and is answered by a line:
`kill` kills the last node with all that Ray runs on it, `raylet` kills its raylet alone, `head` kills the head, and
`add 2` adds a node with so many CPUs.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Sequence
from typing import Any

os.environ |= {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}
os.environ["RAY_AUTH_MODE"] = "disabled"  # whatever token this user has


def size(cpus: str) -> dict[str, Any]:
    return {
        "num_cpus": int(cpus),
        "object_store_memory": 100 * 2**20,
        "node_ip_address": "127.0.0.1",
    }


def main(cpus: Sequence[str]) -> None:
    # Below /tmp, whatever TMPDIR says: the path of a socket has at most 107 characters.
    with tempfile.TemporaryDirectory(
        prefix="ray", dir="/tmp", ignore_cleanup_errors=True
    ) as folder:
        # Everything lies there, the file that names the cluster included, which a `temp_dir` would not move. Ray makes
        # that file in a folder that may be missing: /tmp/ray, on a machine that has never run Ray.
        os.environ["RAY_TMPDIR"] = folder
        from ray.cluster_utils import Cluster

        head = {**size(cpus[0]), "include_dashboard": False}
        cluster = Cluster(initialize_head=True, head_node_args=head)
        nodes = [cluster.head_node, *(cluster.add_node(**size(number)) for number in cpus[1:])]
        print(cluster.address, flush=True)
        for line in sys.stdin:
            word, *rest = line.split()
            if word == "add":
                nodes.append(cluster.add_node(**size(*rest)))
            elif word == "raylet":
                nodes[-1].kill_raylet(check_alive=False)
            elif word == "head":
                nodes.pop(0).kill_all_processes(check_alive=False, allow_graceful=False)
            else:
                cluster.remove_node(nodes.pop(), allow_graceful=False)
            print("done", flush=True)
        while nodes:
            # At once: one that is asked to end waits for 30 s for a command that was killed.
            nodes.pop().kill_all_processes(check_alive=False, allow_graceful=False)


if __name__ == "__main__":
    main(sys.argv[1:])
