"""Bounds of what one address may do, out of the way of tests: all share one, on a machine that is busy."""

OF_GATEWAYS: dict[str, float] = {
    "rate_limit_anonymous": 1_000_000,
    "rate_limit_user": 1_000_000,
    "connections_per_address": 100_000,
    "requests_waiting": 100_000,
    "shed_lag": 0,
}
OF_AUTH: dict[str, float] = {"argon2_register_queue": 1_000}
AS_ENVIRONMENT = {f"SIGNALBOX_{name.upper()}": str(value) for name, value in (OF_GATEWAYS | OF_AUTH).items()}
