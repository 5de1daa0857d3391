"""Contracts of the tasks service: tasks, and the runs in which they are done."""

from signalbox_common.contracts.tasks.agents import *
from signalbox_common.contracts.tasks.attachments import *
from signalbox_common.contracts.tasks.base import *
from signalbox_common.contracts.tasks.data_routes import *
from signalbox_common.contracts.tasks.facts import *
from signalbox_common.contracts.tasks.notifications import *
from signalbox_common.contracts.tasks.runs import *
from signalbox_common.contracts.tasks.schedules import *
from signalbox_common.contracts.tasks.shells import *
from signalbox_common.contracts.tasks.tasks import *
from signalbox_common.contracts.tasks.triggers import *
from signalbox_common.contracts.tasks.usage import *
