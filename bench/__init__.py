"""The speed of workqueue, side by side with a hand-written loop (R) and a peer: `python -m bench`."""
