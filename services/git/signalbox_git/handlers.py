"""Which use case answers which contract."""

from signalbox_common.bus import ServiceBus
from signalbox_common.contracts import git as contract
from signalbox_common.contracts.streams import (
    CHECKOUTS_END,
    CHECKOUTS_HELD,
    CHECKOUTS_STOP,
    REPOSITORIES_BACK,
    REPOSITORIES_GONE,
    REPOSITORY_QUOTAS,
    REPOSITORY_STORAGE,
)
from signalbox_common.quotas import ProjectQuotas
from signalbox_common.storage import ProjectStorage
from signalbox_git.service.checkouts import Checkouts
from signalbox_git.service.contents import Contents
from signalbox_git.service.deliveries import Deliveries
from signalbox_git.service.host_credentials import HostCredentials
from signalbox_git.service.operations import Operations
from signalbox_git.service.prober import Prober
from signalbox_git.service.projects import Projects
from signalbox_git.service.pull_requests import PullRequests
from signalbox_git.service.repositories import Repositories


def register(
    bus: ServiceBus,
    repositories: Repositories,
    prober: Prober,
    contents: Contents,
    checkouts: Checkouts,
    deliveries: Deliveries,
    pull_requests: PullRequests,
    hosts: HostCredentials,
    projects: Projects,
    quotas: ProjectQuotas,
    storage: ProjectStorage,
) -> None:
    bus.on_ask(contract.AddRepository, own_transaction=True)(repositories.add)
    bus.on_ask(contract.UpdateRepository, own_transaction=True)(repositories.update)
    bus.on_command(contract.DeleteRepository)(repositories.delete)
    bus.on_command(contract.FetchRepository)(repositories.fetch)
    bus.on_query(contract.GetRepository)(repositories.get)
    bus.on_query(contract.ListRepositories)(repositories.page)
    bus.on_query(contract.FindRepository)(repositories.place)
    bus.on_ask(contract.TestRepository)(prober.test)
    bus.on_query(contract.ListBranches)(contents.branches)
    bus.on_query(contract.ListTags)(contents.tags)
    bus.on_query(contract.ListCommits)(contents.commits)
    bus.on_query(contract.ShowCommit)(contents.show)
    bus.on_query(contract.ListTree)(contents.tree)
    bus.on_query(contract.GetBlame)(contents.blame)
    bus.on_query(contract.LocateGit)(contents.locate)
    bus.on_command(contract.Prepare)(checkouts.prepare)
    bus.on_query(contract.GetCheckout)(checkouts.get)
    bus.on_command(contract.Deliver)(deliveries.deliver)
    bus.on_query(contract.GetDelivery)(deliveries.get)
    bus.on_query(contract.ListDeliveries)(deliveries.page)
    bus.on_query(contract.FindDelivery)(deliveries.place)
    bus.on_command(contract.RetryDelivery)(deliveries.retry)
    bus.on_command(contract.OpenPullRequest)(pull_requests.open)
    bus.on_command(contract.UpdatePullRequest)(pull_requests.update)
    bus.on_command(contract.ClosePullRequest)(pull_requests.close)
    bus.on_command(contract.RefreshPullRequest)(pull_requests.refresh)
    bus.on_query(contract.GetPullRequest)(pull_requests.get)
    bus.on_query(contract.ListPullRequests)(pull_requests.page)
    bus.on_query(contract.FindPullRequest)(pull_requests.place)
    bus.on_ask(contract.AddGitCredential, own_transaction=True)(hosts.add)
    bus.on_command(contract.DeleteGitCredential)(hosts.delete)
    bus.on_query(contract.ListGitCredentials)(hosts.of_project)
    bus.on_query(contract.FindGitCredential)(hosts.place)
    bus.on_ask(contract.ListVisibleRepositories)(hosts.visible)
    bus.on_fact(CHECKOUTS_HELD)(checkouts.sandbox_changed)
    bus.on_fact(CHECKOUTS_STOP)(checkouts.run_stops)
    bus.on_fact(CHECKOUTS_END)(checkouts.run_ended)
    bus.on_fact(REPOSITORIES_GONE)(projects.gone)
    bus.on_fact(REPOSITORIES_BACK)(projects.back)
    bus.on_fact(REPOSITORY_QUOTAS)(quotas.changed)
    bus.on_fact(REPOSITORY_STORAGE)(storage.heard)


def register_operations(bus: ServiceBus, operations: Operations) -> None:
    bus.on_command(contract.Operate)(operations.operate)
    bus.on_query(contract.GetGitOperation)(operations.get)
    bus.on_query(contract.ListGitOperations)(operations.page)
    bus.on_ask(contract.CancelGitOperation)(operations.cancel)
