"""Who is answered what: one row for every route of the gateway, one column for every kind of asker.

| asker | who that is |
| --- | --- |
| `right` | the least that may do it; `answer` is what they are told, and proves that the thing was there |
| `anonymous` | nobody |
| `expired` | an access token of the right person that has ended |
| `ended` | an access token of the right person whose session was ended |
| `narrow` | an API token of the right person whose scopes do not cover this |
| `low` | a member of the same project with the role below, or somebody who is no administrator |
| `stranger` | the owner of another project |
| `admin` | an administrator of the platform, who is no member of the project |

`None` stands where nobody of that kind is to be told from the right one. Rows stand in the order in which
the right ones ask: what ends something comes last.
"""

import io
import zipfile
from dataclasses import dataclass, field, replace
from typing import Any

UNAUTHENTICATED, EXPIRED, ENDED = "401 unauthenticated", "401 token_expired", "401 session_ended"
NO_SCOPE, IN_PERSON = "403 insufficient_scope", "403 session_required"
TOO_LOW, ADMINS_ONLY = "403 role_too_low", "403 admin_required"
NO_PROJECT, NO_OPERATION = "404 project_not_found", "404 operation_not_found"
NO_SANDBOX, NO_REPOSITORY = "404 sandbox_not_found", "404 repository_not_found"
NO_DELIVERY = "404 delivery_not_found"
NO_TASK, NO_RUN, NO_AGENT = "404 task_not_found", "404 run_not_found", "404 agent_not_found"
NO_SCHEDULE, NO_TRIGGER = "404 schedule_not_found", "404 trigger_not_found"
NO_NOTIFICATION = "404 notification_not_found"
NO_ATTACHMENT = "404 attachment_not_found"
NO_PULL_REQUEST, NO_CREDENTIAL = "404 pull_request_not_found", "404 credential_not_found"
NO_SESSION, NO_TOKEN = "404 session_not_found", "404 token_not_found"

BELOW = {"owner": "maintainer", "maintainer": "developer", "developer": "viewer", "admin": "somebody"}
"""Whose role is the one below."""

ACCOUNT = "/api/v1/projects/{project_id}/service-accounts/{account_id}"
SANDBOX = "/api/v1/sandboxes/{sandbox_id}"
FILES = f"{SANDBOX}/files"
PROCESS = f"{SANDBOX}/processes/{{key}}"
PORT = f"{SANDBOX}/ports/{{port}}"
REPOSITORY = "/api/v1/repositories/{repository_id}"
GIT_OPERATION = f"{REPOSITORY}/operations/{{git_operation_id}}"
PULL_REQUEST = "/api/v1/pull-requests/{pull_request_id}"
DELIVERY = "/api/v1/deliveries/{delivery_id}"
GIT_CREDENTIAL = "/api/v1/git-credentials/{credential_id}"
TASK = "/api/v1/tasks/{task_id}"
RUN = "/api/v1/runs/{run_id}"
ATTACHMENT = "/api/v1/attachments/{attachment_id}"
ATTACHMENTS_OF_PROJECT = "/api/v1/projects/{project_id}/attachments"
OF_PROJECT = "/api/v1/projects/{project_id}/tasks"
AGENT = "/api/v1/agents/{agent_id}"
AGENTS = "/api/v1/projects/{project_id}/agents"
SCHEDULE = "/api/v1/schedules/{schedule_id}"
SCHEDULES = "/api/v1/projects/{project_id}/schedules"
TRIGGER = "/api/v1/triggers/{trigger_id}"
TRIGGERS = "/api/v1/projects/{project_id}/triggers"
NOTIFICATION = "/api/v1/notifications/{notification_id}"
NOTIFICATIONS = "/api/v1/projects/{project_id}/notifications"
NOTICE = f"{NOTIFICATION}/deliveries/{{notice_id}}"
TEMPLATES = ("/api/v1/templates", "/api/v1/projects/{project_id}/templates")
KIND = "/api/v1/kinds/{plural}"
ONE = f"{KIND}/{{name}}"
PACKAGE = "/api/v1/kinds/skills/{name}/package"


@dataclass(frozen=True)
class Row:
    route: str
    right: str
    answer: str
    anonymous: str | None = UNAUTHENTICATED
    expired: str | None = EXPIRED
    ended: str | None = ENDED
    narrow: str | None = NO_SCOPE
    low: str | None = None
    stranger: str | None = None
    admin: str | None = None
    streams: bool = False
    """Whether what the right one is answered does not end by itself."""

    @property
    def method(self) -> str:
        return self.route.split(" ")[0]

    @property
    def path(self) -> str:
        return self.route.split(" ")[1]


REFUSED = ("anonymous", "expired", "ended", "narrow", "low", "stranger", "admin")
"""Everybody but the right one."""


def open_to_all(route: str, answer: str) -> Row:
    """Nobody needs to say who they are, and a token that is not good any more is not in the way."""
    return Row(route, "nobody", answer, anonymous=None, expired=answer, ended=answer, narrow=None)


def ones_own(route: str, answer: str, narrow: str | None = NO_SCOPE, others: str | None = None) -> Row:
    """For everybody, about themselves: what belongs to another does not exist, to administrators neither."""
    return Row(route, "somebody", answer, narrow=narrow, stranger=others, admin=others)


