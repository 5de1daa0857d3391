"""Streams and durable consumers, as the contracts describe them."""

import asyncio
import secrets
from typing import Any

import nats
from nats.js.api import (
    AckPolicy,
    ConsumerConfig,
    DeliverPolicy,
    DiscardPolicy,
    RePublish,
    RetentionPolicy,
    StorageType,
    StreamConfig,
    StreamSource,
    SubjectTransform,
)
from nats.js.errors import NotFoundError

from signalbox_cli.provision.errors import ProvisionError
from signalbox_common.contracts.streams import GENERATION, Consumer, Stream, Topology

_GENERATION_KEY = "signalbox-generation"
_EPOCH_KEY = "signalbox-epoch"
MINIMUM_SERVER = (2, 12, 7)


async def provision(url: str, topology: Topology | None = None) -> list[str]:
    """Adds what is missing and brings the rest up to date; answers what was changed."""
    topology = topology or Topology()
    client = await nats.connect(url, name="signalbox-provision", max_reconnect_attempts=3, connect_timeout=3)
    try:
        server = client.connected_server_version
        version = (server.major, server.minor, server.patch)
        if version < MINIMUM_SERVER:
            raise ProvisionError("nats-server is older than 2.12.7")
        jetstream = client.jetstream(timeout=5)
        streams = await asyncio.gather(*(_ensure_stream(jetstream, each) for each in topology.streams))
        mirrors = await asyncio.gather(*(_ensure_mirror(jetstream, each) for each in topology.mirrors()))
        consumers = await asyncio.gather(
            *(_ensure_consumer(jetstream, each) for each in topology.consumers())
        )
        return [change for changes in (*streams, *mirrors, *consumers) for change in changes]
    finally:
        await client.close()


async def _ensure_stream(jetstream: Any, stream: Stream) -> list[str]:
    wanted = _stream_config(stream)
    try:
        there = (await jetstream.stream_info(stream.name)).config
    except NotFoundError:
        metadata = {_GENERATION_KEY: str(GENERATION), _EPOCH_KEY: secrets.token_hex(8)}
        await jetstream.add_stream(wanted.evolve(metadata=metadata))
        return [f"stream {stream.name} created"]
    metadata = dict(there.metadata or {})
    generation = int(metadata.get(_GENERATION_KEY, "0"))
    if generation > GENERATION:
        raise ProvisionError(
            f"stream {stream.name} is of generation {generation}, this program only knows {GENERATION}"
        )
    if there.retention != wanted.retention:
        raise ProvisionError(f"stream {stream.name} keeps its messages by {there.retention}: not one of ours")
    metadata |= {_GENERATION_KEY: str(GENERATION)}
    metadata.setdefault(_EPOCH_KEY, secrets.token_hex(8))
    if _differs(there, wanted) or generation != GENERATION:
        await jetstream.update_stream(wanted.evolve(metadata=metadata))
        return [f"stream {stream.name} updated"]
    return []


async def _ensure_mirror(jetstream: Any, stream: Stream) -> list[str]:
    """What a mirror is of cannot be changed; but nothing is lost with one, so it is made anew."""
    try:
        there = (await jetstream.stream_info(stream.name)).config
    except NotFoundError:
        change = "created"
    else:
        if {each.src for each in there.mirror.subject_transforms or ()} == set(stream.subjects):
            return []
        await jetstream.delete_stream(stream.name)
        change = "made anew"
    await jetstream.add_stream(_stream_config(stream))
    return [f"stream {stream.name} {change}"]


def _stream_config(stream: Stream) -> StreamConfig:
    return StreamConfig(
        name=stream.name,
        description=stream.description,
        subjects=list(stream.subjects) if stream.mirror_of is None else None,
        mirror=_mirror(stream),
        retention=RetentionPolicy.WORK_QUEUE if stream.work_queue else RetentionPolicy.LIMITS,
        storage=StorageType.FILE,
        discard=DiscardPolicy.NEW if stream.discard_new else DiscardPolicy.OLD,
        max_age=stream.max_age,
        max_bytes=stream.max_bytes,
        max_msgs_per_subject=stream.max_per_subject,
        duplicate_window=stream.duplicate_window,
        num_replicas=1,
        deny_delete=not stream.allow_delete,
        deny_purge=not stream.object_store,
        allow_rollup_hdrs=stream.object_store,
        allow_direct=True,
        allow_msg_ttl=stream.allow_ttl,
        allow_msg_schedules=False,
        republish=_copies(stream),
    )


def _mirror(stream: Stream) -> StreamSource | None:
    if stream.mirror_of is None:
        return None
    same = [SubjectTransform(src=subject, dest=subject) for subject in stream.subjects]
    return StreamSource(name=stream.mirror_of, subject_transforms=same)


def _copies(stream: Stream) -> RePublish | None:
    if stream.copies is None:
        return None
    return RePublish(src=stream.subjects[0], dest=f"{stream.copies}.>")


_COMPARED = (
    "description",
    "subjects",
    "discard",
    "max_age",
    "max_bytes",
    "max_msgs_per_subject",
    "duplicate_window",
    "deny_delete",
    "deny_purge",
    "allow_direct",
    "allow_rollup_hdrs",
    "allow_msg_ttl",
    "allow_msg_schedules",
    "republish",
)


def _differs(there: StreamConfig, wanted: StreamConfig) -> bool:
    return any((getattr(there, name) or None) != (getattr(wanted, name) or None) for name in _COMPARED)


async def _ensure_consumer(jetstream: Any, consumer: Consumer) -> list[str]:
    wanted = _consumer_config(consumer)
    try:
        there = (await jetstream.consumer_info(consumer.stream, consumer.name)).config
    except NotFoundError:
        await jetstream.add_consumer(consumer.stream, wanted)
        return [f"consumer {consumer.name} created"]
    if there.filter_subject != consumer.subject:
        raise ProvisionError(
            f"consumer {consumer.name} listens to {there.filter_subject}, not {consumer.subject}: "
            "a verb that moves needs a new version"
        )
    if any(getattr(there, name) != value for name in _SET if (value := getattr(wanted, name)) is not None):
        await jetstream.add_consumer(consumer.stream, wanted)
        return [f"consumer {consumer.name} updated"]
    return []


_SET = ("ack_wait", "max_ack_pending", "deliver_subject", "idle_heartbeat")


def _consumer_config(consumer: Consumer) -> ConsumerConfig:
    config = ConsumerConfig(
        durable_name=consumer.name,
        filter_subject=consumer.subject,
        deliver_policy=DeliverPolicy.ALL,
    )
    if consumer.sends_to is not None:
        return config.evolve(
            deliver_subject=consumer.sends_to,
            idle_heartbeat=consumer.heartbeat,
            ack_policy=AckPolicy.NONE,
        )
    return config.evolve(
        ack_policy=AckPolicy.EXPLICIT,
        ack_wait=consumer.ack_wait,
        max_deliver=-1,
        max_ack_pending=consumer.max_ack_pending,
    )
