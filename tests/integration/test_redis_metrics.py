"""What the metrics say of Redis."""

import pytest
from prometheus_client import REGISTRY
from redis.exceptions import RedisError

from signalbox_gateway.measured_redis import MeasuredRedis
from tests.support.installation import Installation


async def test_what_redis_takes_and_how_well_it_answers(installation: Installation) -> None:
    redis = MeasuredRedis.at(
        installation.servers.credentials.redis_url(installation.servers.endpoints, "gateway"), patience=1.0
    )
    before = REGISTRY.get_sample_value("signalbox_redis_seconds_count") or 0
    await redis.set("live:metrics", "1")
    for name in ("live:metrics", "live:missing"):
        await redis.get(name)
    with pytest.raises(RedisError):
        await redis.execute_command("CONFIG", "GET", "*")
    await redis.measure()
    assert (REGISTRY.get_sample_value("signalbox_redis_seconds_count") or 0) >= before + 5
    assert REGISTRY.get_sample_value("signalbox_redis_errors_total", {"error": "NoPermissionError"})
    assert (REGISTRY.get_sample_value("signalbox_redis_memory_bytes", {"what": "used"}) or 0) > 100_000
    ratio = REGISTRY.get_sample_value("signalbox_redis_hit_ratio")
    assert ratio is not None
    assert 0 < ratio <= 1
    await redis.aclose()
