"""What is in a repository."""

import uuid
from typing import Annotated, Any

from fastapi import Query
from starlette.responses import Response

from signalbox_common.contracts import git as contract
from signalbox_common.contracts.base import GrantScope
from signalbox_common.contracts.paging import Cursor
from signalbox_gateway.routes.answers import Responses
from signalbox_gateway.routes.at_git import AtRepository, place_at
from signalbox_gateway.routes.router import Routes

routes = Routes("/api/v1/repositories/{repository_id}", "repositories")

RefHere = Annotated[
    contract.Revision | None,
    Query(
        description="A branch, a tag or a commit, and steps back: `main~2`. By default the default branch."
    ),
]
PathHere = Annotated[
    contract.TreePath | None, Query(description="From the root, without a slash at its ends.")
]
Limit = Annotated[int, Query(ge=1, le=200)]


def _bytes(media: str, description: str) -> Responses:
    schema = {"schema": {"type": "string", "format": "binary"}}
    return {200: {"description": description, "content": {media: schema}}}


_OF_CONTENT: dict[str, Any] = {
    "grant": GrantScope.PROJECT,
    "response_class": Response,
    "also": [
        *((404, code) for code in ("repository_not_found", "revision_not_found")),
        (409, "fetch_failed"),
        (413, "too_much"),
        (403, "insufficient_scope"),
    ],
}


@routes.on("GET", "/branches", contract.ListBranches)
async def list_branches(
    here: AtRepository, repository_id: uuid.UUID, cursor: Cursor | None = None, limit: Limit = 50
) -> Response:
    """By name."""
    return await here.send(contract.ListBranches(repository=repository_id, cursor=cursor, limit=limit))


@routes.on("GET", "/tags", contract.ListTags)
async def list_tags(
    here: AtRepository, repository_id: uuid.UUID, cursor: Cursor | None = None, limit: Limit = 50
) -> Response:
    """By name."""
    return await here.send(contract.ListTags(repository=repository_id, cursor=cursor, limit=limit))


@routes.on("GET", "/commits", contract.ListCommits)
async def list_commits(
    here: AtRepository,
    repository_id: uuid.UUID,
    ref: RefHere = None,
    path: PathHere = None,
    cursor: Cursor | None = None,
    limit: Limit = 50,
) -> Response:
    """Newest first; of one path, those that have changed it."""
    return await here.send(
        contract.ListCommits(repository=repository_id, ref=ref, path=path, cursor=cursor, limit=limit)
    )


@routes.on("GET", "/commit", contract.ShowCommit)
async def show_commit(here: AtRepository, repository_id: uuid.UUID, ref: RefHere = None) -> Response:
    """With the files that it has changed against its first parent."""
    return await here.send(contract.ShowCommit(repository=repository_id, ref=ref))


@routes.on("GET", "/tree", contract.ListTree)
async def list_tree(
    here: AtRepository, repository_id: uuid.UUID, ref: RefHere = None, path: PathHere = None
) -> Response:
    """What lies in one folder."""
    return await here.send(contract.ListTree(repository=repository_id, ref=ref, path=path))


@routes.on("GET", "/blame", contract.GetBlame)
async def get_blame(
    here: AtRepository,
    repository_id: uuid.UUID,
    path: Annotated[contract.TreePath, Query()],
    ref: RefHere = None,
) -> Response:
    """Which commit each line of a file comes from."""
    return await here.send(contract.GetBlame(repository=repository_id, ref=ref, path=path))


@routes.on(
    "GET",
    "/file",
    shows=_bytes("application/octet-stream", "The bytes of the file."),
    **_OF_CONTENT | {"also": [*_OF_CONTENT["also"], (404, "path_not_found")]},
)
async def read_repository_file(
    here: AtRepository,
    repository_id: uuid.UUID,
    path: Annotated[contract.TreePath, Query()],
    ref: RefHere = None,
) -> Response:
    place = await place_at(here, contract.READ_BLOB, repository=repository_id, ref=ref, path=path)
    return await here.clients.bytes.download(here.someone, place)


@routes.on("GET", "/diff", shows=_bytes("text/x-diff", "A unified diff."), **_OF_CONTENT)
async def read_diff(
    here: AtRepository,
    repository_id: uuid.UUID,
    base: Annotated[
        contract.Revision | None,
        Query(description="Shows what `head` has beyond where it left this one; by default its parent."),
    ] = None,
    head: RefHere = None,
    path: PathHere = None,
) -> Response:
    """Of one commit, or of two as a pull request would show it."""
    place = await place_at(
        here, contract.READ_DIFF, repository=repository_id, base=base, head=head, path=path
    )
    return await here.clients.bytes.download(here.someone, place, media_type="text/x-diff")
