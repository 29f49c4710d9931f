"""Transactions of Prefect's SQLite that read and then write, two at once."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

TWO_AT_ONCE = """
import asyncio, sys
import sqlalchemy as sa
from prefect.server.database.configurations import AioSqliteConfiguration
from ranvier.prefect_server import begin_as_writers

if sys.argv[2] == "as writers":
    begin_as_writers()
config = AioSqliteConfiguration(connection_url=f"sqlite+aiosqlite:///{sys.argv[1]}")

async def count_on(engine):
    session = await config.session(engine)
    async with session, config.begin_transaction(session):
        (number,) = (await session.execute(sa.text("SELECT number FROM counter"))).one()
        await asyncio.sleep(0.2)
        await session.execute(sa.text("UPDATE counter SET number = :number"), {"number": number + 1})

async def main():
    engine = await config.engine()
    async with engine.begin() as connection:
        await connection.execute(sa.text("CREATE TABLE counter (number INTEGER)"))
        await connection.execute(sa.text("INSERT INTO counter VALUES (0)"))
    ended = await asyncio.gather(count_on(engine), count_on(engine), return_exceptions=True)
    async with engine.begin() as connection:
        print(*(await connection.execute(sa.text("SELECT number FROM counter"))).one(), *map(str, ended))

asyncio.run(main())
"""


@pytest.mark.parametrize(("begun", "said"), [("as writers", "2 None None"), ("as Prefect does", "database is locked")])
def test_two_transactions_that_read_and_then_write(tmp_path: Path, begun: str, said: str) -> None:
    done = subprocess.run([sys.executable, "-c", TWO_AT_ONCE, tmp_path / "db", begun], capture_output=True, text=True, timeout=120)
    assert said in done.stdout, done.stdout + done.stderr
