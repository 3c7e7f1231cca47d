"""Adapters: declare how a network's inputs and outputs map to the protocol, without editing the network."""

from coleaf_framework.adapters.call import Adapter, call_anchor, takes, takes_mask
from coleaf_framework.adapters.declaration import Declaration
from coleaf_framework.adapters.declaration_file import DeclarationFile, WrapArguments, is_declaration_file
from coleaf_framework.adapters.declaration_io import read_declaration, write_declaration
from coleaf_framework.adapters.inputs import Calling, Constant, Inputs
from coleaf_framework.adapters.outputs import DERIVE, Out, Path, flatten
from coleaf_framework.adapters.returned import call_anchor_with_raw, the_only_value, values_returned_by
from coleaf_framework.adapters.taps import Tap

__all__ = [
    "DERIVE",
    "Adapter",
    "Calling",
    "Constant",
    "Declaration",
    "DeclarationFile",
    "Inputs",
    "Out",
    "Path",
    "Tap",
    "WrapArguments",
    "call_anchor",
    "call_anchor_with_raw",
    "flatten",
    "is_declaration_file",
    "read_declaration",
    "takes",
    "takes_mask",
    "the_only_value",
    "values_returned_by",
    "write_declaration",
]
