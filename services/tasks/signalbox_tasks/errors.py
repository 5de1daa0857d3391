"""What the tasks service answers instead of what was asked for."""

from signalbox_common.errors import Conflict, Invalid, NotFound, SignalboxError


class TaskNotFound(NotFound):
    code = "task_not_found"
    detail = "There is no such task."


class RunNotFound(NotFound):
    code = "run_not_found"
    detail = "There is no such run."


class ArtifactNotFound(NotFound):
    code = "artifact_not_found"
    detail = "The run has left nothing of that name."


class EnvironmentNotFound(NotFound):
    code = "environment_not_found"
    detail = "There are no such variables, or not any more."


class DependencyNotFound(NotFound):
    code = "dependency_not_found"

    def __init__(self, task: object) -> None:
        super().__init__(f"There is no task {task} in this project that this one could wait for.")


class AttachmentNotFound(NotFound):
    code = "attachment_not_found"
    detail = "There is no such attachment."


class AttachmentMissing(Invalid):
    code = AttachmentNotFound.code

    def __init__(self, attachment: object) -> None:
        super().__init__(f"There is no attachment {attachment} in this project, or not any more.")


class AttachmentNamesClash(Invalid):
    code = "attachment_names_clash"

    def __init__(self, name: str) -> None:
        super().__init__(f"Two of the attachments are called {name}.")


class AttachmentInUse(Conflict):
    code = "attachment_in_use"
    detail = "A task has it: it goes with that."


class AttachmentTooLarge(SignalboxError):
    status = 413
    code = "attachment_too_large"

    def __init__(self, most: int) -> None:
        super().__init__(f"An attachment may have at most {most} bytes.")


class AttachmentsFull(SignalboxError):
    status = 429
    code = "attachments_full"

    def __init__(self, most: int) -> None:
        super().__init__(
            f"The attachments of this project may have {most} MiB together: delete some, or tasks that have "
            "them."
        )


class ProjectGone(Conflict):
    code = "project_gone"
    detail = "The project was deleted."


class ConcurrencyBusy(Conflict):
    code = "concurrency_busy"
    detail = "Another task with this concurrency key has not ended yet."


class RunUnderWay(Conflict):
    code = "run_under_way"
    detail = "It has not ended yet."


class NotWaiting(Conflict):
    code = "not_waiting"
    detail = "It waits for nobody."


class AlreadySucceeded(Conflict):
    code = "already_succeeded"
    detail = "It has succeeded already: duplicate it to have it done once more."


class NothingToDeliver(Conflict):
    code = "nothing_to_deliver"
    detail = "The run has left no changes, or they are not kept any more."


class AlreadyDelivered(Conflict):
    code = "already_delivered"
    detail = "What the run has changed was delivered."


class AgentNotFound(NotFound):
    code = "agent_not_found"
    detail = "There is no such agent."


class AgentExists(Conflict):
    code = "agent_exists"
    detail = "Another agent of this project is called so."


class AgentBusy(Conflict):
    code = "agent_busy"
    detail = "It has tasks that have not ended: cancel them, or wait for them."


class TooManyAgents(SignalboxError):
    status = 429
    code = "too_many_agents"

    def __init__(self, most: int) -> None:
        super().__init__(f"A project has no more than {most} agents.")


class ScheduleNotFound(NotFound):
    code = "schedule_not_found"
    detail = "There is no such schedule."


class ScheduleExists(Conflict):
    code = "schedule_exists"
    detail = "Another schedule of this project is called so."


class BadSchedule(SignalboxError):
    status = 422
    code = "bad_schedule"


class TooManySchedules(SignalboxError):
    status = 429
    code = "too_many_schedules"

    def __init__(self, most: int) -> None:
        super().__init__(f"A project has no more than {most} schedules.")


class TriggerNotFound(NotFound):
    code = "trigger_not_found"
    detail = "There is no such trigger."


class TriggerExists(Conflict):
    code = "trigger_exists"
    detail = "Another trigger of this project is called so."


class TriggerPaused(Conflict):
    code = "trigger_paused"
    detail = "It is paused: nothing is started."


class BadTrigger(SignalboxError):
    status = 422
    code = "bad_trigger"


class BadPayload(SignalboxError):
    status = 422
    code = "bad_payload"
    detail = "It is neither JSON nor a form with a `payload`, or has more than 256 KiB."


class BadSignature(SignalboxError):
    status = 401
    code = "bad_signature"
    detail = "It is not signed with the secret of this address."


class TooLate(SignalboxError):
    status = 401
    code = "too_late"
    detail = "It was signed more than five minutes ago, or for later."


class TooManyCalls(SignalboxError):
    status = 429
    code = "too_many_calls"
    retry_after = 10

    def __init__(self, most: int) -> None:
        super().__init__(f"It takes {most} calls a minute.")


class TooManyTriggers(SignalboxError):
    status = 429
    code = "too_many_triggers"

    def __init__(self, most: int) -> None:
        super().__init__(f"A project has no more than {most} triggers.")


class NotificationNotFound(NotFound):
    code = "notification_not_found"
    detail = "There is no such notification."


class NotificationExists(Conflict):
    code = "notification_exists"
    detail = "Another notification of this project is called so."


class NotificationPaused(Conflict):
    code = "notification_paused"
    detail = "It is paused: nothing is sent."


class BadNotification(SignalboxError):
    status = 422
    code = "bad_notification"


class TooManyNotifications(SignalboxError):
    status = 429
    code = "too_many_notifications"

    def __init__(self, most: int) -> None:
        super().__init__(f"A project has no more than {most} notifications.")


class NoticeNotFound(NotFound):
    code = "notice_not_found"
    detail = "There is no such delivery, or not any more."


class TooManyNotices(SignalboxError):
    status = 429
    code = "too_many_notices"
    retry_after = 60

    def __init__(self, most: int) -> None:
        super().__init__(f"{most} deliveries of this project wait already.")


class ActivityTooLarge(SignalboxError):
    status = 413
    code = "activity_too_large"
    detail = "What is noted of an agent has no more than 16 KiB of data."
