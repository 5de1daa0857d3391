"""Packages of skills, and where they are stored."""

import io
import zipfile
from collections.abc import Mapping
from typing import Any

import httpx

from signalbox_common.contracts.streams import PACKAGE_BUCKET, PACKAGES
from tests.support.catalog import KINDS, Catalog
from tests.support.installation import Installation

SKILLS = f"{KINDS}/skills"
ZIP = {"content-type": "application/zip"}
MIB = 1024 * 1024


def skill_md(name: str | None = "lint", **more: Any) -> bytes:
    lines = [f"name: {name}"] if name is not None else []
    lines += ["description: Checks style.", *(f"{key}: {value}" for key, value in more.items())]
    return "\n".join(["---", *lines, "---", "# What to do", ""]).encode()


def packed(files: Mapping[str, bytes], compression: int = zipfile.ZIP_DEFLATED) -> bytes:
    """A ZIP; what ends with `.sh` may be executed."""
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w", compression) as archive:
        for path, content in files.items():
            entry = zipfile.ZipInfo(path)
            entry.external_attr = (0o100755 if path.endswith(".sh") else 0o100644) << 16
            entry.compress_type = compression
            archive.writestr(entry, content)
    return written.getvalue()


def package(text: str = "one", name: str | None = "lint", **more: Any) -> bytes:
    files = {
        "SKILL.md": skill_md(name, **more),
        "scripts/check.sh": b"#!/bin/sh\n",
        "notes.txt": text.encode(),
    }
    return packed(files)


async def put(
    catalog: Catalog, content: bytes, name: str = "lint", headers: dict[str, str] | None = None, **query: Any
) -> httpx.Response:
    sent = (headers or catalog.headers) | ZIP
    return await catalog.http.put(f"{SKILLS}/{name}/package", content=content, headers=sent, params=query)


async def get(
    catalog: Catalog, name: str = "lint", headers: dict[str, str] | None = None, **query: Any
) -> httpx.Response:
    where = f"{SKILLS}/{name}/package"
    return await catalog.http.get(where, headers=headers or catalog.headers, params=query)


async def taken(catalog: Catalog, content: bytes, name: str = "lint", **query: Any) -> Any:
    """The skill, when the package was good."""
    answer = await put(catalog, content, name, **query)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def objects(installation: Installation) -> set[str]:
    """What lies in the bucket."""
    async with installation.nats() as client:
        state = (await client.jetstream().stream_info(PACKAGES.name)).state
        if not state.messages:
            return set()
        store = await client.jetstream().object_store(PACKAGE_BUCKET)
        return {str(info.name) for info in await store.list() if not info.deleted}


async def tidy(catalog: Catalog) -> None:
    async with catalog.service.database.transaction() as transaction:
        await catalog.service.tidy(transaction)
