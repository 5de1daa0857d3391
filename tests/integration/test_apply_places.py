"""Where documents go, and what pruning takes."""

from typing import Any

import pytest

from tests.support.applying import GHOST, SHELL, a_team, actions, all_told, places, project, state
from tests.support.catalog import Catalog, catalog_of
from tests.support.factories import THEIRS, applied, document, refused, text_of
from tests.support.installation import Installation

# -- where it goes ----------------------------------------------------------------------------------------


async def test_namespaces_of_documents_and_of_references(installation: Installation) -> None:
    async with catalog_of(installation) as catalog:
        _, slug = await project(catalog, "Somewhere else")
        text = text_of(
            document("Ghost", "none", GHOST),
            document("Ghost", "empty", GHOST, namespace=""),
            document("Ghost", "home", GHOST, namespace="default"),
            document("Ghost", "own", GHOST, namespace=catalog.namespace),
            document("Ghost", "there", GHOST, namespace=slug),
        )
        named = [item["namespace"] for item in await applied(catalog, text)]
        assert named == [catalog.namespace] * 4 + [slug]
        items = await applied(catalog, text, namespace=slug)
        assert [item["namespace"] for item in items] == [slug, slug, *[catalog.namespace] * 2, slug]
        assert actions(items) == ["created", "created", "unchanged", "unchanged", "unchanged"]
        assert {
            item["metadata"]["name"] for item in (await catalog.get("ghosts", namespace=slug))["items"]
        } == {
            "none",
            "empty",
            "there",
        }

        def bot(name: str, ghost: dict[str, str]) -> dict[str, Any]:
            return document("Bot", name, {"ghostRef": ghost, "shellRef": {"name": "shell"}}, namespace=slug)

        bots = text_of(
            document("Shell", "shell", SHELL, namespace=slug),
            bot("near", {"name": "there"}),
            bot("far", {"name": "home", "namespace": "default"}),
            bot("named", {"name": "own", "namespace": catalog.namespace}),
        )
        assert actions(await applied(catalog, bots)) == ["created"] * 4
        where = {
            name: (await catalog.get(f"bots/{name}/resolved", namespace=slug))["references"]["ghostRef"]
            for name in ("near", "far", "named")
        }
        assert {name: ghost["metadata"]["namespace"] for name, ghost in where.items()} == {
            "near": slug,
            "far": catalog.namespace,
            "named": catalog.namespace,
        }
        far = await catalog.get("bots/far", namespace=slug)
        assert far["spec"]["ghostRef"] == {"name": "home", "namespace": catalog.namespace}, (
            "to others it is another"
        )
        assert actions(await applied(catalog, bots)) == ["unchanged"] * 4
        lost = text_of(bot("lost", {"name": "home"}))
        errors = refused(await catalog.apply(lost), 422, "validation_failed")
        assert places(errors, lost) == [(1, "spec.ghostRef", "reference_not_found")]
        assert errors[0]["message"] == f"There is no ghost home in the namespace {slug}."


async def test_a_reference_to_the_default_namespace(installation: Installation) -> None:
    """As every exported file has them: nothing else in it says what `default` is called."""
    async with catalog_of(installation) as catalog:
        ghost = document("Ghost", "ghost", GHOST, namespace="default")
        refs = {"ghostRef": {"name": "ghost", "namespace": "default"}, "shellRef": {"name": "shell"}}
        bot = document("Bot", "bot", refs, namespace="default")
        text = text_of(ghost, bot, document("Shell", "shell", SHELL, namespace="default"))
        assert actions(await applied(catalog, text)) == ["created"] * 3
        spec = (await catalog.get("bots/bot"))["spec"]
        assert spec == {
            "ghostRef": {"name": "ghost", "namespace": catalog.namespace},
            "shellRef": {"name": "shell"},
        }


