"""Sessions as a rig leaves them, with known truth: for the demo, for tests, and to see how a lab's settings fare before there are data."""

from ranvier.simulate.damage import DAMAGES, SimulationError
from ranvier.simulate.rig import SimulatedSession, simulate_session
from ranvier.simulate.truth import Score, Truth, load_truth, score

__all__ = ["DAMAGES", "Score", "SimulatedSession", "SimulationError", "Truth", "load_truth", "score", "simulate_session"]
