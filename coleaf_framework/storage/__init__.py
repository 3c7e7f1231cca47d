"""Files that are whole or not there, and are never executed: safetensors, YAML, JSON, atomic writes, checksums."""

from coleaf_framework.storage.atomic import make_folder, require_file, require_place, write_atomically, write_text
from coleaf_framework.storage.digests import file_digest, text_digest
from coleaf_framework.storage.json_files import read_json, to_json, write_json
from coleaf_framework.storage.tensors import (
    checksum,
    parse_state,
    read_tensors,
    write_state,
    write_tensors,
)
from coleaf_framework.storage.yaml_files import parse_yaml, read_yaml, write_yaml, yaml_lines

WEIGHTS, CONFIG, DECISION = "model.safetensors", "config.yaml", "decision.yaml"
"""Names of files in a run folder."""

__all__ = [
    "CONFIG",
    "DECISION",
    "WEIGHTS",
    "checksum",
    "file_digest",
    "make_folder",
    "parse_state",
    "parse_yaml",
    "read_json",
    "read_tensors",
    "read_yaml",
    "require_file",
    "require_place",
    "text_digest",
    "to_json",
    "write_atomically",
    "write_json",
    "write_state",
    "write_tensors",
    "write_text",
    "write_yaml",
    "yaml_lines",
]
