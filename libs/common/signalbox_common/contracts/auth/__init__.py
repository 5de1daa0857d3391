"""Contracts of the auth service: who somebody is, and what they may do where."""

from signalbox_common.contracts.auth.access import *
from signalbox_common.contracts.auth.audit import *
from signalbox_common.contracts.auth.devices import *
from signalbox_common.contracts.auth.invitations import *
from signalbox_common.contracts.auth.members import *
from signalbox_common.contracts.auth.projects import *
from signalbox_common.contracts.auth.quotas import *
from signalbox_common.contracts.auth.recovery import *
from signalbox_common.contracts.auth.sessions import *
from signalbox_common.contracts.auth.tokens import *
from signalbox_common.contracts.auth.users import *
from signalbox_common.contracts.roles import *
