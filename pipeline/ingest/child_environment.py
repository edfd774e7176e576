"""The environment of processes that handle what strangers have made: no key, token or password of this one.

Only listed names are handed on, because nobody can list the names that secrets have.
"""

import os

NAMES = (
    "HOME", "LANG", "LANGUAGE", "LC_ALL", "LC_CTYPE", "LD_LIBRARY_PATH", "PATH", "PYTHONHOME", "PYTHONPATH",
    "PYTHONUTF8", "TMPDIR", "TZ",
)  # fmt: skip
"""Variables that Python and libraries need; none of them holds a secret."""

NETWORK = (
    "ALL_PROXY", "HTTPS_PROXY", "HTTP_PROXY", "NO_PROXY", "REQUESTS_CA_BUNDLE", "SSL_CERT_DIR", "SSL_CERT_FILE",
    "all_proxy", "http_proxy", "https_proxy", "no_proxy",
)  # fmt: skip
"""Variables that a process needs to reach the network; a proxy's address may have a password."""


def child_environment(*more: str, **added: str) -> dict[str, str]:
    """Return the variables for a child process: those of this process in `NAMES` and `more`, and those added."""
    return {name: os.environ[name] for name in (*NAMES, *more) if name in os.environ} | added
