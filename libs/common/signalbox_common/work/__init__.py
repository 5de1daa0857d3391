"""Work that goes on after its request was answered: rows that are claimed under a lease, until they are done.

A use case commits what is wanted together with a row of work (`put`); a worker claims it, does it, and
commits what came of it. Whatever dies on the way, the row is claimed again when its lease is over, under a
higher epoch, by which whatever the earlier worker still writes is refused.
"""

from signalbox_common.work.job import Job, Overtaken
from signalbox_common.work.kinds import Kind, Retry
from signalbox_common.work.worker import Worker

__all__ = ["Job", "Kind", "Overtaken", "Retry", "Worker"]
