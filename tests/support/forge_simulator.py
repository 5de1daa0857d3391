"""The part of GitHub's REST API that is asked here, beside the repositories of a remote.

What real forges do is shown against real ones; this one stands where their faults, and our deaths, are what
matters.
"""

import json
import re
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from tests.support.checkouts import git
from tests.support.remotes import TOKEN, Behaviour, HttpRemote

API = "/api/v3"
OWNER = "acme"
Json = dict[str, Any]


@dataclass
class ForgeSimulator:
    """Its repositories are those of the remote below `acme`."""

    remote: HttpRemote
    token: str = TOKEN
    pulls: dict[str, list[Json]] = field(default_factory=dict)
    """By repository, oldest first."""
    asked: list[tuple[str, str, Any]] = field(default_factory=list)
    """Method, address and body."""
    shown: list[str | None] = field(default_factory=list)
    before: list[Behaviour] = field(default_factory=list)
    afterwards: list[Behaviour] = field(default_factory=list)
    """When it has acted, and nobody has heard of it yet; who answers then has done so."""
    people: frozenset[str] = frozenset({"alice"})
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @staticmethod
    def beside(remote: HttpRemote) -> "ForgeSimulator":
        found = ForgeSimulator(remote)
        remote.behaviours.append(found.serve)
        return found

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.remote.port}{API}"

    # -- what people do there ------------------------------------------------------------------------------

    def merge(self, name: str, number: int, *, squash: bool = False) -> None:
        """And removes the branch."""
        pull = self.pulls[name][number - 1]
        folder = self.remote.folder / OWNER / f"{name}.git"
        base, head = f"refs/heads/{pull['base']['ref']}", f"refs/heads/{pull['head']['ref']}"
        commit = git(folder, "rev-parse", head).strip()
        if squash:
            commit = git(folder, "commit-tree", f"{head}^{{tree}}", "-p", base, "-m", pull["title"]).strip()
        git(folder, "update-ref", base, commit)
        git(folder, "update-ref", "-d", head)
        pull |= {"state": "closed", "merged": True, "merged_at": "2026-01-01T00:00:00Z"}

    # -- what is asked -------------------------------------------------------------------------------------

    def serve(self, handler: Any) -> bool:
        url = urlsplit(handler.path)
        if not url.path.startswith(f"{API}/"):
            return False
        self.asked.append((handler.command, handler.path, _body_of(handler)))
        self.shown.append(handler.headers.get("Authorization"))
        if any(behave(handler) for behave in list(self.before)):
            return True
        if handler.headers.get("Authorization") != f"Bearer {self.token}":
            _answer(handler, 401, {"message": "Bad credentials"})
            return True
        with self._lock:
            status, body = self._routed(
                handler.command, url.path.removeprefix(API), url.query, _body_of(handler)
            )
        if not any(behave(handler) for behave in list(self.afterwards)):
            _answer(handler, status, body)
        return True

    def _routed(self, method: str, path: str, query: str, body: Json) -> tuple[int, Any]:
        asked = {name: values[0] for name, values in parse_qs(query).items()}
        for pattern, routed, act in self._routes():
            found = re.fullmatch(pattern, path)
            if found is not None and routed == method:
                return act(asked | body, *map(unquote, found.groups()))
        return 404, {"message": "Not Found"}

    def _routes(self) -> tuple[tuple[str, str, Callable[..., tuple[int, Any]]], ...]:
        of = rf"/repos/{OWNER}/([^/]+)"
        return (
            (rf"{of}/pulls", "GET", self._list),
            (rf"{of}/pulls", "POST", self._open),
            (rf"{of}/pulls/(\d+)", "GET", self._get),
            (rf"{of}/pulls/(\d+)", "PATCH", self._change),
            (rf"{of}/commits/([0-9a-f]+)/pulls", "GET", self._of_commit),
            (rf"{of}/issues/(\d+)/labels", "POST", self._label),
            (rf"{of}/pulls/(\d+)/requested_reviewers", "POST", self._ask_reviewers),
            ("/user/repos", "GET", self._visible),
        )

    def _list(self, asked: Json, name: str) -> tuple[int, Any]:
        found = [
            self._now(name, each)
            for each in self.pulls.get(name, [])
            if asked.get("head") in (None, f"{OWNER}:{each['head']['ref']}")
            and asked.get("base") in (None, each["base"]["ref"])
            and asked.get("state", "open") in ("all", each["state"])
        ]
        size, page = int(asked.get("per_page", 30)), int(asked.get("page", 1))
        return 200, found[::-1][(page - 1) * size : page * size]

    def _open(self, asked: Json, name: str) -> tuple[int, Any]:
        heads = self._branches(name)
        if asked["head"] not in heads or asked["base"] not in heads:
            return 422, {"message": "Validation Failed", "errors": [{"field": "head", "code": "invalid"}]}
        if heads[asked["head"]] == heads[asked["base"]]:
            return 422, {"message": "Validation Failed", "errors": [{"message": "No commits between"}]}
        pulls = self.pulls.setdefault(name, [])
        for each in pulls:
            if (each["head"]["ref"], each["base"]["ref"], each["state"]) == (
                asked["head"],
                asked["base"],
                "open",
            ):
                message = f"A pull request already exists for {OWNER}:{asked['head']}."
                return 422, {"message": "Validation Failed", "errors": [{"message": message}]}
        number = len(pulls) + 1
        pulls.append(
            {
                "number": number,
                "html_url": f"http://127.0.0.1:{self.remote.port}/{OWNER}/{name}/pull/{number}",
                "state": "open",
                "draft": bool(asked.get("draft")),
                "merged": False,
                "merged_at": None,
                "title": asked["title"],
                "body": asked.get("body"),
                "head": {
                    "ref": asked["head"],
                    "sha": heads[asked["head"]],
                    "repo": {"full_name": f"{OWNER}/{name}"},
                },
                "base": {"ref": asked["base"], "repo": {"full_name": f"{OWNER}/{name}"}},
                "labels": [],
                "requested_reviewers": [],
            }
        )
        return 201, pulls[-1]

    def _get(self, _asked: Json, name: str, number: str) -> tuple[int, Any]:
        return self._of(name, number, lambda pull: (200, pull))

    def _change(self, asked: Json, name: str, number: str) -> tuple[int, Any]:
        def change(pull: Json) -> tuple[int, Any]:
            pull |= {each: asked[each] for each in ("title", "body", "state") if each in asked}
            return 200, pull

        return self._of(name, number, change)

    def _label(self, asked: Json, name: str, number: str) -> tuple[int, Any]:
        def label(pull: Json) -> tuple[int, Any]:
            named = {each["name"] for each in pull["labels"]}
            pull["labels"] += [{"name": each} for each in asked["labels"] if each not in named]
            return 200, pull["labels"]

        return self._of(name, number, label)

    def _ask_reviewers(self, asked: Json, name: str, number: str) -> tuple[int, Any]:
        def request(pull: Json) -> tuple[int, Any]:
            if not self.people.issuperset(asked["reviewers"]):
                return 422, {"message": "Reviews may only be requested from collaborators."}
            pull["requested_reviewers"] = [{"login": each} for each in asked["reviewers"]]
            return 201, pull

        return self._of(name, number, request)

    def _of_commit(self, _asked: Json, name: str, commit: str) -> tuple[int, Any]:
        found = [self._now(name, each) for each in self.pulls.get(name, [])]
        return 200, [each for each in found if each["head"]["sha"] == commit]

    def _visible(self, asked: Json) -> tuple[int, Any]:
        found = [
            {
                "full_name": f"{OWNER}/{folder.stem}",
                "clone_url": self.remote.url(f"{OWNER}/{folder.name}"),
                "default_branch": "main",
                "private": True,
            }
            for folder in sorted((self.remote.folder / OWNER).iterdir())
        ]
        size, page = int(asked.get("per_page", 30)), int(asked.get("page", 1))
        return 200, found[(page - 1) * size : page * size]

    # -- what it knows -------------------------------------------------------------------------------------

    def _of(self, name: str, number: str, act: Callable[[Json], tuple[int, Any]]) -> tuple[int, Any]:
        pulls = self.pulls.get(name, [])
        if not 1 <= int(number) <= len(pulls):
            return 404, {"message": "Not Found"}
        return act(self._now(name, pulls[int(number) - 1]))

    def _now(self, name: str, pull: Json) -> Json:
        """Its head is where its branch is, as long as it is open and that is there."""
        commit = self._branches(name).get(pull["head"]["ref"])
        if pull["state"] == "open" and commit is not None:
            pull["head"]["sha"] = commit
        return pull

    def _branches(self, name: str) -> dict[str, str]:
        folder = self.remote.folder / OWNER / f"{name}.git"
        said = git(folder, "for-each-ref", "--format=%(refname:short) %(objectname)", "refs/heads")
        return dict(line.split(" ") for line in said.splitlines())


def _body_of(handler: Any) -> Json:
    found: Json = json.loads(handler.body or b"{}")
    return found


def _answer(handler: Any, status: int, body: Any) -> None:
    handler.answer(status, json.dumps(body).encode(), Content_Type="application/json")
