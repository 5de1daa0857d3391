"""Which use case answers which contract."""

from signalbox_auth.service.audit import Audit
from signalbox_auth.service.devices import Devices
from signalbox_auth.service.grants import Grants
from signalbox_auth.service.invitations import Invitations
from signalbox_auth.service.keys import Keys
from signalbox_auth.service.members import Members
from signalbox_auth.service.projects import Projects
from signalbox_auth.service.quotas import QuotaDesk
from signalbox_auth.service.recovery import Recovery
from signalbox_auth.service.sessions import Sessions
from signalbox_auth.service.tokens import Tokens
from signalbox_auth.service.users import Users
from signalbox_common.bus import ServiceBus
from signalbox_common.contracts import auth as contract
from signalbox_common.contracts.streams import AUDIT

AUDIT_LINGER = 0.2
"""Seconds that a line may wait for others, to be written with them at a fraction of the cost."""


def register_users(bus: ServiceBus, users: Users, sessions: Sessions, devices: Devices) -> None:
    bus.on_ask(contract.Register, own_transaction=True)(users.register)
    bus.on_ask(contract.AdminRegister, own_transaction=True)(users.admin_register)
    bus.on_query(contract.GetMe)(users.me)
    bus.on_command(contract.UpdateMe)(users.update_me)
    bus.on_ask(contract.ChangeEmail, own_transaction=True)(users.change_email)
    bus.on_ask(contract.ChangePassword, own_transaction=True)(users.change_password)
    bus.on_query(contract.ListUsers)(users.page)
    bus.on_query(contract.GetUser)(users.get)
    bus.on_command(contract.UpdateUser)(users.update)

    bus.on_ask(contract.Login, own_transaction=True)(sessions.login)
    bus.on_ask(contract.Refresh, own_transaction=True)(sessions.refresh)
    bus.on_ask(contract.Logout)(sessions.logout)
    bus.on_query(contract.ListSessions)(sessions.page)
    bus.on_command(contract.RevokeSession)(sessions.revoke)
    bus.on_command(contract.RevokeOtherSessions)(sessions.revoke_others)

    bus.on_ask(contract.StartDevice)(devices.start)
    bus.on_query(contract.GetDevice)(devices.info)
    bus.on_ask(contract.DecideDevice)(devices.decide)
    bus.on_ask(contract.PollDevice, own_transaction=True)(devices.poll)


def register_links(bus: ServiceBus, invitations: Invitations, recovery: Recovery) -> None:
    bus.on_ask(contract.CreateInvitation)(invitations.create)
    bus.on_ask(contract.CreateProjectInvitation)(invitations.create_in_project)
    bus.on_query(contract.ListInvitations)(invitations.page)
    bus.on_query(contract.ListProjectInvitations)(invitations.page_in_project)
    bus.on_command(contract.RevokeInvitation)(invitations.revoke)
    bus.on_command(contract.RevokeProjectInvitation)(invitations.revoke_in_project)

    bus.on_ask(contract.CreatePasswordReset)(recovery.create)
    bus.on_ask(contract.ForgotPassword)(recovery.forgotten)
    bus.on_ask(contract.ResetPassword, own_transaction=True)(recovery.reset)
    bus.on_ask(contract.ConfirmEmail)(recovery.confirm)


def register_tokens(bus: ServiceBus, tokens: Tokens, grants: Grants) -> None:
    bus.on_ask(contract.CreateToken)(tokens.create)
    bus.on_query(contract.ListTokens)(tokens.page)
    bus.on_command(contract.RevokeToken)(tokens.revoke)
    bus.on_ask(contract.CreateServiceAccountToken)(tokens.create_for_account)
    bus.on_query(contract.ListServiceAccountTokens)(tokens.page_of_account)
    bus.on_command(contract.RevokeServiceAccountToken)(tokens.revoke_of_account)

    bus.on_query(contract.Identify)(grants.identify)
    bus.on_query(contract.GetGrant)(grants.grant)
    bus.on_query(contract.GetNamespaces)(grants.reach)
    bus.on_query(contract.CheckRevocations)(grants.check_revocations)
    bus.on_ask(contract.Delegate, own_transaction=True)(grants.delegate)
    bus.on_query(contract.DelegatedGrant)(grants.delegated)
    bus.on_ask(contract.RenewDelegation)(grants.renew)
    bus.on_ask(contract.EndDelegation)(grants.end)


def register_projects(bus: ServiceBus, projects: Projects, members: Members, quotas: QuotaDesk) -> None:
    bus.on_command(contract.CreateProject)(projects.create)
    bus.on_query(contract.ListProjects)(projects.page)
    bus.on_query(contract.GetProject)(projects.get)
    bus.on_query(contract.GetFirstAdministrator)(projects.of_first_administrator)
    bus.on_command(contract.UpdateProject)(projects.update)
    bus.on_command(contract.DeleteProject)(projects.delete)
    bus.on_command(contract.RestoreProject)(projects.restore)

    bus.on_query(contract.GetQuotas)(quotas.get)
    bus.on_command(contract.SetQuotas, own_transaction=True)(quotas.set)

    bus.on_query(contract.ListMembers)(members.page)
    bus.on_command(contract.AddMember)(members.add)
    bus.on_command(contract.ChangeMember)(members.change)
    bus.on_command(contract.RemoveMember)(members.remove)

    bus.on_command(contract.CreateServiceAccount)(members.create_account)
    bus.on_query(contract.ListServiceAccounts)(members.accounts)
    bus.on_command(contract.DeleteServiceAccount)(members.delete_account)


def register_operation(bus: ServiceBus, keys: Keys, audit: Audit) -> None:
    bus.on_query(contract.ListKeys)(keys.page)
    bus.on_ask(contract.RotateKeys, own_transaction=True)(keys.rotate)

    bus.on_facts(AUDIT, linger=AUDIT_LINGER)(audit.record)
    bus.on_query(contract.ListAudit)(audit.page)
    bus.on_query(contract.ListProjectAudit)(audit.project_page)
    bus.on_query(contract.CheckAudit)(audit.check)
