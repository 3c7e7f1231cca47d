"""A trained Anchor in other runtimes."""

from coleaf_framework.deployment.onnx import Exported, export_onnx

__all__ = ["Exported", "export_onnx"]
