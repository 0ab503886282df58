"""Resumable, verified downloads; safe unpacking of archives."""
