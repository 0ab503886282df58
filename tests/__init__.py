"""The tests: *.bats for what a person types, a folder a room of todus/ for the library."""
