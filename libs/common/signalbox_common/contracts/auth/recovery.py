"""Getting back into an account, and showing where one is reached: with links that are good once."""

import uuid
from datetime import datetime

from signalbox_common.contracts.auth.users import Email, LinkToken, NewPassword, PasswordChanged
from signalbox_common.contracts.base import Ask, Empty, GrantScope, Reply


class PasswordReset(Reply):
    token: str
    """Shown here, and never again."""
    username: str
    expires_at: datetime
    mailed: bool
    """Whether another such link goes to the person's address."""


class CreatePasswordReset(Ask[PasswordReset]):
    """Lets a person choose a new password; what was created for them before is not good any more."""

    subject = "ask.auth.v1.create-password-reset"
    admin = True
    in_person = True
    area = "users"
    target = "user_id"
    refusals = {"user_not_found": 404, "no_mail": 409}

    user_id: uuid.UUID
    mail: bool = False
    """Also by mail, where the installation sends any."""


class ForgotPassword(Ask[Empty]):
    """Answered alike whether the address is known or not; who is reached there finds a link."""

    subject = "ask.auth.v1.forgot-password"
    grant = GrantScope.NONE
    area = "account"
    refusals = {"no_mail": 409}

    email: Email


class ResetPassword(Ask[PasswordChanged]):
    """Ends all sessions of the person."""

    subject = "ask.auth.v1.reset-password"
    grant = GrantScope.NONE
    area = "account"
    refusals = {"bad_link": 403, "weak_password": 422}

    token: LinkToken
    new_password: NewPassword
    end_tokens: bool = False


class ConfirmEmail(Ask[Empty]):
    subject = "ask.auth.v1.confirm-email"
    grant = GrantScope.NONE
    area = "account"
    refusals = {"bad_link": 403, "email_taken": 409}

    token: LinkToken
