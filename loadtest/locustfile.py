"""Load test of an endpoint: what does it hold, and what breaks first?

    locust --headless --only-summary -f loadtest/locustfile.py --host http://127.0.0.1:8080 --users 2 --run-time 60s

README.md beside this file explains models of load, gates and reports.
"""

from __future__ import annotations

import logging
import os
import random
import secrets
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import flask
import gevent
import httpx
from gates import Gates, failures_of
from grpc.experimental import gevent as grpc_gevent
from jobs import Endpoint
from levels import level_at
from locust import LoadTestShape, events
from locust.runners import MasterRunner, WorkerRunner
from options import add_options, read
from processes import kill_worker, service_times, watched
from record import Moment, Record
from report import summary_of, write
from scrape import scraped
from users import Caller, Test
from workload import Request, Workload, WrongAnswerError

from genartisan.errors import GenartisanError
from genartisan.serving.defaults import Ports, is_loopback

__all__ = ["Caller"]

logger = logging.getLogger(__name__)
logging.getLogger("httpx").setLevel(logging.WARNING)
grpc_gevent.init_gevent()  # or a gRPC call blocks all users

ENDING = ("stopping", "stopped", "cleanup")  # states of Locust's runner
MOMENT = 1.0  # seconds between two looks at load and metrics
SIZE = 256  # pixels of the pictures' long side, where --params say nothing
PASSWORD_VARIABLE = "GENARTISAN_LOADTEST_PASSWORD"
REFERENCES = 4  # requests whose answers are made before the load

events.init_command_line_parser.add_listener(add_options)  # type: ignore[no-untyped-call]


def require_login(app: flask.Flask) -> None:
    """Asks for a password on every page of Locust's web interface, which can start a load."""
    password = os.environ.get(PASSWORD_VARIABLE) or secrets.token_urlsafe(12)
    if PASSWORD_VARIABLE not in os.environ:
        print(f"password of the web interface, for any user name: {password}", file=sys.stderr)

    @app.before_request
    def signed_in() -> flask.Response | None:
        given = flask.request.authorization
        if given is not None and secrets.compare_digest((given.password or "").encode(), password.encode()):
            return None
        return flask.Response(status=401, headers={"WWW-Authenticate": 'Basic realm="load test"'})


class Levels(LoadTestShape):
    """Locust's view of ``--levels``: as many users as a level says, or in an open model the users who share it."""

    abstract = True
    use_common_options = True

    def tick(self) -> tuple[int, float] | None:
        """Users, and how many are started a second."""
        assert self.runner is not None
        environment: Any = self.runner.environment
        options, test = environment.parsed_options, environment.test
        level = level_at(read(options, "levels"), test.now() if test else 0)  # references come before
        if level is None:
            return None
        users = options.num_users or 1 if options.rate is not None else round(level.value)
        return users, max(1.0, float(users))


def refused(environment: Any) -> str | None:
    """Why there can be no test; None if there can."""
    host = httpx.URL(environment.host or "").host
    if not host:
        return "--host is missing: the endpoint, such as http://127.0.0.1:8080"
    if not is_loopback(host) and not environment.parsed_options.i_own_this:
        return f"--host is {host}: a load test may stop a service; add --i-own-this if it is yours to stop"
    options = environment.parsed_options
    if options.kill_every is not None and (options.kill_every <= 0 or not options.state):
        return f"--kill-every is {options.kill_every:g}: give seconds above 0, and --state of a server on this machine"
    return None


@events.init.add_listener
def prepare(environment: Any, runner: Any, **_: Any) -> None:
    """Checks the target, and sets up what users share."""
    options = environment.parsed_options
    if refusal := refused(environment):
        sys.exit(refusal)
    environment.record, environment.test = Record(), None
    elsewhere = environment.in_flight_elsewhere = {}  # worker -> jobs
    gevent.get_hub().loop.update_now()  # or --run-time counts from before the imports

    def to_master(client_id: str, data: dict[str, Any]) -> None:
        data["record"] = environment.record.drain()
        data["in_flight"] = environment.test.in_flight if environment.test else 0

    def from_worker(client_id: str, data: dict[str, Any]) -> None:
        environment.record.add(data["record"])
        elsewhere[client_id] = data["in_flight"]

    environment.events.report_to_master.add_listener(to_master)
    environment.events.worker_report.add_listener(from_worker)
    if environment.web_ui:
        require_login(environment.web_ui.app)
    if options.levels and not isinstance(runner, WorkerRunner):
        environment.shape_class = Levels()  # type: ignore[no-untyped-call]
        environment.shape_class.runner = runner