@pytest.mark.fresh
async def test_namespaces_of_others_are_not_there(installation: Installation) -> None:
    async with catalog_of(installation) as catalog:
        project_id, slug = await project(catalog, "Closed")
        viewer = await catalog.http.join(catalog.headers, project_id, "viewer")
        developer = await catalog.http.join(catalog.headers, project_id, "developer")
        stranger = await catalog.http.sign_up()
        text = text_of(
            document("Ghost", "mine", GHOST),
            document("Ghost", "theirs", GHOST, namespace=slug),
            document("Ghost", "nowhere", GHOST, namespace="nowhere"),
        )
        closed = [(number, "metadata.namespace", "project_not_found") for number in (2, 3)]
        errors = refused(await catalog.apply(text, stranger), 404, "project_not_found")
        assert places(errors, text) == closed
        known = text_of(document("Ghost", "mine", GHOST), document("Ghost", "theirs", GHOST, namespace=slug))
        low = refused(await catalog.apply(known, viewer), 403, "role_too_low")
        assert places(low, known) == [(2, "metadata.namespace", "role_too_low")]
        assert await installation.count("catalog.resources") == 0
        done = await catalog.apply(known, developer)
        assert actions(done.json()["items"]) == ["created", "created"]
        bot = text_of(
            document("Shell", "s", SHELL),
            document("Bot", "b", {"ghostRef": {"name": "theirs", "namespace": slug}, "shellRef": "s"}),
        )
        errors = refused(await catalog.apply(bot, stranger), 422, "validation_failed")
        nobody = refused(
            await catalog.apply(bot.replace(slug, "nowhere"), stranger), 422, "validation_failed"
        )
        assert [error["code"] for error in errors] == ["reference_not_found"]
        assert errors[0]["message"].replace(slug, "nowhere") == nobody[0]["message"], (
            "nothing tells them apart"
        )
        assert actions((await catalog.apply(bot, viewer)).json()["items"]) == ["created", "created"]


@pytest.mark.fresh
async def test_documents_come_in_any_order(installation: Installation) -> None:
    async with catalog_of(installation) as catalog:
        documents = a_team()
        items = await applied(catalog, text_of(*documents))
        assert [item["kind"] for item in items] == ["Team", "Bot", "Ghost", "Model", "Shell", "Skill"]
        assert actions(items) == ["created"] * 6
        told = await all_told(installation, 6)
        assert [version for _, _, version in told] == [str(number) for number in range(1, 7)]
        order = [name for _, name, _ in told]
        for before, after in (("skill", "ghost"), ("ghost", "bot"), ("shell", "bot"), ("bot", "team")):
            assert order.index(before) < order.index(after), "nobody hears of what refers to nothing yet"
        for turn in range(1, 6):
            _, slug = await project(catalog, f"Turn {turn}")
            turned = documents[turn:] + documents[:turn]
            items = await applied(catalog, text_of(*turned), namespace=slug)
            assert actions(items) == ["created"] * 6
            assert [item["kind"] for item in items] == [each["kind"] for each in turned]
            tree = await catalog.get("teams/team/resolved", namespace=slug)
            ghost = tree["references"]["members.0.botRef"]["references"]["ghostRef"]
            assert ghost["references"]["skills.0"]["metadata"]["namespace"] == slug


# -- pruning ----------------------------------------------------------------------------------------------


async def names(catalog: Catalog, **query: Any) -> set[str]:
    plurals = ("ghosts", "models", "shells", "bots", "teams", "skills")
    pages = [await catalog.get(plural, **query) for plural in plurals]
    return {item["metadata"]["name"] for page in pages for item in page["items"]}


async def test_pruning_takes_what_the_selector_finds_and_nothing_else(installation: Installation) -> None:
    async with catalog_of(installation) as catalog:
        _, slug = await project(catalog, "Next door")
        ours: dict[str, Any] = {"labels": {"app": "x", "env": "test"}}
        for plural in ("ghosts", "shells"):
            await catalog.create(plural, f"old-{plural}", **ours)
            await catalog.create(plural, f"others-{plural}", labels={"app": "y"})
            await catalog.create(plural, f"bare-{plural}")
            await catalog.create(plural, f"next-{plural}", namespace=slug, **ours)
        refs = {"ghostRef": "old-ghosts", "shellRef": "old-shells"}
        await catalog.create("bots", "old-bot", refs, **ours)
        text = text_of(document("Ghost", "kept", GHOST, **ours), document("Ghost", "others-ghosts", GHOST))
        items = await applied(catalog, text, prune=True, labelSelector="app=x,env in (test, prod)")
        assert actions(items) == ["created", "updated", "deleted", "deleted", "deleted"]
        assert [(item["document"], item["line"]) for item in items[2:]] == [(None, None)] * 3
        assert {item["name"] for item in items[2:]} == {"old-ghosts", "old-shells", "old-bot"}
        assert {item["namespace"] for item in items} == {catalog.namespace}
        left = {"kept", "others-ghosts", "others-shells", "bare-ghosts", "bare-shells"}
        assert await names(catalog) == left
        assert await names(catalog, namespace=slug) == {"next-ghosts", "next-shells"}
        again = await applied(catalog, text, prune=True, labelSelector="app=x")
        assert actions(again) == ["unchanged", "unchanged"]
        both = text + text_of(document("Ghost", "there", GHOST, namespace=slug)).join(("---\n", ""))
        items = await applied(catalog, both, prune=True, labelSelector="app=x")
        assert {(item["namespace"], item["name"]) for item in items if item["action"] == "deleted"} == {
            (slug, "next-ghosts"),
            (slug, "next-shells"),
        }
        gone = [item["metadata"]["name"] for item in (await catalog.get("bots", deleted=True))["items"]]
        assert gone == ["old-bot"], "it can be restored"


