"""The one error base, and its form in reply envelopes.

An error with a status below 500 is final: asking again with the same words gives the same answer, so an
owner stores it as the reply of the command. Anything else is worth another attempt.
"""

from collections.abc import Sequence
from typing import Any

from pydantic import ValidationError

from signalbox_common.contracts.base import Failure, FieldError


class SignalboxError(Exception):
    """A failure that its reader may see: a stable code, a status and a sentence.

    Each is a class of its own, which says its code even where it is another one's.
    """

    status = 500
    code = "internal"
    detail = "Something went wrong on our side."
    errors: tuple[FieldError, ...] = ()
    resource: str | None = None
    retry_after: int | None = None
    keeps_changes = False
    """Whether what was changed before the refusal stays changed: a refusal may itself have effects."""
    about: str | None = None
    """What the request turned out to be about; for the audit log alone."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "code" not in cls.__dict__:
            raise TypeError(f"{cls.__name__} does not say its code")

    def __init__(
        self,
        detail: str | None = None,
        *,
        code: str | None = None,
        status: int | None = None,
        errors: Sequence[FieldError] | None = None,
        resource: str | None = None,
        retry_after: int | None = None,
    ) -> None:
        super().__init__(detail or self.detail)
        self.detail = detail or self.detail
        self.code = code or self.code
        self.status = status or self.status
        self.errors = tuple(errors) if errors is not None else self.errors
        self.resource = resource
        self.retry_after = retry_after or self.retry_after

    @property
    def final(self) -> bool:
        return self.status < 500

    def failure(self) -> Failure:
        return Failure(
            code=self.code,
            status=self.status,
            detail=self.detail,
            errors=self.errors,
            resource=self.resource,
            retry_after=self.retry_after,
        )

    @staticmethod
    def of(failure: Failure) -> "SignalboxError":
        return SignalboxError(
            failure.detail,
            code=failure.code,
            status=failure.status,
            errors=failure.errors,
            resource=failure.resource,
            retry_after=failure.retry_after,
        )


class Invalid(SignalboxError):
    status = 422
    code = "validation_failed"
    detail = "The request does not fit what is expected."


class Unauthenticated(SignalboxError):
    status = 401
    code = "unauthenticated"
    detail = "A valid access token is needed."


class Forbidden(SignalboxError):
    status = 403
    code = "forbidden"
    detail = "This is not allowed."


class NotFound(SignalboxError):
    status = 404
    code = "not_found"
    detail = "There is no such thing."


class Conflict(SignalboxError):
    status = 409
    code = "conflict"
    detail = "This collides with what is there."


class IdempotencyKeyReused(SignalboxError):
    status = 422
    code = "idempotency_key_reused"
    detail = "This Idempotency-Key was used with another request."


class Unavailable(SignalboxError):
    """Nothing was done; trying again later is safe."""

    status = 503
    code = "unavailable"
    detail = "The service that answers this is not available at the moment."
    retry_after = 1


class OutcomeUnknown(SignalboxError):
    """It may have been done, or not."""

    status = 504
    code = "outcome_unknown"
    detail = "No answer came in time, so the outcome is not known."


def field_errors(error: ValidationError) -> list[FieldError]:
    """What was wrong with which field, without the refused values."""
    return [
        FieldError(
            field=".".join(str(part) for part in item["loc"]),
            message=item["msg"].removeprefix("Value error, "),
            code=item["type"],
        )
        for item in error.errors(include_url=False, include_context=False, include_input=False)
    ]


def invalid(error: ValidationError) -> Invalid:
    return Invalid(errors=field_errors(error))
