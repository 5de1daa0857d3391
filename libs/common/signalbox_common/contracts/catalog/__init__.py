"""Contracts of the catalog service: the resources that describe agents."""

from signalbox_common.contracts.catalog.apply import *
from signalbox_common.contracts.catalog.history import *
from signalbox_common.contracts.catalog.keys import *
from signalbox_common.contracts.catalog.kinds import *
from signalbox_common.contracts.catalog.packages import *
from signalbox_common.contracts.catalog.resources import *
from signalbox_common.contracts.catalog.trees import *
from signalbox_common.contracts.catalog.watch import *
