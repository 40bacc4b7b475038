"""Three nodes behind a balancer, in network namespaces, under Locust's load: `make test-nodes`."""

from __future__ import annotations

import shutil
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import nodes
import proxies
import pytest
import servers
from nodes import Balancer, Node

TOOLS = ("haproxy", "ip", "openssl")
pytestmark = [
    pytest.mark.server,
    pytest.mark.slow,
    pytest.mark.nodes,
    pytest.mark.skipif(not all(map(shutil.which, TOOLS)), reason=f"needs {', '.join(TOOLS)}"),
]
NODES = 3
STEPS = 40  # of 50 ms, so that a picture takes two seconds


@pytest.fixture(scope="module")
def balancer(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Balancer, list[Node]]]:
    folder = tmp_path_factory.mktemp("nodes")
    with ExitStack() as stack:
        stack.enter_context(nodes.network(NODES))
        arguments = stack.enter_context(servers.prepared(tiny_folder, folder))
        names = [nodes.ADDRESS, *(f"{nodes.NETWORK}.{10 + number}" for number in range(1, NODES + 1))]
        certificate = proxies.self_signed(folder, names)
        each = [
            stack.enter_context(nodes.node(number, folder / f"node{number}", arguments, certificate))
            for number in range(1, NODES + 1)
        ]
        for node in each:
            node.start()
            servers.eventually(node.ready, f"{node.name} is ready", 600)
        yield stack.enter_context(nodes.balancer(folder / "balancer", certificate, NODES)), each


def lost(report: dict[str, Any]) -> int:
    """Requests without a picture."""
    return sum(row["failed"] + row["refused"] + row["dropped"] for row in report["jobs"].values())


def seen(balancer: Balancer, since: int, node: Node) -> list[dict[str, Any]]:
    """The requests that went to a node, of those after the first ``since``."""
    return [request for request in balancer.requests()[since:] if request["node"] == node.name]


def test_three_nodes_make_more_than_one(balancer: tuple[Balancer, list[Node]], tmp_path: Path) -> None:
    front, each = balancer
    rates = {}
    for count in (1, 3):
        for node in each[count:]:
            node.cut(off=True)
        time.sleep(10)
        with nodes.load(front.url, tmp_path / f"of{count}", users=6, steps=STEPS) as report:
            time.sleep(40)
        rates[count] = report["pictures_a_minute"]
        assert lost(report) == 0
        for node in each[count:]:
            node.cut(off=False)
            servers.eventually(lambda node=node: node.health() == 200, "it is back")
    print(f"pictures a minute: {rates}")
    assert rates[3] >= 2.5 * rates[1]


def test_a_rolling_restart_loses_no_request(balancer: tuple[Balancer, list[Node]], tmp_path: Path) -> None:
    front, each = balancer
    with nodes.load(front.url, tmp_path / "rolling", users=6, steps=STEPS) as report:
        for node in each:
            node.drain()
            node.start()
            servers.eventually(node.ready, f"{node.name} is back", 600)
    print(f"rolling restart: {report['jobs']}")
    assert lost(report) == 0


@pytest.mark.parametrize("fault", ["cut off", "killed", "stopped"])
def test_a_lost_node_costs_its_requests_and_gets_no_more(
    fault: str, balancer: tuple[Balancer, list[Node]], tmp_path: Path
) -> None:
    front, (node, *_) = balancer
    breaks: dict[str, Callable[[], None]] = {
        "cut off": lambda: node.cut(off=True),
        "killed": lambda: node.signal(signal.SIGKILL),
        "stopped": lambda: node.signal(signal.SIGSTOP),
    }
    with nodes.load(front.url, tmp_path / "fault", users=6, steps=STEPS) as report:
        time.sleep(10)
        breaks[fault]()
        broken_at = time.time()
        time.sleep(10)
        known = len(front.requests())
        time.sleep(20)
        late = [request for request in seen(front, known, node) if began(request) > broken_at + 10]
    print(f"{fault}: {report['jobs']}, {report['reasons']}")
    assert not late
    failed = [request for request in front.requests() if request["status"] != 200 and began(request) > broken_at - 60]
    assert {request["node"] for request in failed} <= {node.name}
    assert 0 < lost(report) <= 2 + 4  # those of its two users, and of those who came before the balancer knew
    if fault == "cut off":
        node.cut(off=False)
    elif fault == "stopped":
        node.signal(signal.SIGCONT)
    else:
        node.start()
    servers.eventually(lambda: node.health() == 200, "it is back", 600)


def began(request: dict[str, Any]) -> float:
    """When a request came, in seconds since 1970."""
    return time.mktime(time.strptime(request["time"].partition(".")[0], "%d/%b/%Y:%H:%M:%S"))
