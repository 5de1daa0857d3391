"""What the bus costs a read: the product and the baseline in turns, on the same servers."""

from collections import defaultdict

import httpx

from bench.load import Load, Result, run
from bench.report import Figure, Report, at_least, at_most, console
from bench.servers import Person, Stack, baseline

MANY = 32
SECONDS, WARMUP = 2.5, 0.5

Rounds = dict[tuple[str, str, int], list[Result]]
"""Results by path, side and number of clients."""


def measure(stack: Stack, report: Report, *, rounds: int) -> None:
    person = Person(stack.url)
    paths = {"/auth/me": "/api/v1/auth/me", "/projects/{id}": f"/api/v1/projects/{person.create_project()}"}
    with baseline(stack) as port:
        ports = {"product": stack.port, "baseline": port}
        _check_same(ports, list(paths.values()), person.token())
        report.look_around("query")
        results: Rounds = defaultdict(list)
        for number in range(rounds):
            console.print(f"query: round {number + 1} of {rounds}", style="dim")
            _round(results, ports, paths, person.token(), backwards=number % 2 == 1)
    for name in paths:
        report.figures += _figures(name, results)


def _round(
    results: Rounds, ports: dict[str, int], paths: dict[str, str], token: str, *, backwards: bool
) -> None:
    """Every second round goes the other way, so that neither side always comes first."""
    sides = ["baseline", "product"] if backwards else ["product", "baseline"]
    for name, path in paths.items():
        for clients in (1, MANY):
            for side in sides:
                load = Load(ports[side], "GET", path, token, seconds=SECONDS, clients=clients, warmup=WARMUP)
                result = run(load)
                if set(result.statuses) != {"200"}:
                    raise RuntimeError(f"GET {path} of the {side} was answered with {result.statuses}")
                results[name, side, clients].append(result)


def _check_same(ports: dict[str, int], paths: list[str], token: str) -> None:
    """Both sides must give the same answer, or their figures compare nothing."""
    headers = {"Authorization": f"Bearer {token}"}
    for path in paths:
        answers = [
            httpx.get(f"http://127.0.0.1:{port}{path}", headers=headers, timeout=15)
            for port in ports.values()
        ]
        if [answer.status_code for answer in answers] != [200, 200]:
            raise RuntimeError(f"GET {path}: {[answer.text[:200] for answer in answers]}")
        if answers[0].content != answers[1].content or _names(answers[0]) != _names(answers[1]):
            raise RuntimeError(f"GET {path}: product and baseline do not answer the same")


def _names(response: httpx.Response) -> set[str]:
    return {name.lower() for name in response.headers}


def _figures(name: str, results: Rounds) -> list[Figure]:
    group = f"GET {name}"
    ours, theirs = results[name, "product", 1], results[name, "baseline", 1]
    many, their_many = results[name, "product", MANY], results[name, "baseline", MANY]
    added = [a.p50 - b.p50 for a, b in zip(ours, theirs, strict=True)]
    ratio = [a.per_second / b.per_second for a, b in zip(many, their_many, strict=True)]
    return [
        Figure(group, "1 client, p50, product", "ms", [r.p50 for r in ours]),
        Figure(group, "1 client, p50, baseline", "ms", [r.p50 for r in theirs]),
        Figure(group, "1 client, p50, added by the bus", "ms", added, at_most(1.2)),
        Figure(group, f"{MANY} clients, product", "req/s", [r.per_second for r in many]),
        Figure(group, f"{MANY} clients, baseline", "req/s", [r.per_second for r in their_many]),
        Figure(group, f"{MANY} clients, product / baseline", "", ratio, at_least(0.55)),
        Figure(group, f"{MANY} clients, p99, product", "ms", [r.p99 for r in many]),
    ]
