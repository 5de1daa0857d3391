"""Contracts of the sandbox service: safe machines that programs run in."""

from signalbox_common.contracts.sandbox.base import *
from signalbox_common.contracts.sandbox.changes import *
from signalbox_common.contracts.sandbox.files import *
from signalbox_common.contracts.sandbox.life import *
from signalbox_common.contracts.sandbox.metrics import *
from signalbox_common.contracts.sandbox.network import *
from signalbox_common.contracts.sandbox.ports import *
from signalbox_common.contracts.sandbox.programs import *
from signalbox_common.contracts.sandbox.templates import *
