"""Every command disturbed at random moments, and run again: see run.py."""