def abort(environment: Any, reason: str) -> None:
    """Says why there is no test, and ends it once it has started, since Locust starts it whatever a listener does."""
    logger.error(reason)
    gevent.spawn_later(MOMENT, environment.runner.quit)


@events.test_start.add_listener
def begin(environment: Any, **_: Any) -> None:
    """Makes the references, and begins to look at the server."""
    environment.test = None
    options, runner = environment.parsed_options, environment.runner
    if refusal := refused(environment):  # the web interface may have changed it
        abort(environment, refusal)
        return
    endpoint = {
        "url": environment.host, "grpc": options.grpc, "timeout": options.patience, "key_file": options.key_file,
        "retries": options.retries,
    }  # fmt: skip
    workload = Workload(read(options, "presets"), params_of(options), share=options.check_share)
    index = runner.worker_index if isinstance(runner, WorkerRunner) else 0
    if not isinstance(runner, MasterRunner) and options.check_share:
        try:
            workload = replace(workload, references=references(endpoint, workload, options.seed))
        except (GenartisanError, WrongAnswerError) as error:
            abort(environment, f"no load: a request before it failed: {error}")
            return
    environment.record.restart()
    environment.test = Test(
        endpoint=endpoint, workload=workload, mix=read(options, "mix"), levels=read(options, "levels"),
        rate=options.rate, is_poisson=not options.constant, most_in_flight=options.max_in_flight,
        users=options.num_users or 1, seed=f"{options.seed} {index}", record=environment.record,
    )  # fmt: skip
    if not isinstance(runner, WorkerRunner):
        gevent.spawn(watch, environment)
        if options.kill_every:
            gevent.spawn(kill_workers, environment)


def params_of(options: Any) -> dict[str, Any]:
    """The settings of every request."""
    return {"size": SIZE, **read(options, "params")}


def references(endpoint: dict[str, Any], workload: Workload, seed: int) -> tuple[Request, ...]:
    """Requests and their answers, made one after the other."""
    rng, client = random.Random(f"{seed} references"), Endpoint(**endpoint)
    try:
        requests = [workload.draw(rng) for _ in range(REFERENCES)]
        return tuple(
            request.as_reference(client.http.stylize(request.photo, request.prompt, params=request.params).content)
            for request in requests
        )
    finally:
        client.close()


def watch(environment: Any) -> None:
    """Notes the load and the server's metrics until the test ends."""
    test, options = environment.test, environment.parsed_options
    url = options.metrics
    if url is None and is_loopback(httpx.URL(environment.host).host):
        url = f"http://127.0.0.1:{Ports.metrics}/metrics"
    while environment.runner.state not in ENDING:
        is_told = options.levels or options.rate is not None
        level = test.level() if is_told else environment.runner.user_count
        if level is not None:
            server = {**(scraped(url) if url else {}), **(watched(Path(options.state)) if options.state else {})}
            in_flight = test.in_flight + sum(environment.in_flight_elsewhere.values())
            environment.record.moments.append(Moment(test.now(), level, in_flight, server))
        gevent.sleep(MOMENT)


def kill_workers(environment: Any) -> None:
    """Kills a worker again and again until the test ends."""
    options, test = environment.parsed_options, environment.test
    while True:
        gevent.sleep(options.kill_every)
        if environment.test is not test or environment.runner.state in ENDING:
            return
        if (pid := kill_worker(Path(options.state))) is not None:
            environment.record.killed += 1
            logger.info("killed worker %d", pid)


@events.quitting.add_listener
def finish(environment: Any, **_: Any) -> None:
    """Prints the summary, writes the report, and decides on the exit status."""
    if isinstance(environment.runner, WorkerRunner):
        return
    options = environment.parsed_options
    environment.process_exit_code = 0  # refused jobs are no failures, which Locust cannot know
    described = {
        "host": environment.host, "users": options.num_users or 1, "rate": options.rate, "mix": options.mix,
        "presets": options.presets, "params": params_of(options), "seed": options.seed,
        "levels": options.levels,
        "model": "closed" if options.rate is None else "equidistant" if options.constant else "Poisson",
    }  # fmt: skip
    summary = summary_of(environment.record, described, bool(options.levels))
    print(summary.as_text())
    if options.state:
        environment.record.service = service_times(Path(options.state), environment.record.began)
    if options.report:
        write(summary, environment.record, Path(options.report))
        print(f"report: {Path(options.report) / 'report.html'}")
    missed = failures_of(summary, Gates(options.max_failures, read(options, "p95"), options.min_throughput))
    for line in missed:
        print(f"GATE MISSED: {line}", file=sys.stderr)
    if missed:
        environment.process_exit_code = 1
