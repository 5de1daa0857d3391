"""What the sandbox service refuses."""

from signalbox_common.contracts.base import FieldError
from signalbox_common.errors import (
    Conflict,
    DiskFull,
    Forbidden,
    Invalid,
    NotFound,
    SignalboxError,
    Unavailable,
)


class SandboxNotFound(NotFound):
    code = "sandbox_not_found"
    detail = "There is no such sandbox."


class ProcessNotFound(NotFound):
    code = "process_not_found"
    detail = "There is no such process."


class UnknownTemplate(Invalid):
    code = "unknown_template"
    detail = "There is no such template."
    errors = (FieldError(field="template", message="is not there", code="unknown_template"),)


class NoSuchTemplate(NotFound):
    code = "unknown_template"
    detail = "There is no such template."


class TemplateReserved(Invalid):
    code = "template_reserved"
    detail = "Every node has this template by itself."


class BuildsOnBase(Invalid):
    code = "builds_on_base"
    detail = "A template is built in a sandbox of the template base."


class BuildsNothing(Conflict):
    code = "builds_nothing"
    detail = "The sandbox was not made to build a template."


class TooManyTemplates(Conflict):
    code = "too_many_templates"
    detail = "The project has too many templates: delete one."


class OwnerReserved(Forbidden):
    code = "owner_reserved"
    detail = "Only the service tasks makes sandboxes for runs."


class NobodyListens(Conflict):
    code = "nobody_listens"
    detail = "Nobody listens at this port of the sandbox."


class TooManyConnections(Conflict):
    code = "too_many_connections"
    detail = "There are too many connections to this sandbox already."


class NetworkNotAllowed(Forbidden):
    code = "network_not_allowed"
    detail = "The operator of this installation does not let sandboxes reach that much of the network."


class ProjectGone(Conflict):
    code = "project_gone"
    detail = "The project was deleted."


class RunEnded(Conflict):
    code = "run_ended"
    detail = "The run has ended, or is about to."


class SandboxEnded(Conflict):
    code = "sandbox_ended"
    detail = "The sandbox has ended."


class SandboxPaused(Conflict):
    code = "sandbox_paused"
    detail = "The sandbox is paused: resume it first."


class NotRunningYet(Conflict):
    code = "not_running_yet"
    detail = "The sandbox does not run yet."


class Superseded(Conflict):
    code = "superseded"
    detail = "Something else was asked of the sandbox before this was done."


class NoCapacity(Conflict):
    code = "no_capacity"
    detail = "No node had room for the sandbox in time."


class KeyTaken(Conflict):
    code = "key_taken"
    detail = "Another process was started under this key."


class ProcessEnded(Conflict):
    code = "process_ended"
    detail = "The process has ended."


class TooManyProcesses(Conflict):
    code = "too_many_processes"
    detail = "Too many processes run in this sandbox."


class InputClosed(Conflict):
    code = "input_closed"
    detail = "The process takes no input any more."


class InputGap(Conflict):
    code = "input_gap"
    detail = "There is a gap before this input."


class NoTerminal(Conflict):
    code = "no_terminal"
    detail = "The process has no terminal."


class Fenced(Conflict):
    code = "fenced"
    detail = "Somebody later is at work here."


class SandboxFrozen(Conflict):
    code = "sandbox_frozen"
    detail = "The sandbox is frozen, so that what it has changed can be read: thaw it first."


class NotFrozen(Conflict):
    code = "not_frozen"
    detail = "What is read is to stay as it is meanwhile: freeze the sandbox first."


class ChangesTooLarge(Invalid):
    status = 413
    code = "changes_too_large"
    detail = "These are more changes than are taken at once; the largest are named."


class BadChanges(Invalid):
    code = "bad_changes"
    detail = "This is no change set."


class NotStarted(Invalid):
    code = "not_started"
    detail = "The process cannot be started."


class NodeAway(Unavailable):
    code = Unavailable.code
    detail = "The node of the sandbox does not answer at the moment."


class FileNotThere(NotFound):
    code = "file_not_found"
    detail = "There is no such file or folder."


class FileExists(Conflict):
    code = "file_exists"
    detail = "There is something already."


class NoFile(Conflict):
    code = "not_a_file"
    detail = "This is no file."


class NoFolder(Conflict):
    code = "not_a_folder"
    detail = "This is no folder."


class FolderNotEmpty(Conflict):
    code = "folder_not_empty"
    detail = "There is something in this folder."


class FileForbidden(Forbidden):
    code = "file_forbidden"
    detail = "Programs of the sandbox may not do this, either."


class BadPath(Invalid):
    code = "bad_path"
    detail = "This path leads nowhere."


class FileTooLarge(Conflict):
    code = "file_too_large"
    detail = "The file would be larger than the sandbox allows."


class SandboxFull(Conflict):
    code = "sandbox_full"
    detail = "The sandbox has as much on its disk as it may: remove something first."


OF_FILES: dict[str, type[SignalboxError]] = {
    "ENOENT": FileNotThere,
    "EEXIST": FileExists,
    "EISDIR": NoFile,
    "not_a_file": NoFile,
    "ENXIO": NoFile,
    "ENOTDIR": NoFolder,
    "ENOTEMPTY": FolderNotEmpty,
    "EACCES": FileForbidden,
    "EPERM": FileForbidden,
    "EROFS": FileForbidden,
    "EBUSY": FileForbidden,
    "EXDEV": FileForbidden,
    "ETXTBSY": FileForbidden,
    "ELOOP": BadPath,
    "EINVAL": BadPath,
    "ENAMETOOLONG": BadPath,
    "malformed": BadPath,
    "EFBIG": FileTooLarge,
    "sandbox_full": SandboxFull,
    "ENOSPC": DiskFull,
    "EDQUOT": DiskFull,
}
"""What a file cannot be asked for, by what the kernel says."""
OF_KEEPER: dict[str, type[SignalboxError]] = {
    "unknown_process": ProcessNotFound,
    "key_taken": KeyTaken,
    "ended": ProcessEnded,
    "too_many_processes": TooManyProcesses,
    "input_closed": InputClosed,
    "input_gap": InputGap,
    "no_terminal": NoTerminal,
    "fenced": Fenced,
    "not_started": NotStarted,
    "paused": SandboxPaused,
    "run_ended": RunEnded,
    "nobody_listens": NobodyListens,
    "frozen": SandboxFrozen,
    "not_frozen": NotFrozen,
    "malformed": Invalid,
    "too_large": Invalid,
    "failed": Invalid,
    "no_answer": NodeAway,
}
"""What a keeper refuses with, by its code."""
