# SPDX-License-Identifier: Apache-2.0
"""The commands of README and cookbook run as they are written, and show what the documents say."""
import doc_commands
from lib import TOP, limit, long, needs, parallel

COOKBOOK = "docs/cookbook.md"


def cookbook(word, seconds=120):
    doc_commands.prepare()
    doc_commands.check(COOKBOOK, word, seconds)


@parallel
@limit(300)
def test_readme():
    needs("go", "redis-server", "curl")
    doc_commands.prepare()
    doc_commands.check("README.md", seconds=240)


@parallel
def test_readme_is_short():
    lines = (TOP / "README.md").read_text().splitlines()
    assert len(lines) <= 150, f"{len(lines)} lines"
    assert (TOP / "docs/flame.png").stat().st_size < 100_000


@parallel
def test_cookbook_has_ten_investigations():
    titles = [title for title, _ in doc_commands.sections(TOP / COOKBOOK)]
    assert len(titles) == 10, titles
    for _, blocks in doc_commands.sections(TOP / COOKBOOK):
        assert any(expected for _, expected in blocks), "an investigation without an expected answer"


@parallel
def test_cookbook_leak():
    needs("go")
    cookbook("Memory grows")


@parallel
def test_cookbook_hang():
    needs("curl")
    cookbook("It hangs")


@long
@limit(600)
def test_cookbook_whole():
    needs("go", "curl", "rustc", "node", "python3")
    cookbook("", 200)
