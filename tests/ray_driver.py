"""Runs handlers/ray_serve_app.py on a Ray of its own until standard input ends.

python tests/ray_driver.py TEMPORARY_FOLDER PORT ARGUMENTS_AS_JSON
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import ray
from ray import serve

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "handlers"))
import ray_serve_app

if __name__ == "__main__":
    folder, port, arguments = sys.argv[1:]
    ray.init(
        address="local", namespace="serve", _node_ip_address="127.0.0.1", _temp_dir=folder,
        include_dashboard=False, num_cpus=1, object_store_memory=100_000_000,
    )  # fmt: skip
    serve.start(http_options={"host": "127.0.0.1", "port": int(port)})
    serve.run(ray_serve_app.build(json.loads(arguments)))
    print("ready", flush=True)
    sys.stdin.read()
