"""``ranvier cancel``: stop what runs of a session, and what is about to."""

from __future__ import annotations

from ranvier.cli.options import SessionArgument, TaskOption
from ranvier.cli.run import find_session


def cancel(session: SessionArgument, task: TaskOption = None) -> None:
    """Stop what runs of a session, and what waits; `ranvier rerun` takes it up again."""
    import getpass

    from ranvier.cli import screen

    database, _, eid = find_session(session)
    stopped = database.cancel(session=eid, tasks=task or [], by=getpass.getuser())
    for row in stopped:
        words = "stops within seconds" if row["status"] == "Started" else "will not start"
        screen.out.print(f"{screen.escape(row['name'])} {words}", soft_wrap=True)
    if not stopped:
        screen.err.print("Nothing runs, and nothing waits.")