def for_admins(route: str, answer: str, narrow: str = NO_SCOPE) -> Row:
    """For administrators of the platform."""
    return Row(route, "admin", answer, narrow=narrow, low=ADMINS_ONLY, stranger=ADMINS_ONLY)


def in_project(route: str, right: str, answer: str, narrow: str | None = NO_SCOPE) -> Row:
    """For members with that role at least; to everybody else there is no such project."""
    low = TOO_LOW if right in BELOW else None
    return Row(route, right, answer, narrow=narrow, low=low, stranger=NO_PROJECT, admin=NO_PROJECT)


def in_sandbox(route: str, right: str, answer: str) -> Row:
    """As in its project; to everybody else there is no such sandbox."""
    low = TOO_LOW if right in BELOW else None
    return Row(route, right, answer, low=low, stranger=NO_SANDBOX, admin=NO_SANDBOX)


def in_repository(route: str, right: str, answer: str, missing: str = NO_REPOSITORY) -> Row:
    """The same of a repository, and of what belongs to one."""
    low = TOO_LOW if right in BELOW else None
    return Row(route, right, answer, low=low, stranger=missing, admin=missing)


def of_task(route: str, right: str, answer: str, missing: str = NO_TASK) -> Row:
    """The same of a task, and of its runs."""
    low = TOO_LOW if right in BELOW else None
    return Row(route, right, answer, low=low, stranger=missing, admin=missing)


def of_member(route: str, answer: str, others: str) -> Row:
    """For members; its id is a secret that says what it is about, and needs no scope."""
    return Row(route, "viewer", answer, narrow=None, stranger=others, admin=others)


def in_deleted_project(route: str, answer: str) -> Row:
    """It is there for its owners alone."""
    return Row(route, "owner", answer, low=NO_PROJECT, stranger=NO_PROJECT, admin=NO_PROJECT)


def socket(path: str) -> Row:
    """Closed with a reason instead of answered."""
    closed = ("4401 unauthenticated", "4401 token_expired", "4401 session_ended")
    return Row(f"WS {path}", "somebody", "ready", *closed, narrow=None)


