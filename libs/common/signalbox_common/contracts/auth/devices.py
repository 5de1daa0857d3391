"""Signing in on a device that shows a code, approved in a browser (RFC 8628)."""

from datetime import datetime
from typing import Annotated, ClassVar

from pydantic import Field, SecretStr, StringConstraints

from signalbox_common.contracts.auth.sessions import TokenPair
from signalbox_common.contracts.base import Ask, Empty, GrantScope, Query, Reply, Text

UserCode = Annotated[Text, StringConstraints(min_length=8, max_length=20, pattern=r"^[A-Za-z -]+$")]
DeviceCode = Annotated[SecretStr, Field(max_length=100)]


class DeviceCodes(Reply):
    device_code: str
    user_code: str
    expires_in: int
    interval: int


class StartDevice(Ask[DeviceCodes]):
    subject = "ask.auth.v1.start-device"
    grant = GrantScope.NONE
    area = "account"
    once: ClassVar[bool] = False

    client_name: Annotated[Text, StringConstraints(min_length=1, max_length=100, strip_whitespace=True)] = (
        "command line"
    )


class PollDevice(Ask[TokenPair]):
    """Refused with `authorization_pending` until somebody has decided."""

    subject = "ask.auth.v1.poll-device"
    grant = GrantScope.NONE
    area = "account"
    once: ClassVar[bool] = False
    unrecorded = frozenset({"authorization_pending", "slow_down", "expired_token"})
    refusals = {"authorization_pending": 400, "slow_down": 400, "access_denied": 400, "expired_token": 400}

    device_code: DeviceCode


class DeviceInfo(Reply):
    """What the person who decides is shown."""

    user_code: str
    client_name: str
    address: str | None
    requested_at: datetime


class GetDevice(Query[DeviceInfo]):
    subject = "qry.auth.v1.get-device"
    area = "account"
    in_person = True
    refusals = {"device_not_found": 404}

    user_code: UserCode


class DecideDevice(Ask[Empty]):
    subject = "ask.auth.v1.decide-device"
    area = "account"
    in_person = True
    once: ClassVar[bool] = False
    refusals = {"device_not_found": 404}

    user_code: UserCode
    approve: bool
