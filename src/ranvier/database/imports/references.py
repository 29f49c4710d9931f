"""The rows that imported rows point to: by name or id there, to the key here."""

from __future__ import annotations

import uuid
from collections import defaultdict
from collections.abc import Iterable
from typing import Any

from django.contrib.contenttypes.models import ContentType
from django.core.exceptions import ValidationError
from django.db.models import Model

from ranvier.database.rest.lookups import APPS

#: By what people call the rows of a table, where it is not their name.
CALLED = {"people.User": "username", "subjects.Subject": "nickname", "contenttypes.ContentType": "model"}
#: Tables that Alyx's REST only names: a row with the name is made here.
ONLY_NAMED = frozenset(
    {"subjects.Species", "subjects.Strain", "subjects.Source", "subjects.Line", "subjects.Litter", "subjects.Allele"}
    | {"actions.WaterType", "data.DataRepositoryType", "experiments.ProbeModel", "experiments.CoordinateSystem", "experiments.ImagingType"}
)
#: Rows that are remembered before all are forgotten, so that memory does not grow with what is imported.
MOST = 100_000


def called(model: type[Model]) -> str:
    """The column by which people call a table's rows."""
    return CALLED.get(model._meta.label, "name")


def as_id(raw: Any) -> uuid.UUID | None:
    """The UUID that a value is, or that an address ends with."""
    text = str(raw)
    try:
        return uuid.UUID(text.rstrip("/").rsplit("/", 1)[-1] if "://" in text else text)
    except ValueError:
        return None


class References:
    """Finds keys of rows, many at once."""

    def __init__(self) -> None:
        self._keys: dict[str, dict[Any, Any]] = defaultdict(dict)
        #: Ids that rows have there, where they were here before by name under another.
        self._elsewhere: dict[str, dict[uuid.UUID, Any]] = defaultdict(dict)

    def load(self, model: type[Model], raws: Iterable[Any]) -> None:
        """Look up rows by what they are called or by their ids; what is not there is not remembered."""
        known, elsewhere = self._keys[model._meta.label], self._elsewhere[model._meta.label]
        wanted = {raw for raw in raws if raw not in (None, "") and raw not in known and as_id(raw) not in elsewhere}
        if not wanted:
            return
        ids = {raw: raw if isinstance(raw, int) else as_id(raw) for raw in wanted}
        there = set(model._base_manager.filter(pk__in={key for key in ids.values() if key is not None}).values_list("pk", flat=True))
        known.update({raw: key for raw, key in ids.items() if key in there})
        names = [raw for raw in wanted if isinstance(raw, str) and raw not in known]
        known.update(self._by_name(model, names))
        if model._meta.label in ONLY_NAMED:
            known.update(_made(model, [name for name in names if name not in known and ids[name] is None]))

    def trim(self) -> None:
        """Forget rows where they are too many to be remembered; what is needed is looked up again."""
        for known in self._keys.values():
            if len(known) > MOST:
                known.clear()

    def key(self, model: type[Model], raw: Any) -> Any:
        """Key of a row that was looked up; None where it is not here."""
        label = model._meta.label
        if (found := self._keys[label].get(raw)) is not None:
            return found
        identity = as_id(raw)
        return self._elsewhere[label].get(identity) if identity else None

    def remember(self, model: type[Model], raw: Any, key: Any) -> None:
        """Note the key of a row that is here, or is about to be."""
        self._keys[model._meta.label][raw] = key

    def remember_elsewhere(self, model: type[Model], identity: uuid.UUID, key: Any) -> None:
        """Note that a row has another id there than here."""
        self._elsewhere[model._meta.label][identity] = key

    def forget(self, model: type[Model], key: Any) -> None:
        """Note that a row that was about to be here is not."""
        known = self._keys[model._meta.label]
        for raw in [raw for raw, other in known.items() if other == key]:
            del known[raw]

    def _by_name(self, model: type[Model], names: list[str]) -> dict[Any, Any]:
        if not names:
            return {}
        if model is ContentType:
            rows = ContentType.objects.filter(app_label__in=APPS, model__in=names)
            return {row.model: row.pk for row in rows}
        column = called(model)
        if not any(field.name == column for field in model._meta.concrete_fields):
            return {}
        found = dict(model._base_manager.filter(**{f"{column}__in": names}).values_list(column, "pk"))
        if model._meta.label == "data.DataFormat":  # a format may be told by its extension
            found.update(model._base_manager.filter(file_extension__in=names).values_list("file_extension", "pk"))
        return found


def _made(model: type[Model], names: list[str]) -> dict[Any, Any]:
    """Rows that are nothing but a name, made; a name that cannot be one is left out."""
    made = {}
    for name in names:
        row = model(name=name)
        try:
            row.clean_fields()
        except ValidationError:
            continue
        row.save()
        made[name] = row.pk
    return made