ROWS = (
    open_to_all("GET /", "200"),
    open_to_all("GET /health", "200"),
    open_to_all("GET /api/v1/health", "200"),
    open_to_all("GET /api/v1/liveness", "200"),
    open_to_all("GET /api/v1/readiness", "200"),
    open_to_all("GET /api/v1/health/ready", "200"),
    open_to_all("GET /api/v1/health/detailed", "200"),
    open_to_all("GET /.well-known/jwks.json", "200"),
    open_to_all("POST /api/v1/auth/register", "201"),
    open_to_all("POST /api/v1/auth/login", "200"),
    open_to_all("POST /api/v1/auth/refresh", "200"),
    open_to_all("POST /api/v1/auth/password/forgot", "409 no_mail"),
    open_to_all("POST /api/v1/auth/password/reset", "403 bad_link"),
    open_to_all("POST /api/v1/auth/email/confirm", "403 bad_link"),
    open_to_all("POST /api/v1/auth/device/code", "200"),
    open_to_all("POST /api/v1/auth/device/token", "200"),
    #
    ones_own("GET /api/v1/auth/me", "200"),
    ones_own("PATCH /api/v1/auth/me", "200", IN_PERSON),
    ones_own("POST /api/v1/auth/ws-ticket", "200", None),  # a ticket opens no more than its token
    socket("/api/v1/ws"),
    ones_own("GET /api/v1/auth/sessions", "200"),
    ones_own("DELETE /api/v1/auth/sessions/{session_id}", "204", IN_PERSON, NO_SESSION),
    ones_own("POST /api/v1/auth/tokens", "201", IN_PERSON),
    ones_own("GET /api/v1/auth/tokens", "200"),
    ones_own("DELETE /api/v1/auth/tokens/{token_id}", "204", IN_PERSON, NO_TOKEN),
    ones_own("GET /api/v1/auth/device", "200", IN_PERSON),
    ones_own("POST /api/v1/auth/device/decision", "204", IN_PERSON),
    ones_own("GET /api/v1/projects", "200"),
    ones_own("POST /api/v1/projects", "201"),
    ones_own("GET /api/v1/kinds", "200"),
    ones_own(f"GET {KIND}/schema", "200"),
    ones_own("POST /api/v1/auth/password", "204", IN_PERSON),
    ones_own("DELETE /api/v1/auth/sessions", "204", IN_PERSON),
    ones_own("POST /api/v1/auth/logout", "204", IN_PERSON),
    #
    for_admins("POST /api/v1/auth/admin/register", "201", IN_PERSON),
    for_admins("GET /api/v1/users", "200"),
    for_admins("POST /api/v1/users/invitations", "201", IN_PERSON),
    for_admins("GET /api/v1/users/invitations", "200"),
    for_admins("DELETE /api/v1/users/invitations/{invitation_id}", "204", IN_PERSON),
    for_admins("GET /api/v1/users/{user_id}", "200"),
    for_admins("POST /api/v1/users/{user_id}/password-reset", "201", IN_PERSON),
    for_admins("PATCH /api/v1/users/{user_id}", "200", IN_PERSON),
    for_admins("DELETE /api/v1/users/{user_id}", "204", IN_PERSON),
    for_admins("GET /api/v1/audit", "200"),
    #
    in_project(f"GET {KIND}", "viewer", "200"),
    in_project(f"GET {ONE}", "viewer", "200"),
    in_project(f"GET {ONE}/resolved", "viewer", "200"),
    in_project(f"GET {ONE}/history", "viewer", "200"),
    in_project(f"GET {ONE}/history/{{generation}}", "viewer", "200"),
    in_project(f"GET {PACKAGE}", "viewer", "200"),
    in_project(f"GET {PACKAGE}/files", "viewer", "200"),
    in_project(f"POST {KIND}", "developer", "201"),
    in_project(f"PUT {ONE}", "developer", "200"),
    in_project(f"PATCH {ONE}", "developer", "200"),
    in_project(f"POST {ONE}/history/{{generation}}/rollback", "developer", "200"),
    in_project(f"PUT {PACKAGE}", "developer", "200"),
    in_project("POST /api/v1/apply", "developer", "200"),
    in_project("POST /api/v1/apply/archive", "developer", "200"),
    in_project(f"DELETE {ONE}", "developer", "204"),
    in_project(f"POST {ONE}/restore", "developer", "200"),
    #
    in_project("POST /api/v1/sandboxes", "developer", "201"),
    in_project("GET /api/v1/sandboxes", "viewer", "200"),
    in_project("POST /api/v1/projects/{project_id}/sandboxes", "developer", "201"),
    in_project("GET /api/v1/projects/{project_id}/sandboxes", "viewer", "200"),
    in_sandbox(f"GET {SANDBOX}", "viewer", "200"),
    in_sandbox(f"POST {SANDBOX}/exec", "developer", "200"),
    in_sandbox(f"POST {SANDBOX}/processes", "developer", "201"),
    in_sandbox(f"GET {SANDBOX}/processes", "viewer", "200"),
    in_sandbox(f"GET {PROCESS}", "viewer", "200"),
    in_sandbox(f"POST {PROCESS}/signal", "developer", "204"),
    in_sandbox(f"GET {PROCESS}/output", "viewer", "200"),
    Row(
        f"WS {SANDBOX}/terminal",
        "developer",
        "ready",
        anonymous="4401 unauthenticated",
        expired="4401 token_expired",
        ended="4401 session_ended",
        narrow="4403 insufficient_scope",
        low="4403 role_too_low",
        stranger="4403 sandbox_not_found",
        admin="4403 sandbox_not_found",
    ),
    in_sandbox(f"PUT {FILES}", "developer", "204"),
    in_sandbox(f"GET {FILES}", "viewer", "200"),
    in_sandbox(f"GET {FILES}/list", "viewer", "200"),
    in_sandbox(f"GET {FILES}/stat", "viewer", "200"),
    in_sandbox(f"POST {FILES}/mkdir", "developer", "204"),
    in_sandbox(f"PUT {FILES}/archive", "developer", "422 bad_archive"),
    in_sandbox(f"GET {FILES}/archive", "developer", "200"),
    in_sandbox(f"POST {FILES}/move", "developer", "204"),
    in_sandbox(f"DELETE {FILES}", "developer", "204"),
    in_sandbox(f"POST {SANDBOX}/template", "developer", "409 builds_nothing"),
    *(in_project(f"GET {templates}", "viewer", "200") for templates in TEMPLATES),
    *(
        in_project(f"{method} {templates}/{{template}}", right, answer)
        for templates in TEMPLATES
        for method, right, answer in (
            ("GET", "viewer", "404 unknown_template"),
            ("DELETE", "developer", "404 unknown_template"),
        )
    ),
    in_sandbox(f"GET {SANDBOX}/metrics", "viewer", "200"),
    *(
        in_sandbox(f"{method} {PORT}/{{path}}", "viewer", "409 nobody_listens")
        for method in ("GET", "POST", "PUT", "PATCH", "DELETE")
    ),
    in_sandbox(f"POST {PORT}/links", "viewer", "201"),
    Row(
        f"WS {PORT}/{{path}}",
        "viewer",
        "4403 nobody_listens",
        anonymous="4401 unauthenticated",
        expired="4401 token_expired",
        ended="4401 session_ended",
        narrow="4403 insufficient_scope",
        stranger="4403 sandbox_not_found",
        admin="4403 sandbox_not_found",
    ),
    open_to_all("GET /preview/{link}/{path}", "410 preview_ended"),
    in_sandbox(f"PUT {SANDBOX}/timeout", "developer", "200"),
    in_sandbox(f"PUT {SANDBOX}/network", "developer", "200"),
    in_sandbox(f"POST {SANDBOX}/pause", "developer", "200"),
    in_sandbox(f"POST {SANDBOX}/resume", "developer", "200"),
    in_sandbox(f"DELETE {SANDBOX}", "developer", "200"),
    in_project("POST /api/v1/repositories", "developer", "201"),
    in_project("GET /api/v1/repositories", "viewer", "200"),
    in_project("POST /api/v1/projects/{project_id}/repositories", "developer", "201"),
    in_project("GET /api/v1/projects/{project_id}/repositories", "viewer", "200"),
    *(
        in_repository(f"GET {REPOSITORY}{path}", "viewer", "200")
        for path in ("", "/branches", "/tags", "/commits", "/commit", "/tree", "/file", "/diff")
    ),
    in_repository(f"GET {REPOSITORY}/blame", "viewer", "200"),
    in_repository(f"POST {REPOSITORY}/test", "developer", "200"),
    in_repository(f"POST {REPOSITORY}/fetch", "developer", "200"),
    in_repository(f"POST {REPOSITORY}/operations", "developer", "201"),
    in_repository(f"GET {REPOSITORY}/operations", "viewer", "200"),
    in_repository(f"GET {GIT_OPERATION}", "viewer", "200"),
    in_repository(f"POST {GIT_OPERATION}/cancel", "maintainer", "409 already_ended"),
    in_repository(f"GET {REPOSITORY}/deliveries", "viewer", "200"),
    in_repository(f"GET {DELIVERY}", "viewer", "200", NO_DELIVERY),
    in_repository(f"GET {DELIVERY}/diff", "viewer", "404 revision_not_found", NO_DELIVERY),
    in_repository(f"POST {DELIVERY}/retry", "developer", "201", NO_DELIVERY),
    in_repository(f"GET {REPOSITORY}/pull-requests", "viewer", "200"),
    in_repository(f"POST {REPOSITORY}/pull-requests", "developer", "409 no_forge"),
    in_project("GET /api/v1/pull-requests", "viewer", "200"),
    in_project("GET /api/v1/projects/{project_id}/pull-requests", "viewer", "200"),
    in_repository(f"GET {PULL_REQUEST}", "viewer", "200", NO_PULL_REQUEST),
    in_repository(f"PATCH {PULL_REQUEST}", "developer", "409 no_forge", NO_PULL_REQUEST),
    in_repository(f"POST {PULL_REQUEST}/close", "developer", "409 no_forge", NO_PULL_REQUEST),
    in_repository(f"POST {PULL_REQUEST}/refresh", "developer", "409 no_forge", NO_PULL_REQUEST),
    in_project("POST /api/v1/git-credentials", "maintainer", "201"),
    in_project("POST /api/v1/projects/{project_id}/git-credentials", "maintainer", "201"),
    in_project("GET /api/v1/git-credentials", "viewer", "200"),
    in_project("GET /api/v1/projects/{project_id}/git-credentials", "viewer", "200"),
    in_repository(f"GET {GIT_CREDENTIAL}/repositories", "developer", "409 forge_refused", NO_CREDENTIAL),
    in_repository(f"DELETE {GIT_CREDENTIAL}", "maintainer", "204", NO_CREDENTIAL),
    in_project("POST /api/v1/tasks", "developer", "201"),
    in_project(f"POST {OF_PROJECT}", "developer", "201"),
    in_project("POST /api/v1/tasks/bulk", "developer", "201"),
    in_project(f"POST {OF_PROJECT}/bulk", "developer", "201"),
    in_project("POST /api/v1/tasks/bulk/cancel", "developer", "200"),
    in_project(f"POST {OF_PROJECT}/bulk/cancel", "developer", "200"),
    in_project("GET /api/v1/tasks", "viewer", "200"),
    in_project("POST /api/v1/agents", "developer", "201"),
    in_project(f"POST {AGENTS}", "developer", "201"),
    in_project("GET /api/v1/agents", "viewer", "200"),
    in_project(f"GET {AGENTS}", "viewer", "200"),
    *(
        of_task(f"GET {AGENT}{path}", "viewer", "200", NO_AGENT)
        for path in ("", "/activity", "/history", "/metrics")
    ),
    of_task(f"PATCH {AGENT}", "developer", "200", NO_AGENT),
    of_task(f"POST {AGENT}/activity", "developer", "201", NO_AGENT),
    of_task(f"POST {AGENT}/start-task", "developer", "201", NO_AGENT),
    of_task(f"DELETE {AGENT}", "developer", "204", NO_AGENT),
    in_project("POST /api/v1/schedules", "developer", "201"),
    in_project(f"POST {SCHEDULES}", "developer", "201"),
    in_project("GET /api/v1/schedules", "viewer", "200"),
    in_project(f"GET {SCHEDULES}", "viewer", "200"),
    *(of_task(f"GET {SCHEDULE}{path}", "viewer", "200", NO_SCHEDULE) for path in ("", "/history")),
    of_task(f"PATCH {SCHEDULE}", "developer", "200", NO_SCHEDULE),
    of_task(f"POST {SCHEDULE}/pause", "developer", "200", NO_SCHEDULE),
    of_task(f"POST {SCHEDULE}/resume", "developer", "200", NO_SCHEDULE),
    of_task(f"POST {SCHEDULE}/run", "developer", "201", NO_SCHEDULE),
    of_task(f"DELETE {SCHEDULE}", "developer", "204", NO_SCHEDULE),
    in_project("POST /api/v1/triggers", "developer", "201"),
    in_project(f"POST {TRIGGERS}", "developer", "201"),
    in_project("GET /api/v1/triggers", "viewer", "200"),
    in_project(f"GET {TRIGGERS}", "viewer", "200"),
    *(of_task(f"GET {TRIGGER}{path}", "viewer", "200", NO_TRIGGER) for path in ("", "/history")),
    of_task(f"PATCH {TRIGGER}", "developer", "200", NO_TRIGGER),
    *(
        of_task(f"POST {TRIGGER}/{verb}", "developer", "200", NO_TRIGGER)
        for verb in ("pause", "resume", "rotate")
    ),
    of_task(f"DELETE {TRIGGER}", "developer", "204", NO_TRIGGER),
    open_to_all("POST /api/v1/hooks/{token}", "404 trigger_not_found"),
    in_project("POST /api/v1/notifications", "maintainer", "201"),
    in_project(f"POST {NOTIFICATIONS}", "maintainer", "201"),
    in_project("GET /api/v1/notifications", "viewer", "200"),
    in_project(f"GET {NOTIFICATIONS}", "viewer", "200"),
    *(
        of_task(f"GET {path}", "viewer", "200", NO_NOTIFICATION)
        for path in (NOTIFICATION, f"{NOTIFICATION}/deliveries", NOTICE)
    ),
    of_task(f"PATCH {NOTIFICATION}", "maintainer", "200", NO_NOTIFICATION),
    *(
        of_task(f"POST {NOTIFICATION}/{verb}", "maintainer", "200", NO_NOTIFICATION)
        for verb in ("resume", "rotate", "pause")
    ),
    of_task(f"POST {NOTIFICATION}/test", "maintainer", "201", NO_NOTIFICATION),
    of_task(f"POST {NOTICE}/redeliver", "maintainer", "200", NO_NOTIFICATION),
    of_task(f"DELETE {NOTIFICATION}", "maintainer", "204", NO_NOTIFICATION),
    in_project(f"GET {OF_PROJECT}", "viewer", "200"),
    *(of_task(f"GET {TASK}{path}", "viewer", "200") for path in ("", "/runs")),
    *(of_task(f"GET {RUN}{path}", "viewer", "200", NO_RUN) for path in ("", "/steps", "/artifacts", "/log")),
    *(
        of_task(f"GET {RUN}{path}", "viewer", "404 artifact_not_found", NO_RUN)
        for path in ("/changes", "/artifacts/{artifact}")
    ),
    in_project("POST /api/v1/attachments", "developer", "201"),
    in_project(f"POST {ATTACHMENTS_OF_PROJECT}", "developer", "201"),
    *(of_task(f"GET {ATTACHMENT}{path}", "viewer", "200", NO_ATTACHMENT) for path in ("", "/content")),
    of_task(f"DELETE {ATTACHMENT}", "developer", "204", NO_ATTACHMENT),
    of_task(f"POST {RUN}/answer", "developer", "409 not_waiting", NO_RUN),
    of_task(f"POST {RUN}/deliver", "developer", "409 nothing_to_deliver", NO_RUN),
    of_task(f"PATCH {TASK}", "developer", "200"),
    of_task(f"POST {TASK}/cancel", "developer", "409 already_ended"),
    of_task(f"POST {TASK}/retry", "developer", "409 already_succeeded"),
    of_task(f"POST {TASK}/duplicate", "developer", "201"),
    of_task(f"DELETE {TASK}", "developer", "204"),
    of_task(f"POST {TASK}/follow-up", "developer", "201"),
    in_repository(f"PATCH {REPOSITORY}", "developer", "200"),
    in_repository(f"DELETE {REPOSITORY}", "developer", "204"),
    #
    in_project("GET /api/v1/info", "viewer", "200", None),  # what a token may do is for its holder to see
    in_project("GET /info", "viewer", "200", None),
    of_member("GET /api/v1/operations/{operation_id}", "200", NO_OPERATION),
    # Whoever may ask for the same; it was to add a member, and has ended.
    Row(
        "POST /api/v1/operations/{operation_id}/cancel",
        "maintainer",
        "409 already_ended",
        low=TOO_LOW,
        stranger=NO_OPERATION,
        admin=NO_OPERATION,
    ),
    replace(
        of_member("GET /api/v1/operations/{operation_id}/events", "200", NO_OPERATION),
        narrow=NO_SCOPE,
        streams=True,
    ),
    replace(in_project("GET /api/v1/sse", "viewer", "200"), streams=True),
    in_project("GET /api/v1/projects/{project_id}/events", "viewer", "200"),
    in_project("POST /api/v1/projects/{project_id}/events", "developer", "202"),
    in_project("GET /api/v1/projects/{project_id}", "viewer", "200"),
    in_project("PATCH /api/v1/projects/{project_id}", "maintainer", "200"),
    in_project("GET /api/v1/projects/{project_id}/audit", "owner", "200"),
    in_project("GET /api/v1/projects/{project_id}/usage", "viewer", "200"),
    replace(in_project("GET /api/v1/projects/{project_id}/quotas", "owner", "200"), admin=None),
    for_admins("PUT /api/v1/projects/{project_id}/quotas", "200"),
    in_project("POST /api/v1/projects/{project_id}/invitations", "owner", "201", IN_PERSON),
    in_project("GET /api/v1/projects/{project_id}/invitations", "owner", "200"),
    in_project("DELETE /api/v1/projects/{project_id}/invitations/{invitation_id}", "owner", "204", IN_PERSON),
    in_project("POST /api/v1/projects/{project_id}/members", "maintainer", "201"),
    in_project("GET /api/v1/projects/{project_id}/members", "viewer", "200"),
    in_project("PATCH /api/v1/projects/{project_id}/members/{user_id}", "maintainer", "200"),
    in_project("DELETE /api/v1/projects/{project_id}/members/{user_id}", "maintainer", "204"),
    in_project("POST /api/v1/projects/{project_id}/service-accounts", "maintainer", "201", IN_PERSON),
    in_project("GET /api/v1/projects/{project_id}/service-accounts", "maintainer", "200"),
    in_project(f"POST {ACCOUNT}/tokens", "maintainer", "201", IN_PERSON),
    in_project(f"GET {ACCOUNT}/tokens", "maintainer", "200"),
    in_project(f"DELETE {ACCOUNT}/tokens/{{token_id}}", "maintainer", "204", IN_PERSON),
    in_project(f"DELETE {ACCOUNT}", "maintainer", "204", IN_PERSON),
    in_project("DELETE /api/v1/projects/{project_id}", "owner", "204"),
    in_deleted_project("POST /api/v1/projects/{project_id}/restore", "200"),
)


