"""Runs every command with a random fault, then again: see run.py."""
