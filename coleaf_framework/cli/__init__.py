"""The command `coleaf`: each command parses, calls one or two functions of the framework, and prints.

A command imports what it calls when it is called, within `importing()`. So `coleaf --help` and a mistyped option are
answered before PyTorch is imported, and no module that holds commands may import it at its head.
"""
