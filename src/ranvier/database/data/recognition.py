"""What a file is, from its name: dataset type and format."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase

from one.alf.path import filename_parts

from ranvier.database.data.models import DataFormat, DatasetType


def dataset_type_of(name: str, types: Sequence[DatasetType]) -> DatasetType:
    """The one dataset type that a file name fits, found as ONE-api finds it.

    Raises
    ------
    ValueError
        If none fits, or several do.
    """
    stem = object_attribute(name)
    matching = [t for t in types if (fnmatchcase(name.lower(), t.filename_pattern) if t.filename_pattern else t.name == stem)]
    if len(matching) == 1:
        return matching[0]
    if matching:
        raise ValueError(f"{name} fits several dataset types: {', '.join(sorted(map(str, matching)))}; make their patterns narrower")
    raise ValueError(f"{name} fits no dataset type; add one with POST /dataset-types {{name: {stem!r}}}, or with a filename_pattern")


def object_attribute(name: str) -> str:
    """``object.attribute`` of an ALF name; of another name, the name without its extension."""
    parts = filename_parts(name, as_dict=True, assert_valid=False)
    return f"{parts['object']}.{parts['attribute']}" if parts["object"] else name.rsplit(".", 1)[0]


def data_format_of(name: str, formats: Sequence[DataFormat]) -> DataFormat:
    """The format with the longest extension that a file name ends with.

    Raises
    ------
    ValueError
        If there is none.
    """
    matching = [f for f in formats if name.lower().endswith(f.file_extension.lower())]
    if not matching:
        raise ValueError(f"{name} has an extension that no data format has; add one with POST /data-formats {{name, file_extension}}")
    return max(matching, key=lambda f: len(f.file_extension))
