"""What the bus does around a use case: it takes effect once, and every repeat is answered the same."""

import pytest

from signalbox_auth.service.projects import Projects
from signalbox_common.bus import Call
from signalbox_common.bus.calls import Handled
from signalbox_common.contracts import auth as contract
from signalbox_common.outcomes import Outcome
from tests.support.usecases import Scene, principal
from tests.usecases.people import person, project

CREATE = contract.CreateProject(name="Mine", slug="mine")


async def test_a_repeat_is_answered_without_the_use_case(auth: Scene) -> None:
    call = auth.call(CREATE, principal((await person(auth, "ada")).id))
    first = await call.take_effect(Projects(auth.database).create, CREATE)
    told = await auth.told()
    again = await call.take_effect(_never, CREATE)
    assert (again.body, again.failed, again.replayed) == (first.body, False, True)
    assert await auth.told() == told
    other = await call.about("something else").take_effect(_never, CREATE)
    assert other.failed
    assert b"idempotency_key_reused" in other.body


async def test_a_refusal_is_an_answer_too_and_undoes_what_was_done(auth: Scene) -> None:
    ada = await project(auth, await person(auth, "ada"))
    told = await auth.told()
    update, projects = contract.UpdateProject(name="New"), Projects(auth.database)
    call = auth.call(update, ada)

    async def change_twice(call: Call, command: contract.UpdateProject) -> Handled:
        await projects.update(call, command)
        return await projects.update(call, contract.UpdateProject())

    refused = await call.take_effect(change_twice, update)
    assert refused.failed
    assert (await auth.do(projects.get, contract.GetProject(), ada)).name == "Project"
    assert await auth.told() == told
    again = await call.take_effect(_never, update)
    assert (again.body, again.failed, again.replayed) == (refused.body, True, True)


async def test_who_opens_the_transaction_says_so(auth: Scene) -> None:
    call = auth.call(CREATE, principal((await person(auth, "ada")).id))

    async def opens_one_more(call: Call, command: contract.CreateProject) -> Outcome[contract.Project]:
        return await call.take_effect(Projects(auth.database).create, command)

    with pytest.raises(TypeError, match="opened a transaction of its own"):
        await call.take_effect(opens_one_more, CREATE)


async def _never(_call: Call, _request: contract.CreateProject) -> Handled:
    raise AssertionError("it was answered before")