@dataclass(frozen=True)
class Words:
    """What a request says beside its route; `{name}` stands for something of the world."""

    body: dict[str, Any] | None = None
    query: dict[str, str] = field(default_factory=dict)
    about: dict[str, str] = field(default_factory=dict)
    """What stands for a parameter of the path, where that is not called the same."""
    content: str | bytes | None = None
    """What is sent where it is no JSON; bytes as they are."""
    media: str = ""
    path: dict[str, str] = field(default_factory=dict)
    """Parameters of the path that stand for themselves."""
    makes: bool = False
    """Whether what the path names is made where it is not there."""


def packaged(skill_md: str) -> bytes:
    """The package of a skill with nothing else in it."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("SKILL.md", skill_md)
    return packed.getvalue()


def archived(files: dict[str, bytes]) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return packed.getvalue()


SKILL_PACKAGE = packaged("---\ndescription: Checks style.\n---\nLook closely.\n")
ZIP, YAML = "application/zip", "application/yaml"
ARCHIVE = archived({"packages/applied-skill.zip": SKILL_PACKAGE})
DOCUMENTS = """\
apiVersion: signalbox.dev/v1
kind: Ghost
metadata:
  name: applied
  namespace: {namespace}
spec:
  systemPrompt: You write code.
"""
IN_NAMESPACE = {"namespace": "{namespace}"}
A_GHOST = {"plural": "ghosts"}
FIRST_GHOST = A_GHOST | {"generation": "1"}
CALLED_GHOST, CALLED_SKILL = {"name": "ghost_name"}, {"name": "skill_name"}
OF_SKILL = Words(query=IN_NAMESPACE, about=CALLED_SKILL)
OF_GHOST = Words(query=IN_NAMESPACE, about=CALLED_GHOST, path=FIRST_GHOST)
PROMPT = {"systemPrompt": "You write {number} lines."}


NEW_USER = {"username": "new-{number}", "email": "new-{number}@example.com", "password": "{password}"}
NEW_PASSWORD = {"currentPassword": "{password}", "newPassword": "{password} and more"}
MEMBER = {"user_id": "member_id"}

WAITING = Words(path={"key": "waits"})
A_TEMPLATE = {"template": "tools"}
NOTHING = {"title": "Do nothing", "noop": {}}
NOTHINGS = [NOTHING]
TASKS = ["{task_id}"]
A_SCHEDULE = {
    "name": "schedule {number}",
    "cron": "@yearly",
    "task": {"title": "Do nothing", "noop": {}},
}
A_TRIGGER = {"name": "trigger {number}", "task": {"title": "Do nothing", "noop": {}}}
A_NOTIFICATION = {
    "name": "notification {number}",
    "url": "https://example.invalid/hook",
    "states": ["failed"],
    "paused": True,
}
AN_AGENT = {"name": "agent {number}", "bot": "idler"}
ELSEWHERE = "https://forge.invalid/{number}.git"
AT_PORT = Words(path={"port": "8123", "path": "page"})

WORDS = {
    "POST /api/v1/auth/register": Words(NEW_USER),
    "POST /api/v1/auth/login": Words({"username": "{username}", "password": "{password}"}),
    "POST /api/v1/auth/refresh": Words({"refreshToken": "{refresh_token}"}),
    "POST /api/v1/auth/device/token": Words({"device_code": "{device_code}"}),
    "PATCH /api/v1/auth/me": Words({"displayName": "Some Body"}),
    "POST /api/v1/auth/tokens": Words({"name": "nightly"}),
    "GET /api/v1/auth/device": Words(query={"userCode": "{user_code}"}),
    "POST /api/v1/auth/device/decision": Words({"userCode": "{user_code}", "approve": True}),
    "POST /api/v1/projects": Words({"name": "Another"}),
    "POST /api/v1/auth/password": Words(NEW_PASSWORD),
    "POST /api/v1/auth/password/forgot": Words({"email": "nobody@example.com"}),
    "POST /api/v1/auth/password/reset": Words({"token": "none", "newPassword": "{password} and more"}),
    "POST /api/v1/auth/email/confirm": Words({"token": "none"}),
    "POST /api/v1/users/invitations": Words({}),
    "DELETE /api/v1/users/invitations/{invitation_id}": Words(about={"invitation_id": "other_invitation_id"}),
    "POST /api/v1/projects/{project_id}/invitations": Words({}),
    "POST /api/v1/auth/admin/register": Words(NEW_USER | {"role": "admin"}),
    "PATCH /api/v1/users/{user_id}": Words({"role": "admin"}),
    "GET /api/v1/info": Words(query={"projectId": "{project_id}"}),
    "GET /info": Words(query={"project_id": "{project_id}"}),
    "PATCH /api/v1/projects/{project_id}": Words({"name": "Renamed"}),
    "PUT /api/v1/projects/{project_id}/quotas": Words({"liveSandboxes": 100, "costPerMonth": None}),
    "POST /api/v1/projects/{project_id}/members": Words({"userId": "{newcomer_id}", "role": "viewer"}),
    "PATCH /api/v1/projects/{project_id}/members/{user_id}": Words({"role": "viewer"}, about=MEMBER),
    "DELETE /api/v1/projects/{project_id}/members/{user_id}": Words(about=MEMBER),
    "POST /api/v1/projects/{project_id}/service-accounts": Words({"name": "robot"}),
    f"POST {ACCOUNT}/tokens": Words({"name": "another"}),
    f"DELETE {ACCOUNT}/tokens/{{token_id}}": Words(about={"token_id": "account_token_id"}),
    "POST /api/v1/projects/{project_id}/restore": Words(about={"project_id": "deleted_id"}),
    "GET /api/v1/sse": Words(query={"project": "{project_id}"}),
    "POST /api/v1/projects/{project_id}/events": Words({"type": "ext.ci.finished"}),
    "POST /api/v1/sandboxes": Words({"projectId": "{project_id}"}),
    "GET /api/v1/sandboxes": Words(query={"projectId": "{project_id}"}),
    "POST /api/v1/projects/{project_id}/sandboxes": Words({}),
    f"POST {SANDBOX}/exec": Words({"command": "true"}),
    f"POST {SANDBOX}/processes": Words({"command": "true"}),
    **{f"{method} {PORT}/{{path}}": AT_PORT for method in ("GET", "POST", "PUT", "PATCH", "DELETE", "WS")},
    f"POST {PORT}/links": replace(AT_PORT, body={}),
    f"POST {SANDBOX}/template": Words({"name": "tools"}),
    f"GET {TEMPLATES[0]}": Words(query={"projectId": "{project_id}"}),
    **{
        f"{method} {TEMPLATES[0]}/{{template}}": Words(query={"projectId": "{project_id}"}, path=A_TEMPLATE)
        for method in ("GET", "DELETE")
    },
    **{f"{method} {TEMPLATES[1]}/{{template}}": Words(path=A_TEMPLATE) for method in ("GET", "DELETE")},
    "GET /preview/{link}/{path}": Words(path={"link": "bm9uZQ", "path": "page"}),
    f"PUT {SANDBOX}/timeout": Words({"timeout": 600}),
    f"PUT {SANDBOX}/network": Words({"network": "none"}),
    "POST /api/v1/repositories": Words({"projectId": "{project_id}", "url": ELSEWHERE}),
    "GET /api/v1/repositories": Words(query={"projectId": "{project_id}"}),
    "POST /api/v1/projects/{project_id}/repositories": Words({"url": ELSEWHERE}),
    f"POST {REPOSITORY}/operations": Words({"type": "tag", "name": "v{number}"}),
    f"POST {REPOSITORY}/pull-requests": Words({"head": "topic", "base": "main", "title": "Change it"}),
    "GET /api/v1/pull-requests": Words(query={"projectId": "{project_id}"}),
    f"PATCH {PULL_REQUEST}": Words({"title": "Changed"}),
    "POST /api/v1/git-credentials": Words({"projectId": "{project_id}", "host": "one.example", "token": "t"}),
    "POST /api/v1/projects/{project_id}/git-credentials": Words({"host": "two.example", "token": "t"}),
    "GET /api/v1/git-credentials": Words(query={"projectId": "{project_id}"}),
    "POST /api/v1/tasks": Words(NOTHING | {"projectId": "{project_id}"}),
    f"POST {OF_PROJECT}": Words(NOTHING),
    "POST /api/v1/tasks/bulk": Words({"projectId": "{project_id}", "tasks": NOTHINGS}),
    f"POST {OF_PROJECT}/bulk": Words({"tasks": NOTHINGS}),
    "POST /api/v1/tasks/bulk/cancel": Words({"projectId": "{project_id}", "tasks": TASKS}),
    f"POST {OF_PROJECT}/bulk/cancel": Words({"tasks": TASKS}),
    "GET /api/v1/tasks": Words(query={"projectId": "{project_id}"}),
    "POST /api/v1/agents": Words({"projectId": "{project_id}"} | AN_AGENT),
    f"POST {AGENTS}": Words(AN_AGENT),
    "GET /api/v1/agents": Words(query={"projectId": "{project_id}"}),
    f"PATCH {AGENT}": Words({"role": "reviewer"}),
    f"POST {AGENT}/activity": Words({"message": "Well done"}),
    f"POST {AGENT}/start-task": Words({"title": "Do nothing"}),
    "POST /api/v1/schedules": Words({"projectId": "{project_id}"} | A_SCHEDULE),
    f"POST {SCHEDULES}": Words(A_SCHEDULE),
    "GET /api/v1/schedules": Words(query={"projectId": "{project_id}"}),
    f"PATCH {SCHEDULE}": Words({"overlap": "queue"}),
    "POST /api/v1/triggers": Words({"projectId": "{project_id}"} | A_TRIGGER),
    f"POST {TRIGGERS}": Words(A_TRIGGER),
    "GET /api/v1/triggers": Words(query={"projectId": "{project_id}"}),
    f"PATCH {TRIGGER}": Words({"perMinute": 30}),
    f"DELETE {TRIGGER}": Words(about={"trigger_id": "other_trigger_id"}),
    "POST /api/v1/notifications": Words({"projectId": "{project_id}"} | A_NOTIFICATION),
    f"POST {NOTIFICATIONS}": Words(A_NOTIFICATION),
    "GET /api/v1/notifications": Words(query={"projectId": "{project_id}"}),
    f"PATCH {NOTIFICATION}": Words({"states": ["waiting"]}),
    f"DELETE {NOTIFICATION}": Words(about={"notification_id": "other_notification_id"}),
    "POST /api/v1/hooks/{token}": Words({}, path={"token": "nobody-has-this-address"}),
    f"DELETE {SCHEDULE}": Words(about={"schedule_id": "other_schedule_id"}),
    f"DELETE {AGENT}": Words(about={"agent_id": "other_agent_id"}),
    "POST /api/v1/attachments": Words(
        query={"projectId": "{project_id}", "name": "notes.txt"}, content=b"Some notes"
    ),
    f"POST {ATTACHMENTS_OF_PROJECT}": Words(query={"name": "notes.txt"}, content=b"Some notes"),
    f"GET {RUN}/artifacts/{{artifact}}": Words(path={"artifact": "changes.diff"}),
    f"POST {RUN}/answer": Words({"approve": True}),
    f"PATCH {TASK}": Words({"title": "Do it better"}),
    f"POST {TASK}/follow-up": Words({"message": "And more"}, about={"task_id": "other_task_id"}),
    f"GET {REPOSITORY}/file": Words(query={"path": "README.md"}),
    f"GET {REPOSITORY}/blame": Words(query={"path": "README.md"}),
    f"PATCH {REPOSITORY}": Words({"name": "renamed"}),
    f"PUT {FILES}": Words(query={"path": "file"}, content=b"content"),
    f"GET {FILES}": Words(query={"path": "file"}),
    f"GET {FILES}/stat": Words(query={"path": "file"}),
    f"POST {FILES}/mkdir": Words({"path": "folder"}),
    f"PUT {FILES}/archive": Words(content=b"no archive"),
    f"POST {FILES}/move": Words({"path": "file", "to": "moved"}),
    f"DELETE {FILES}": Words(query={"path": "moved"}),
    f"GET {PROCESS}": WAITING,
    f"GET {PROCESS}/output": WAITING,
    f"POST {PROCESS}/signal": replace(WAITING, body={"signal": 15}),
    f"GET {KIND}/schema": Words(path=A_GHOST),
    f"GET {KIND}": Words(query=IN_NAMESPACE, path=A_GHOST),
    f"GET {ONE}": OF_GHOST,
    f"GET {ONE}/resolved": OF_GHOST,
    f"GET {ONE}/history": OF_GHOST,
    f"GET {ONE}/history/{{generation}}": OF_GHOST,
    f"GET {PACKAGE}": OF_SKILL,
    f"GET {PACKAGE}/files": OF_SKILL,
    f"POST {KIND}": Words(
        {"metadata": {"name": "new-{number}", "namespace": "{namespace}"}, "spec": PROMPT}, path=A_GHOST
    ),
    f"PUT {ONE}": Words(
        {"metadata": {"namespace": "{namespace}"}, "spec": PROMPT}, about=CALLED_GHOST, path=A_GHOST
    ),
    f"PATCH {ONE}": Words({"spec": PROMPT}, IN_NAMESPACE, about=CALLED_GHOST, path=A_GHOST),
    f"POST {ONE}/history/{{generation}}/rollback": OF_GHOST,
    f"PUT {PACKAGE}": Words(
        query=IN_NAMESPACE, about=CALLED_SKILL, content=SKILL_PACKAGE, media=ZIP, makes=True
    ),
    "POST /api/v1/apply": Words(content=DOCUMENTS, media=YAML),
    "POST /api/v1/apply/archive": Words(query={"into": "{namespace}"}, content=ARCHIVE, media=ZIP),
    f"DELETE {ONE}": OF_GHOST,
    f"POST {ONE}/restore": OF_GHOST,
}
