"""The rules of this service that say no."""


class DomainError(Exception):
    """A rule of this service says no."""


class UsernameTaken(DomainError):
    pass


class EmailTaken(DomainError):
    pass


class WeakPassword(DomainError):
    """Carries what is wrong with it."""


class BadPasswordHash(DomainError):
    pass


class WrongPassword(DomainError):
    """The current password of somebody who is signed in."""


class BadCredentials(DomainError):
    """Carries whose account it was about, if there is one; nothing that was typed."""

    def __init__(self, about: str | None = None) -> None:
        super().__init__()
        self.about = about


class TooManyAttempts(DomainError):
    """Carries the seconds to wait."""

    def __init__(self, seconds: int) -> None:
        super().__init__(seconds)
        self.seconds = seconds


class BadRefreshToken(DomainError):
    pass


class RefreshTokenReused(DomainError):
    pass


class NoSuchUser(DomainError):
    """The holder of the token is gone."""


class UserNotFound(DomainError):
    pass


class LastAdmin(DomainError):
    pass


class RegistrationClosed(DomainError):
    pass


class SessionNotFound(DomainError):
    pass


class TokenNotFound(DomainError):
    pass


class BadExpiry(DomainError):
    pass


class UnknownScope(DomainError):
    """Carries the scope."""


class DeviceNotFound(DomainError):
    pass


class DevicePending(DomainError):
    pass


class DeviceTooFast(DomainError):
    pass


class DeviceDenied(DomainError):
    pass


class DeviceExpired(DomainError):
    pass


class SlugTaken(DomainError):
    pass


class SlugReserved(DomainError):
    pass


class NoSuchProject(DomainError):
    pass


class PersonalProject(DomainError):
    pass


class VersionMoved(DomainError):
    """Somebody else changed it first."""


class NothingToChange(DomainError):
    pass


class AlreadyMember(DomainError):
    pass


class MemberNotFound(DomainError):
    pass


class RoleTooLow(DomainError):
    """Nobody gives, changes or takes a role that is above their own."""


class LastOwner(DomainError):
    pass


class AccountNotFound(DomainError):
    pass


class StaysAtHome(DomainError):
    """A service account belongs to one project, and owns none."""


class DelegationEnded(DomainError):
    pass


class UnknownAudience(DomainError):
    pass
