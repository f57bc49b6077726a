"""A Ray cluster of two nodes on this machine, on 127.0.0.1: prints its address, and ends with its standard input.

    python tests/ray_nodes.py 1      with so many CPUs each

A line on the standard input kills the second node, with all that runs on it.
"""

from __future__ import annotations

import os
import sys
import tempfile

os.environ |= {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}


def main(cpus: int) -> None:
    # Below /tmp, whatever TMPDIR says: the path of a socket has at most 107 characters.
    with tempfile.TemporaryDirectory(
        prefix="ray", dir="/tmp", ignore_cleanup_errors=True
    ) as folder:
        # Everything lies there, the file that names the cluster included, which a `temp_dir` would not move. Ray makes
        # that file in a folder that may be missing: /tmp/ray, on a machine that has never run Ray.
        os.environ["RAY_TMPDIR"] = folder
        from ray.cluster_utils import Cluster

        size = {
            "num_cpus": cpus,
            "object_store_memory": 100 * 2**20,
            "node_ip_address": "127.0.0.1",
        }
        cluster = Cluster(initialize_head=True, head_node_args={**size, "include_dashboard": False})
        nodes = [cluster.head_node, cluster.add_node(**size)]
        print(cluster.address, flush=True)
        for _ in sys.stdin:
            cluster.remove_node(nodes.pop(), allow_graceful=False)
            print("killed", flush=True)
        while (
            nodes
        ):  # at once: one that is asked to end waits for 30 s for a command that was killed
            cluster.remove_node(nodes.pop(), allow_graceful=False)


if __name__ == "__main__":
    main(int(sys.argv[1]))
