"""What a read costs, and what the bus adds to it: the product and the baseline on the same PostgreSQL."""

from dataclasses import replace

import httpx

from bench.cost import Meter
from bench.load import Load, Result, run
from bench.report import Line, Note, at_least, at_most
from bench.servers import Baseline, Person, Stack

MANY = 32
SECONDS, WARMUP = 2.5, 0.5
METERED_SECONDS = 8.0


def measure(stack: Stack, note: Note, meter: Meter, baseline: Baseline | None) -> None:
    """Without a baseline for what is beside, which has none of its own."""
    person = Person(stack.url)
    paths = {"/auth/me": "/api/v1/auth/me", "/projects/{id}": f"/api/v1/projects/{person.create_project()}"}
    if baseline is not None:
        _check_same([stack.port, baseline.port], list(paths.values()), person.token())
    for name, path in paths.items():
        ours = _ask(stack.port, path, person.token(), meter)
        _note(note, f"GET {name}", "product", ours)
        if baseline is not None:
            theirs = _ask(baseline.port, path, person.token(), baseline.meter(stack))
            _note(note, f"GET {name}", "baseline", theirs)
            _compare(note, f"GET {name}", ours, theirs)


class _Asked:
    def __init__(self, alone: Result, many: Result, cpu: float) -> None:
        self.alone = alone
        self.many = many
        self.cpu = cpu
        """Milliseconds of one request."""


def _ask(port: int, path: str, token: str, meter: Meter) -> _Asked:
    alone = run(Load(port, "GET", path, token, seconds=SECONDS, warmup=WARMUP))
    crowd = Load(port, "GET", path, token, seconds=METERED_SECONDS, clients=MANY)
    run(replace(crowd, seconds=1.5))  # opens what connections to PostgreSQL there may be
    many, cpu = meter.per_request(crowd)
    for result in (alone, many):
        if set(result.statuses) != {"200"}:
            raise RuntimeError(f"GET {path} was answered with {result.statuses}")
    return _Asked(alone, many, sum(cpu.values()) * 1000)


def _note(note: Note, group: str, side: str, asked: _Asked) -> None:
    goal = at_most(0.6) if side == "product" else None
    note(Line(group, f"CPU, {side}", "ms", of_before=goal), asked.cpu)
    note(Line(group, f"1 client, p50, {side}", "ms"), asked.alone.p50)
    note(Line(group, f"{MANY} clients, {side}", "/s"), asked.many.per_second)
    note(Line(group, f"{MANY} clients, p99, {side}", "ms"), asked.many.p99)


def _compare(note: Note, group: str, ours: _Asked, theirs: _Asked) -> None:
    note(Line(group, "CPU, product / baseline", ""), ours.cpu / theirs.cpu)
    added = ours.alone.p50 - theirs.alone.p50
    note(Line(group, "1 client, p50, added by the bus", "ms", at_most(1.2)), added)
    ratio = ours.many.per_second / theirs.many.per_second
    note(Line(group, f"{MANY} clients, product / baseline", "", at_least(0.55)), ratio)


def _check_same(ports: list[int], paths: list[str], token: str) -> None:
    """Both sides must give the same answer, or their figures compare nothing."""
    headers = {"Authorization": f"Bearer {token}"}
    for path in paths:
        answers = [httpx.get(f"http://127.0.0.1:{port}{path}", headers=headers, timeout=15) for port in ports]
        if [answer.status_code for answer in answers] != [200, 200]:
            raise RuntimeError(f"GET {path}: {[answer.text[:200] for answer in answers]}")
        if answers[0].content != answers[1].content or _names(answers[0]) != _names(answers[1]):
            raise RuntimeError(f"GET {path}: product and baseline do not answer the same")


def _names(response: httpx.Response) -> set[str]:
    """But for the count of requests, which is kept in the gateway's Redis."""
    return {name for name in map(str.lower, response.headers) if not name.startswith("ratelimit-")}
