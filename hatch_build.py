"""Add the releases of the template, which are in the history of git, to the wheel and the sdist."""

import atexit
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

_NAME = "_template.bundle"


class TemplateHook(BuildHookInterface[Any]):
    """Adds the bundle. An editable installation reads the history instead."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Create the bundle, unless this is an unpacked sdist, which has it.

        Args:
            version: The kind of build.
            build_data: The files to include.
        """
        root = Path(self.root)
        if version == "editable" or (root / "src" / "quickset" / _NAME).exists():
            return
        if not (root / ".git").exists():
            self.app.abort(
                "quickset cannot be built here: this folder is neither a git checkout, whose history holds the "
                "releases of the template, nor an unpacked sdist, which includes them."
            )
        sys.path.insert(0, str(root / "src"))
        from quickset import git
        from quickset.errors import QuicksetError
        from quickset.templates import history

        folder = tempfile.mkdtemp(prefix="quickset-")
        # The build reads the file after this method.
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
        bundle = Path(folder, _NAME)
        try:
            history.write_bundle(root, bundle)
            if git.run("status", "--porcelain", "--", *history.PARTS, cwd=root):
                self.app.display_warning("Uncommitted changes of the template are not included.")
        except QuicksetError as error:
            self.app.abort(f"quickset cannot be built here: {error}")
        finally:
            sys.path.remove(str(root / "src"))
        place = "quickset" if self.target_name == "wheel" else "src/quickset"
        build_data["force_include"][str(bundle)] = f"{place}/{_NAME}"
