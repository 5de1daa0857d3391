"""What may be seen of an environment: the values of these names say nothing that is secret.

Everything else in there is hidden, whatever it looks like: what is not known to be harmless may be a key.
"""

import re

_SYSTEM = (
    *("PATH", "HOME", "USER", "LOGNAME", "SHELL", "HOSTNAME", "HOST", "PORT", "TMPDIR", "TMP", "TEMP"),
    *("LANG", "LANGUAGE", "LC_ALL", "LC_CTYPE", "LC_MESSAGES", "LC_NUMERIC", "LC_TIME", "TZ"),
    *("TERM", "COLORTERM", "NO_COLOR", "FORCE_COLOR", "EDITOR", "PAGER", "CI", "ENVIRONMENT", "ENV", "MODE"),
    *("DEBUG", "VERBOSE", "LOG_LEVEL", "LOG_FORMAT", "RUST_LOG", "RUST_BACKTRACE", "VERSION", "TIMEOUT"),
    *(
        "NODE_ENV",
        "APP_ENV",
        "RAILS_ENV",
        "RACK_ENV",
        "FLASK_ENV",
        "GO_ENV",
        "PYTHONPATH",
        "PYTHONUNBUFFERED",
    ),
    *("PYTHONDONTWRITEBYTECODE", "GOPATH", "GOROOT", "JAVA_HOME", "NODE_PATH", "VIRTUAL_ENV"),
)
_MODELS = (
    *("model", "model_id", "model_name", "provider", "protocol", "base_url", "api_base", "api_version"),
    *("api_type", "api_format", "endpoint", "region", "deployment", "temperature", "top_p", "top_k", "seed"),
    *("max_tokens", "max_output_tokens", "max_input_tokens", "max_thinking_tokens", "max_retries"),
    *("context_window", "context_length", "stream", "reasoning_effort", "thinking_budget", "model_type"),
    *("OPENAI_BASE_URL", "OPENAI_MODEL", "ANTHROPIC_BASE_URL", "ANTHROPIC_MODEL"),
    *("ANTHROPIC_SMALL_FAST_MODEL", "CLAUDE_CODE_MAX_OUTPUT_TOKENS"),
)
_HEADERS = (
    *("Accept", "Accept-Encoding", "Accept-Language", "Content-Type", "User-Agent", "Cache-Control"),
    *("Origin", "Referer", "Anthropic-Version", "Anthropic-Beta", "OpenAI-Beta", "type", "scheme", "method"),
)


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())


NAMES = frozenset(map(_plain, (*_SYSTEM, *_MODELS, *_HEADERS)))


def is_shown(name: str) -> bool:
    """However it is spelled: `base_url`, `baseUrl`, `BASE-URL`."""
    return _plain(name) in NAMES
