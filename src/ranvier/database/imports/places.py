"""Labs and rooms that some of Alyx's answers name by ids only, which no other answer tells."""

from __future__ import annotations

from typing import Any

from ranvier.database.imports.alyx import Alyx, address, one_of
from ranvier.database.imports.references import References, as_id
from ranvier.database.people.models import Lab, LabLocation

Json = dict[str, Any]


class Places:
    """Learns which lab or room an id is.

    Parameters
    ----------
    alyx
        Where it is asked.
    references
        What is told.
    """

    def __init__(self, alyx: Alyx, references: References) -> None:
        self.alyx, self.references = alyx, references
        self._asked: set[str] = set()

    def known(self, rows: list[Json]) -> list[Json]:
        """The same rows, once the labs and rooms that they name are known as well as they can be."""
        for row in rows:
            for name, learn in (("lab", self._learn_lab), ("location", self._learn_locations)):
                value = row.get(name)
                if value and as_id(value) and value not in self._asked:
                    self._asked.add(value)
                    learn(value)
        return rows

    def _learn_lab(self, value: str) -> None:
        for lab in self.alyx.rows("labs", lambda _: None, id=value):
            self._remember(Lab, value, lab["name"])

    def _learn_locations(self, value: str) -> None:
        """No answer gives a room's name and id: surgeries are asked for by the name, and tell the id."""
        for name in LabLocation.objects.values_list("name", flat=True):
            if name in self._asked or not name:
                continue
            self._asked.add(name)
            found = self.alyx.get(address("surgeries", {"django": one_of("location__name", [name]), "limit": "1"}))
            for surgery in found["results"]:
                self._asked.add(surgery["location"])
                self._remember(LabLocation, surgery["location"], name)

    def _remember(self, model: Any, value: str, name: str) -> None:
        self.references.load(model, [name])
        key, identity = self.references.key(model, name), as_id(value)
        if key is not None and identity is not None and key != identity:
            self.references.remember_elsewhere(model, identity, key)
