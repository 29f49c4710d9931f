"""``ranvier simulate``: a session as a rig leaves it."""

from __future__ import annotations

import datetime as dt
from typing import Annotated

import typer


def simulate(
    subject: Annotated[str, typer.Option(help="Nickname of the subject.")] = "mouse_01",
    date: Annotated[dt.datetime | None, typer.Option(formats=["%Y-%m-%d"], help="Day of the session; default: today.")] = None,
    number: Annotated[int, typer.Option(help="Number of the session on that day.")] = 1,
    probes: Annotated[int, typer.Option(min=1, help="Number of probes.")] = 1,
    seconds: Annotated[float, typer.Option(min=1, help="Length of the recording.")] = 60,
    channels: Annotated[int, typer.Option(min=4, max=384, help="Channels that are saved of each probe.")] = 64,
    units: Annotated[int | None, typer.Option(min=1, help="Neurons of each probe; default: as many as the channels see.")] = None,
    seed: Annotated[int, typer.Option(help="The same seed gives the same data.")] = 0,
    drift: Annotated[bool, typer.Option(help="Whether the probe moves.")] = False,
    damage: Annotated[list[str] | None, typer.Option(help="What is wrong with it: KIND, or PROBE=KIND for one probe.")] = None,
    json: Annotated[bool, typer.Option("--json", help="For a script.")] = False,
) -> None:
    """Write a session with known neurons into the lab's folder, as a rig does; a running `ranvier up` then takes it from there."""
    from ranvier import settings
    from ranvier.cli import screen
    from ranvier.simulate import simulate_session

    with screen.progress("Simulating") as advance:
        made = simulate_session(
            settings.load().lab_root,
            subject,
            date.date() if date else None,
            number,
            probes=[f"probe{index:02d}" for index in range(probes)],
            duration_s=seconds,
            n_channels=channels,
            n_units=units,
            seed=seed,
            drift=drift,
            damage=_damage(damage or []),
            progress=advance,
        )
    truth = {probe: len(each.unit_positions) for probe, each in made.truth.items()}
    if json:
        screen.print_json({"path": made.path, "units": truth})
    else:
        screen.out.print(f"{screen.escape(str(made.path))}\n{sum(truth.values())} neurons on {len(truth)} probes", soft_wrap=True)


def _damage(given: list[str]) -> list[str] | dict[str, list[str]] | None:
    if not any("=" in each for each in given):
        return given or None
    wanted: dict[str, list[str]] = {}
    for each in given:
        probe, equals, kind = each.partition("=")
        if not equals:
            raise typer.BadParameter(f"{each}: name the probe of every damage, or of none", param_hint="--damage")
        wanted.setdefault(probe, []).append(kind)
    return wanted
