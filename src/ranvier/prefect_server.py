"""Prefect's server, with what its SQLite needs where several flow runs speak to it at once (``python -m ranvier.prefect_server``).

Prefect's transactions begin as readers, and SQLite refuses one that comes to write (SQLITE_BUSY_SNAPSHOT) when another has written since it
began to read: on a busy machine nearly every time, with a 503 for its client. Begun as writers they wait for each other instead.
"""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from typing import Any

from prefect.cli import app
from prefect.server.database.configurations import AioSqliteConfiguration


def begin_as_writers() -> None:
    """Have every transaction of Prefect's SQLite take the write lock when it begins."""
    begin = AioSqliteConfiguration.begin_transaction

    def begin_transaction(self: AioSqliteConfiguration, session: Any, with_for_update: bool = True) -> AbstractAsyncContextManager[Any]:
        return begin(self, session, with_for_update=True)

    AioSqliteConfiguration.begin_transaction = begin_transaction  # type: ignore[assignment, method-assign]


if __name__ == "__main__":
    begin_as_writers()
    app()