async def test_pruning_takes_a_selector(installation: Installation) -> None:
    async with catalog_of(installation) as catalog:
        await catalog.create("ghosts", "there", labels={"app": "x"})
        text = text_of(document("Ghost", "new", GHOST))
        for selector in (None, "", "  "):
            query = {"prune": True} | ({"labelSelector": selector} if selector is not None else {})
            errors = refused(await catalog.apply(text, None, **query), 422, "validation_failed")
            assert [(error["field"], error["code"]) for error in errors] == [
                ("labelSelector", "selector_needed")
            ]
        bad = refused(await catalog.apply(text, prune=True, labelSelector="a=b=c"), 422, "validation_failed")
        assert bad[0]["code"] == "bad_selector"
        assert await names(catalog) == {"there"}
        assert actions(await applied(catalog, text, labelSelector="app=x")) == ["created"], (
            "no pruning asked for"
        )
        assert await names(catalog) == {"there", "new"}


async def test_what_is_referred_to_within_its_project_is_not_pruned(installation: Installation) -> None:
    async with catalog_of(installation) as catalog:
        _, slug = await project(catalog, "Holder")
        ours: dict[str, Any] = {"labels": {"app": "x"}}
        await catalog.create("ghosts", "wanted", **ours)
        await catalog.create("ghosts", "free", **ours)
        await catalog.create("shells", "shell")
        refs = {"ghostRef": "wanted", "shellRef": "shell"}
        await catalog.create("bots", "holder", refs)
        before = await state(installation)
        text = text_of(document("Ghost", "new", GHOST))
        answer = await catalog.apply(text, prune=True, labelSelector="app=x")
        errors = refused(answer, 409, "still_referenced")
        assert [error["field"] for error in errors] == [f"Bot/{catalog.namespace}/holder"]
        assert await state(installation) == before, "the documents are not applied, either"
        moved = text_of(
            document("Ghost", "new", GHOST),
            document("Bot", "holder", {"ghostRef": "new", "shellRef": "shell"}),
        )
        items = await applied(catalog, moved, prune=True, labelSelector="app=x")
        assert actions(items) == ["created", "updated", "deleted", "deleted"], "nobody refers to it any more"
        await catalog.create("ghosts", "far", **ours)
        far = {"ghostRef": {"name": "far", "namespace": catalog.namespace}, "shellRef": "s"}
        await applied(
            catalog,
            text_of(document("Shell", "s", SHELL), document("Bot", "b", far)),
            namespace=slug,
        )
        items = await applied(catalog, text, prune=True, labelSelector="app=x")
        assert actions(items) == ["unchanged", "deleted"], "what is in another project keeps nothing here"
        tree = await catalog.get("bots/b/resolved", namespace=slug)
        assert tree["references"]["ghostRef"]["broken"]


@pytest.mark.parametrize(
    "text", ["", text_of(document("Task", "t", {}, api=THEIRS))], ids=["nothing", "only-foreign-documents"]
)
async def test_who_may_only_read_prunes_nothing(installation: Installation, text: str) -> None:
    """Even where no document names a namespace that would have to be checked."""
    async with catalog_of(installation) as catalog:
        project_id, slug = await project(catalog, "Ours")
        await catalog.create("ghosts", "precious", labels={"app": "x"}, namespace=slug)
        viewer = await catalog.http.join(catalog.headers, project_id, "viewer")
        stranger = await catalog.http.sign_up()
        for who, status in ((viewer, 403), (stranger, 404)):
            answer = await catalog.apply(text, who, namespace=slug, prune=True, labelSelector="app=x")
            assert (await catalog.get("ghosts", namespace=slug))["items"], "it is still there"
            assert answer.status_code in (status, 422), answer.text
