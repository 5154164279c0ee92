"""Proof that the promises hold: harnesses that break things on purpose, one auditor, one page of figures."""
