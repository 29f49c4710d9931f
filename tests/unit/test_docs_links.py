"""No page of the documentation leads nowhere."""

from __future__ import annotations

import re
from pathlib import Path


def test_every_link_between_pages_leads_somewhere(repository: Path) -> None:
    pages = [repository / "README.md", repository / "CHANGELOG.md", *(repository / "docs").glob("*.md")]
    links = [(page, link) for page in pages for link in re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text()) if "://" not in link]
    assert len(links) > 10
    assert [f"{page.name}: {link}" for page, link in links if not (page.parent / link).exists()] == []


def test_every_page_is_in_the_index(repository: Path) -> None:
    index = (repository / "docs" / "index.md").read_text()
    assert [page.name for page in (repository / "docs").glob("*.md") if page.name != "index.md" and f"]({page.name})" not in index] == []
