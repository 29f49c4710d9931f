"""Sessions as a rig leaves them, with known truth: for the demo, for tests, and to see how a lab's settings fare before there are data."""

from ranvier.simulate.cameras import Film, load_film
from ranvier.simulate.cell_truth import CellScore, CellTruth, load_cells, score_cells
from ranvier.simulate.damage import DAMAGES, SimulationError
from ranvier.simulate.microscope import Movie
from ranvier.simulate.mouse import Behaviour, load_behaviour
from ranvier.simulate.mouse_score import BehaviourScore, FilmScore, score_behaviour, score_film
from ranvier.simulate.rig import SimulatedSession, simulate_session
from ranvier.simulate.truth import Score, Truth, load_truth, score

__all__ = [
    "DAMAGES",
    "Behaviour",
    "BehaviourScore",
    "CellScore",
    "CellTruth",
    "Film",
    "FilmScore",
    "Movie",
    "Score",
    "SimulatedSession",
    "SimulationError",
    "Truth",
    "load_behaviour",
    "load_cells",
    "load_film",
    "load_truth",
    "score",
    "score_behaviour",
    "score_cells",
    "score_film",
    "simulate_session",
]
