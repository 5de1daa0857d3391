"""Structured logs, traces and metrics, the same in every process."""

import logging
import sys
from collections.abc import Sequence
from contextvars import ContextVar
from typing import Any

import structlog
from opentelemetry import propagate, trace
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, DEFAULT_ON
from prometheus_client import Counter, Gauge, Histogram
from structlog.typing import EventDict, WrappedLogger

correlation_id: ContextVar[str | None] = ContextVar("correlation_id", default=None)
project_id: ContextVar[str | None] = ContextVar("project_id", default=None)

tracer = trace.get_tracer("signalbox")

HANDLED = Counter("signalbox_messages_total", "Messages handled", ["subject", "outcome"])
HANDLING = Histogram("signalbox_message_seconds", "Time to handle a message", ["subject"])
DEAD_LETTERED = Counter("signalbox_dead_letters_total", "Messages given up", ["subject", "reason"])
PUBLISHED = Counter("signalbox_outbox_published_total", "Events confirmed by the stream")
SURPRISING_DUPLICATES = Counter(
    "signalbox_outbox_surprising_duplicates_total", "Events that the stream called duplicates at first sight"
)
WORK_FAILED = Counter("signalbox_work_failed_total", "Work that came to no good end", ["kind"])
WORK_ROWS = Gauge("signalbox_work_rows", "Rows of work", ["kind", "state"])
WORK_OLDEST = Gauge("signalbox_work_oldest_seconds", "Age of the oldest row of work", ["kind", "state"])
SCHEDULE_TIMES = Counter(
    "signalbox_schedule_times_total", "Times of schedules that have come, by what became of them", ["outcome"]
)
TRIGGER_CALLS = Counter(
    "signalbox_trigger_calls_total", "Deliveries to triggers, by what became of them", ["outcome"]
)
EVENTS_DROPPED = Counter(
    "signalbox_outside_events_dropped_total", "What came from outside, was no event, and too much to keep"
)
LINES_LOST = Counter("signalbox_log_lines_lost_total", "Lines of the log that could not be written")
DISK_FREE = Gauge("signalbox_disk_free_ratio", "The part of the disk that is free")
NOTICES = Counter(
    "signalbox_notices_total",
    "Tries to tell others of tasks, by what came of them; the dead ones are not tried again",
    ["outcome"],
)
SLOW_QUERIES = Counter("signalbox_slow_queries_total", "Statements over the slow-query limit")

_SECRET_KEYS = frozenset({"password", "token", "grant", "secret", "authorization", "cookie"})


class TelemetryState:
    """Whether traces reach a collector, and if not, why."""

    def __init__(self) -> None:
        self.degraded: str | None = "not started"


state = TelemetryState()


class _RecordingExporter(SpanExporter):
    """Passes spans on and remembers why that did not work; never raises."""

    def __init__(self, inner: SpanExporter, endpoint: str) -> None:
        self._inner = inner
        self._endpoint = endpoint

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        try:
            result = self._inner.export(spans)
        except Exception as error:  # noqa: BLE001 - telemetry must never hurt the work that it watches
            state.degraded = f"collector at {self._endpoint}: {type(error).__name__}"
            return SpanExportResult.FAILURE
        reached = result is SpanExportResult.SUCCESS
        state.degraded = None if reached else f"collector at {self._endpoint} does not take our spans"
        return result

    def shutdown(self) -> None:
        self._inner.shutdown()


def _context(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Adds what the current message is about, and blots out what must not be written down."""
    if (value := correlation_id.get()) is not None:
        event.setdefault("correlation_id", value)
    if (value := project_id.get()) is not None:
        event.setdefault("project_id", value)
    span = trace.get_current_span().get_span_context()
    if span.is_valid:
        event["trace_id"] = trace.format_trace_id(span.trace_id)
    for key in _SECRET_KEYS & event.keys():
        event[key] = "[redacted]"
    return event


def write(line: str) -> None:
    """To wherever standard output is at that moment; nothing fails because it cannot be logged."""
    try:
        sys.stdout.write(line + "\n")
        sys.stdout.flush()
    except OSError:
        LINES_LOST.inc()


class _Lines:
    """One line per event."""

    def msg(self, line: str) -> None:
        write(line)

    log = debug = info = warn = warning = err = error = critical = fatal = exception = msg


class _LinesHandler(logging.Handler):
    """Sends what libraries log the same way."""

    def emit(self, record: logging.LogRecord) -> None:
        write(self.format(record))


def configure(service: str, instance: str, level: str, otel_endpoint: str | None) -> None:
    """Sets up logging and tracing for this process; called once, first."""
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _context,
        structlog.processors.format_exc_info,
    ]
    structlog.configure(
        processors=[*shared, structlog.processors.JSONRenderer()],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=lambda *_: _Lines(),
        cache_logger_on_first_use=True,
    )
    structlog.contextvars.bind_contextvars(service=service, instance=instance)
    handler = _LinesHandler()
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.add_logger_name, *shared],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.JSONRenderer(),
            ],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    logging.getLogger("uvicorn.error").setLevel(logging.WARNING)
    for noisy in ("httpx", "uvicorn.access", "opentelemetry.exporter", "nats"):
        logging.getLogger(noisy).setLevel(logging.CRITICAL)

    provider = TracerProvider(
        # Without a collector nobody reads spans: ids are made and passed on, nothing is recorded.
        sampler=DEFAULT_ON if otel_endpoint else ALWAYS_OFF,
        resource=Resource.create({"service.name": f"signalbox-{service}", "service.instance.id": instance}),
    )
    if otel_endpoint:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import (  # noqa: PLC0415 - 10 MB that most never need
            OTLPSpanExporter,
        )

        exporter = OTLPSpanExporter(endpoint=f"{otel_endpoint.rstrip('/')}/v1/traces", timeout=3)
        provider.add_span_processor(BatchSpanProcessor(_RecordingExporter(exporter, otel_endpoint)))
        state.degraded = None
    else:
        state.degraded = "no collector is configured (OTEL_EXPORTER_OTLP_ENDPOINT)"
    trace.set_tracer_provider(provider)


def shutdown() -> None:
    provider = trace.get_tracer_provider()
    if isinstance(provider, TracerProvider):
        provider.shutdown()


def inject(headers: dict[str, str]) -> None:
    """Adds `traceparent` to the headers of a message."""
    propagate.inject(headers)


def extract(headers: dict[str, str]) -> Any:
    return propagate.extract(headers)


def get_logger() -> Any:
    return structlog.get_logger()
