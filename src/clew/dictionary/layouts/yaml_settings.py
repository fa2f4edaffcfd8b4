"""The settings in YAML that stand beside published dictionaries, under the names that they have been given."""

from pathlib import Path
from typing import Any

from clew import files
from clew.errors import FileError

CONFIGS = ("config.yaml", "wanb-config.yaml")


def read_yaml(folder: Path) -> tuple[str | None, dict[str, Any]]:
    """The settings and the name of their file; empty when there is none. FileError when they are no settings."""
    yaml = yaml_module()
    for name in CONFIGS:
        if (folder / name).is_file():
            try:
                config = yaml.safe_load(files.read_text(folder / name))
            except yaml.YAMLError as error:
                raise FileError(f"{folder / name} is not YAML: {error}") from error
            if not isinstance(config, dict):
                raise FileError(f"{folder / name} holds no settings")
            return name, config
    return None, {}


def yaml_module() -> Any:
    """PyYAML, which only folders in such layouts need."""
    import yaml

    return yaml
