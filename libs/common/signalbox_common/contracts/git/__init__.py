"""Contracts of the git service: repositories, what is in them, and checkouts of them."""

from signalbox_common.contracts.git.base import *
from signalbox_common.contracts.git.browsing import *
from signalbox_common.contracts.git.checkouts import *
from signalbox_common.contracts.git.credentials import *
from signalbox_common.contracts.git.data_routes import *
from signalbox_common.contracts.git.deliveries import *
from signalbox_common.contracts.git.operations import *
from signalbox_common.contracts.git.policies import *
from signalbox_common.contracts.git.pull_requests import *
from signalbox_common.contracts.git.repositories import *
