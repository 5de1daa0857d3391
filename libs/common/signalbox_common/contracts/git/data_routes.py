"""What git serves as bytes, beside what is in a repository."""

from signalbox_common.contracts.dataplane import DataRoute
from signalbox_common.contracts.git.base import AREA
from signalbox_common.contracts.roles import ProjectRole

PUT_CHANGES = DataRoute("PUT", "/changes/{sha256}", "git.put-changes", area=AREA)
"""Stores a change set under the digest of its bytes; there already, it is as well."""
READ_CHANGES = DataRoute("GET", "/changes/{sha256}", "git.get-changes", area=AREA)
"""The bytes of a change set again, as they were stored."""
PUT_BUNDLE = DataRoute("PUT", "/bundles/{sha256}", "git.put-bundle", area=AREA)
"""The same of a bundle of commits."""
DIFF = "git.diff"
READ_CHANGES_DIFF = DataRoute("GET", "/changes/{sha256}/diff", DIFF, least_role=ProjectRole.VIEWER, area=AREA)
"""A unified diff of a change set, or of a bundle: `?repository=&base=`."""
READ_DELIVERY_DIFF = DataRoute(
    "GET", "/deliveries/{delivery}/diff", DIFF, least_role=ProjectRole.VIEWER, area=AREA
)
"""The same of a delivery: of its commit, or of what it was to be made of."""
GET_TREE = DataRoute("GET", "/trees/{checkout}", "git.get-tree", area=AREA)
"""The tree of a checkout as a tar: `tree/` and `git/`, for a node that has no disk in common with git."""
