"""What the database has of datasets: their types, their copies, whether they are protected."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Iterator, Sequence

from one.alf.exceptions import ALFError

from ranvier.client.connection import Connection, DatabaseRefused, Record
from ranvier.session import Session


class Datasets(Connection):
    """Datasets and their types."""

    def check_protected(self, session: Session, paths: Sequence[str], repository: str) -> bool:
        """Whether any of a session's files is protected from being overwritten."""
        body = {"created_by": self.username, "path": session.reference, "filenames": list(paths), "name": repository}
        answer = self._call("get", "/check-protected", body)
        return answer.get("status_code") == 403

    def ensure_dataset_types(self, names: Iterable[str], brought_by: str) -> list[str]:
        """Create the dataset types of files that none is known for: ``object.attribute`` of the file name.

        Parameters
        ----------
        names
            File names.
        brought_by
            The task, for the new type's description.

        Returns
        -------
        list of str
            Names of the types that were created.

        Raises
        ------
        DatabaseRefused
            If a file name is not an ALF name, or matches several types.
        """
        from one.registration import get_dataset_type  # it brings pandas, which flow runs should not wait for

        known = list(self._get("/dataset-types?limit=1000"))
        created = []
        for name in names:
            try:
                get_dataset_type(name, known)
            except ValueError as error:
                if "multiple" in str(error):
                    raise DatabaseRefused(400, str(error), "change the file's name or the patterns of the dataset types") from None
                known.append(self._create_dataset_type(name, brought_by, known))
                created.append(known[-1]["name"])
        return created

    def register_files(self, session: Session, files: Sequence[Record], repository: str, lab: str) -> list[Record]:
        """Register files of a session in one call.

        Parameters
        ----------
        session
            The session.
        files
            ``path`` (below the session folder), ``hash`` (md5), ``size`` (bytes) and ``version`` of each.
        repository
            The data repository in which they are.
        lab
            Name of the lab.
        """
        body = {
            "created_by": self.username,
            "path": session.reference,
            "filenames": [item["path"] for item in files],
            "hashes": [item["hash"] for item in files],
            "filesizes": [item["size"] for item in files],
            "versions": [item["version"] for item in files],
            "name": repository,
            "labs": lab,
            "exists": True,
        }
        return list(self._post("/register-file", body))

    def lab_datasets(self, lab: str, since: dt.date) -> Iterator[Record]:
        """The datasets of a lab that were created on a day or later, with their copies."""
        return self._pages(f"/datasets?lab={lab}&created_date_gte={since.isoformat()}")

    def datasets(self, eid: str) -> Iterator[Record]:
        """The datasets of a session, with their copies."""
        return self._pages(f"/datasets?session={eid}")

    def _create_dataset_type(self, name: str, brought_by: str, known: list[Record]) -> Record:
        from one.alf.path import filename_parts

        try:
            _, obj, attribute, *_ = filename_parts(name)
        except ALFError:
            raise DatabaseRefused(
                400,
                f"{name} is not an ALF file name and matches no dataset type",
                "name it object.attribute.extension, or add a dataset type",
            ) from None
        new = f"{obj}.{attribute}"
        if taken := next((item for item in known if item["name"] == new), None):
            raise DatabaseRefused(
                400,
                f"the dataset type {new} is for files like {taken['filename_pattern']!r}, which {name} is not",
                f"change the file's name, or the pattern at {self.url}/admin",
            )
        try:
            return self._post("/dataset-types", {"name": new, "description": f"Brought by the task {brought_by}", "filename_pattern": ""})
        except DatabaseRefused:
            if (there := self._get_or_none(f"/dataset-types/{new}")) is not None:  # another attempt has just brought it
                return there
            raise
