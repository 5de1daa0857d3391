"""Logs are JSON, correlated, and blot out what must not be written down."""

import json
import logging

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from signalbox_common import telemetry


@pytest.fixture(autouse=True)
def _configured(capsys: pytest.CaptureFixture[str]) -> None:
    telemetry.configure("example", "i1", "info", None)
    capsys.readouterr()


def test_a_line_is_json_with_everything_that_one_looks_for(capsys: pytest.CaptureFixture[str]) -> None:
    telemetry.correlation_id.set("trip-1")
    telemetry.project_id.set("p-1")
    telemetry.get_logger().info("something happened", answer=42)
    line = json.loads(capsys.readouterr().out)
    assert line["event"] == "something happened"
    assert line["answer"] == 42
    assert (line["correlation_id"], line["project_id"], line["service"]) == ("trip-1", "p-1", "example")
    assert line["level"] == "info"
    assert line["timestamp"].endswith("Z")


def test_secrets_are_blotted_out(capsys: pytest.CaptureFixture[str]) -> None:
    telemetry.get_logger().warning("oops", password="hunter2", token="t", grant="g")
    out = capsys.readouterr().out
    assert "hunter2" not in out
    assert json.loads(out)["password"] == "[redacted]"


def test_libraries_log_the_same_way(capsys: pytest.CaptureFixture[str]) -> None:
    logging.getLogger("some.library").warning("from %s", "afar")
    line = json.loads(capsys.readouterr().out)
    assert (line["event"], line["logger"]) == ("from afar", "some.library")


class _Broken(SpanExporter):
    def __init__(self, result: SpanExportResult | None) -> None:
        self.result = result

    def export(self, spans: object) -> SpanExportResult:
        if self.result is None:
            raise ConnectionError("nobody there")
        return self.result


@pytest.mark.parametrize(
    ("result", "degraded"),
    [
        (None, "ConnectionError"),
        (SpanExportResult.FAILURE, "does not take"),
        (SpanExportResult.SUCCESS, None),
    ],
)
def test_a_missing_collector_is_a_recorded_reason(
    result: SpanExportResult | None, degraded: str | None
) -> None:
    exporter = telemetry._RecordingExporter(_Broken(result), "http://collector")
    spans: list[ReadableSpan] = []
    exporter.export(spans)
    if degraded is None:
        assert telemetry.state.degraded is None
    else:
        assert degraded in str(telemetry.state.degraded)
