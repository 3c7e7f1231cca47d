"""Anchors and References shipped with coleaf_framework, written like third-party plugins."""
