"""Contract in, use case, contract out."""

from signalbox_auth.service import AuthService
from signalbox_common.bus import Call, ServiceBus
from signalbox_common.contracts import auth as contract
from signalbox_common.inbox import Outcome


def register(bus: ServiceBus, service: AuthService) -> None:
    @bus.on_ask(contract.Register)
    async def register_user(call: Call, ask: contract.Register) -> Outcome[contract.User]:
        return await service.register(call, ask)

    @bus.on_ask(contract.Login)
    async def login(_call: Call, ask: contract.Login) -> contract.Session:
        return await service.login(ask)

    @bus.on_query(contract.Me)
    async def me(call: Call, _query: contract.Me) -> contract.User:
        return await service.me(call.principal)

    @bus.on_query(contract.GetGrant)
    async def grant(_call: Call, query: contract.GetGrant) -> contract.Grant:
        return await service.grant(query)

    @bus.on_command(contract.CreateProject)
    async def create_project(call: Call, command: contract.CreateProject) -> Outcome[contract.Project]:
        return await service.create_project(call, command)

    @bus.on_query(contract.ListProjects)
    async def projects(call: Call, query: contract.ListProjects) -> contract.ProjectPage:
        return await service.projects(call.principal, query)

    @bus.on_query(contract.GetProject)
    async def project(call: Call, _query: contract.GetProject) -> contract.Project:
        return await service.project(call.principal)
