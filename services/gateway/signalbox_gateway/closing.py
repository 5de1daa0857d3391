"""Why a WebSocket is closed: those of RFC 6455, and ours from 4000 on."""

from signalbox_common.errors import SignalboxError

ENDED, UNSUPPORTED, TRY_LATER = 1000, 1003, 1013
NOT_AUTHENTICATED, REFUSED, TOKEN_EXPIRED, TOO_SLOW = 4401, 4403, 4408, 4413


def close_of(error: SignalboxError) -> tuple[int, str]:
    if error.status == 401:
        return NOT_AUTHENTICATED, error.code
    return (REFUSED if error.status < 500 else TRY_LATER), error.code
