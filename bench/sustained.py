"""How many durable commands a second a stack takes."""

from dataclasses import replace

from bench.command import load_of
from bench.cost import Meter
from bench.load import Result
from bench.report import Line, Note, at_least, at_most
from bench.servers import Person, Stack

CLIENTS, SECONDS, WARMUP = 64, 20.0, 3.0
PROMPT = 250.0
"""Milliseconds that 99 of 100 answers may take."""
_PROBES, _PROBE_SECONDS = 4, 8.0
GROUP = f"POST /projects, {CLIENTS} clients"


def measure(stack: Stack, note: Note, meter: Meter) -> None:
    person = Person(stack.url)
    load = replace(load_of(stack.port, person, SECONDS, clients=CLIENTS), warmup=WARMUP)
    result, cpu = meter.per_request(load)
    note(Line(GROUP, "sustained", "/s", of_before=at_least(2.5)), result.per_second)
    note(Line(GROUP, "p50", "ms"), result.p50)
    note(Line(GROUP, "p99", "ms", at_most(PROMPT)), result.p99)
    note(Line(GROUP, "not answered with 201", "", at_most(0)), result.other_than("201"))
    note(Line(GROUP, "CPU, everything included", "ms"), sum(cpu.values()) * 1000)
    highest = _highest_prompt_rate(stack, person, meter, result.per_second)
    note(Line(GROUP, f"highest rate with p99 ≤ {PROMPT:.0f} ms", "/s", of_before=at_least(2.5)), highest)


def _highest_prompt_rate(stack: Stack, person: Person, meter: Meter, sustained: float) -> float:
    """By halves, up to what clients that wait for their answers get; to a sixteenth of that."""
    low, high = 0.0, sustained
    for _ in range(_PROBES):
        rate = (low + high) / 2
        load = load_of(stack.port, person, _PROBE_SECONDS, clients=CLIENTS, rate=rate)
        result, _ = meter.per_request(load)
        low, high = (rate, high) if _is_prompt(result) else (low, rate)
    return low


def _is_prompt(result: Result) -> bool:
    return result.p99 <= PROMPT and not result.other_than("201")
