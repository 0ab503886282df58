"""The proof that a limited model equals the zoo model: AP, ms and MB of both, and pictures."""
