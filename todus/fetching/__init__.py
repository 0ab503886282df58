"""Resumable, verified downloads, and the safe unpacking of archives."""
