"""The engine without a file: `engine.py` has the verbs."""
