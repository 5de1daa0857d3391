"""A durable command, HTTP in to HTTP out, under an open loop."""

from bench.load import Load, Result, run
from bench.report import Figure, Report, at_most, console
from bench.servers import Person, Stack

RATE, SECONDS, CONNECTIONS = 50.0, 20.0, 48
GROUP = "POST /projects"


def measure(stack: Stack, report: Report, *, rounds: int) -> None:
    person = Person(stack.url)
    _warm_up(stack, person)
    report.look_around("command")
    results = []
    for number in range(rounds):
        console.print(f"command: round {number + 1} of {rounds}", style="dim")
        results.append(run(_load(stack, person, f"Round {number}", SECONDS)))
    failed = [sum(count for status, count in r.statuses.items() if status != "201") for r in results]
    for number, result in enumerate(results):
        if failed[number]:
            report.notes.append(f"{GROUP}, round {number + 1}: answered with {result.statuses}")
    report.figures += _figures(results, failed)


def _warm_up(stack: Stack, person: Person) -> None:
    """The first command of a process subscribes, connects and compiles; that is not what is asked."""
    run(_load(stack, person, "Warm-up", 2.0))


def _load(stack: Stack, person: Person, name: str, seconds: float) -> Load:
    return Load(
        stack.port,
        "POST",
        "/api/v1/projects",
        person.token(),
        seconds=seconds,
        clients=CONNECTIONS,
        rate=RATE,
        body=f'{{"name": "{name} of {person.name}, project {{n}}"}}',
    )


def _figures(results: list[Result], failed: list[int]) -> list[Figure]:
    return [
        Figure(GROUP, f"{RATE:.0f} req/s, p50", "ms", [r.p50 for r in results], at_most(8)),
        Figure(GROUP, f"{RATE:.0f} req/s, p90", "ms", [r.p90 for r in results]),
        Figure(GROUP, f"{RATE:.0f} req/s, p99", "ms", [r.p99 for r in results], at_most(30)),
        Figure(GROUP, f"{RATE:.0f} req/s, longest", "ms", [r.longest for r in results]),
        Figure(GROUP, "not answered with 201", "", failed, at_most(0)),
    ]
