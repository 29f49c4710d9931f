"""``ranvier simulate``: a session as a rig leaves it."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from pathlib import Path

    from ranvier.simulate import SimulatedSession


def simulate(
    subject: Annotated[str, typer.Option(help="Nickname of the subject.")] = "mouse_01",
    date: Annotated[dt.datetime | None, typer.Option(formats=["%Y-%m-%d"], help="Day of the session; default: today.")] = None,
    number: Annotated[int, typer.Option(min=1, max=999, help="Number of the session on that day.")] = 1,
    probes: Annotated[int, typer.Option(min=0, max=32, help="Number of probes.")] = 1,
    fovs: Annotated[int, typer.Option(min=0, max=32, help="Number of two-photon fields of view.")] = 0,
    frames: Annotated[int, typer.Option(min=20, max=1_000_000, help="Frames of each field of view, at 30 Hz.")] = 900,
    seconds: Annotated[float, typer.Option(min=1, max=86_400, help="Length of the recording.")] = 60,
    channels: Annotated[int, typer.Option(min=4, max=384, help="Channels that are saved of each probe.")] = 64,
    units: Annotated[int | None, typer.Option(min=1, max=5000, help="Neurons of each probe; default: as many as the channels see.")] = None,
    seed: Annotated[int, typer.Option(min=0, max=2**63 - 1, help="The same seed gives the same data.")] = 0,
    drift: Annotated[bool, typer.Option(help="Whether the probe moves.")] = False,
    behaviour: Annotated[bool, typer.Option(help="Whether a mouse does a task: trials and a wheel.")] = False,
    camera: Annotated[list[str] | None, typer.Option(help="A camera that films: left, right or body; may be repeated.")] = None,
    damage: Annotated[
        list[str] | None,
        typer.Option(help="What is wrong with it: KIND, or NAME=KIND for one device; a wrong KIND lists all."),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="For a script.")] = False,
) -> None:
    """Write a session with known neurons into the lab's folder, as a rig does; a running `ranvier up` then takes it from there."""
    from ranvier.cli import screen
    from ranvier.simulate import Movie, simulate_session

    root = _lab_root()
    with screen.progress("Simulating") as advance:
        made = simulate_session(
            root, subject, date.date() if date else None, number, probes=_names("probe", probes),
            fovs=_names("FOV_", fovs), movie=Movie(n_frames=frames), duration_s=seconds, n_channels=channels, n_units=units, seed=seed,
            drift=drift, behaviour=behaviour, cameras=camera or [], damage=_damage(damage or []), progress=advance,
        )  # fmt: skip
    _tell(made, as_json=json)


def _lab_root() -> Path:
    """The lab's folder, which a centre has none of."""
    from ranvier import settings
    from ranvier.errors import RanvierError

    here = settings.load()
    if here.machine.role == "centre":
        raise RanvierError(
            f"{here.home} is the home of a centre, which keeps no data",
            "simulate in the home of a lab's server (--home); `ranvier labs` lists the labs, `ranvier labs add NAME` adds one",
        )
    return here.lab_root


def _names(kind: str, number: int) -> list[str]:
    return [f"{kind}{index:02d}" for index in range(number)]


def _tell(made: SimulatedSession, *, as_json: bool) -> None:
    from ranvier.amounts import counted
    from ranvier.cli import screen

    units = {probe: len(each.unit_positions) for probe, each in made.truth.items()}
    cells = {fov: len(each.masks) for fov, each in made.cells.items()}
    trials, filmed = len(made.behaviour or ()), {name: len(each.frame_times) for name, each in made.films.items()}
    if as_json:
        screen.print_json({"path": made.path, "units": units, "cells": cells, "trials": trials, "frames": filmed})
        return
    told = [f"{counted(sum(units.values()), 'neuron')} on {counted(len(units), 'probe')}"] * bool(units)
    told += [counted(trials, "trial")] * bool(trials)
    told += [f"{counted(sum(cells.values()), 'cell')} in {counted(len(cells), 'field of view', 'fields of view')}"] * bool(cells)
    told += [f"{number} frames of the {name} camera" for name, number in filmed.items()]
    screen.out.print(f"{screen.escape(str(made.path))}\n{', '.join(told)}", soft_wrap=True)


def _damage(given: list[str]) -> list[str] | dict[str, list[str]] | None:
    if not any("=" in each for each in given):
        return given or None
    wanted: dict[str, list[str]] = {}
    for each in given:
        probe, equals, kind = each.partition("=")
        if not equals:
            raise typer.BadParameter(f"{each}: name the device of every damage, or of none", param_hint="--damage")
        wanted.setdefault(probe, []).append(kind)
    return wanted
