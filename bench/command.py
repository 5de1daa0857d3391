"""A durable, audited command, HTTP in to HTTP out, under an open loop: its latency and its CPU."""

from bench.cost import Meter
from bench.load import Load, Result, run
from bench.processes import Seconds
from bench.report import Line, Note, Target, at_most
from bench.servers import Baseline, Person, Stack

RATE, SECONDS, CONNECTIONS = 50.0, 20.0, 48
GROUP = "POST /projects"


def measure(stack: Stack, note: Note, meter: Meter, baseline: Baseline | None) -> None:
    person = Person(stack.url)
    result, cpu = _ask(stack.port, person, meter)
    _latencies(note, result)
    note(Line(GROUP, "CPU, everything included", "ms", of_before=at_most(0.5)), _total(cpu))
    for program, seconds in cpu.items():
        note(Line(GROUP, f"CPU, {program}", "ms"), seconds * 1000)
    if baseline is not None:
        _, alone = _ask(baseline.port, person, baseline.meter(stack))
        note(Line(GROUP, "CPU, baseline", "ms"), _total(alone))
        for program, seconds in alone.items():
            note(Line(GROUP, f"CPU, baseline ({program})", "ms"), seconds * 1000)
        note(Line(GROUP, "CPU, product / baseline", "", at_most(3)), _total(cpu) / _total(alone))


def load_of(port: int, person: Person, seconds: float, *, clients: int, rate: float = 0.0) -> Load:
    """Projects with names that were not there before, so that no slug is looked for in vain."""
    return Load(
        port,
        "POST",
        "/api/v1/projects",
        person.token(),
        seconds=seconds,
        clients=clients,
        rate=rate,
        body=f'{{"name": "{person.fresh_name()} {{n}}"}}',
    )


def _ask(port: int, person: Person, meter: Meter) -> tuple[Result, Seconds]:
    # The first commands of a process subscribe, connect and compile; that is not what is asked.
    run(load_of(port, person, 2.0, clients=CONNECTIONS))
    return meter.per_request(load_of(port, person, SECONDS, clients=CONNECTIONS, rate=RATE))


def _latencies(note: Note, result: Result) -> None:
    values: tuple[tuple[str, float, Target | None], ...] = (
        ("p50", result.p50, at_most(8)),
        ("p90", result.p90, None),
        ("p99", result.p99, at_most(30)),
        ("longest", result.longest, None),
    )
    for name, value, target in values:
        note(Line(GROUP, f"{RATE:.0f}/s, {name}", "ms", target), value)
    note(Line(GROUP, f"{RATE:.0f}/s, not answered with 201", "", at_most(0)), result.other_than("201"))


def _total(cpu: Seconds) -> float:
    return sum(cpu.values()) * 1000
