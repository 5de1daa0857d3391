"""Files and differences of repositories, as bytes."""

import re
import uuid

from pydantic import TypeAdapter, ValidationError
from starlette.responses import Response

from signalbox_common.contracts import git as contract
from signalbox_common.dataplane import DataRequest, DataServer
from signalbox_common.errors import Unavailable, invalid
from signalbox_git import errors
from signalbox_git.service.contents import Contents

_REVISION: TypeAdapter[str] = TypeAdapter(contract.Revision)
_PATH: TypeAdapter[str] = TypeAdapter(contract.TreePath)
_WHOLE = re.compile(r"[0-9a-f]{40}")


class ContentRoutes:
    def __init__(self, contents: Contents) -> None:
        self._contents = contents

    def register(self, server: DataServer) -> None:
        server.on(contract.READ_BLOB)(self._file)
        server.on(contract.READ_DIFF)(self._diff)

    async def _file(self, request: DataRequest) -> Response:
        project, repository = request.principal.project(), repository_of(request)
        path = _checked(_PATH, request, "path")
        if path is None:
            raise errors.PathNotFound
        ref = _checked(_REVISION, request, "ref")
        content = await self._contents.file(project, repository, ref, path)
        return _from(request, content, ref)

    async def _diff(self, request: DataRequest) -> Response:
        project, repository = request.principal.project(), repository_of(request)
        base, head = _checked(_REVISION, request, "base"), _checked(_REVISION, request, "head")
        path = _checked(_PATH, request, "path")
        return _from(request, await self._contents.diff(project, repository, base, head, path), base, head)


def _from(request: DataRequest, content: bytes, *revisions: str | None) -> Response:
    """Goes on where it was cut; not where a branch may have moved meanwhile."""
    offset = request.offset()
    if offset and not all(each is not None and _WHOLE.fullmatch(each) for each in revisions):
        raise Unavailable("The answer was cut: ask again.")
    return Response(content[offset:], media_type="application/octet-stream")


def repository_of(request: DataRequest) -> uuid.UUID:
    try:
        return uuid.UUID(request.path["repository"])
    except ValueError:
        raise errors.RepositoryNotFound from None


def _checked(kind: TypeAdapter[str], request: DataRequest, name: str) -> str | None:
    value = request.query.get(name)
    if value is None:
        return None
    try:
        return kind.validate_python(value)
    except ValidationError as error:
        raise invalid(error) from error
