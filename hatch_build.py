"""Tell hatchling where the project lives: its URLs, and a README whose links work on an index."""

import re
from pathlib import Path
from typing import Final

from hatchling.metadata.plugin.interface import MetadataHookInterface

IN_THE_TREE: Final = re.compile(r"(!?)(\[[^]]*\]\()(?![a-z]+:|#)")
"""A link of the README, or a picture, up to the path of its file."""


class Addresses(MetadataHookInterface):
    """Makes both of the one address, `repository`; without it, the README is taken as it is."""

    def update(self, metadata: dict[str, object]) -> None:
        """Set the project's `readme` and `urls`."""
        readme = Path(self.root, "README.md").read_text(encoding="utf-8")
        metadata["urls"] = {}
        repository = str(self.config["repository"])  # pyright: ignore[reportUnknownMemberType, reportUnknownArgumentType] -- hatchling doesn't say
        if repository:
            tag = f"v{metadata['version']}"
            readme = IN_THE_TREE.sub(
                lambda link: f"{link[0]}{repository}/{'raw' if link[1] else 'blob'}/{tag}/", readme
            )
            files = f"{repository}/blob/{tag}/"
            metadata["urls"] = {
                "Source": repository,
                "Documentation": f"{files}docs/install.md",
                "Changelog": f"{files}CHANGELOG.md",
                "Issues": f"{repository}/issues",
            }
        metadata["readme"] = {"content-type": "text/markdown", "text": readme}
