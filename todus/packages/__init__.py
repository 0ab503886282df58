"""Folders that other programs and devices take as they are."""
