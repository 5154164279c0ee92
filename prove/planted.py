"""The proof of the proof: each bug of plants.toml, and each term of the store's SQL taken away, must be noticed."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import msgspec

from prove import terms
from prove.mutant import Mutant
from prove.plants import PLANTS
from prove.reliability import Score, commit
from prove.verdict import Verdict


def run(only: Sequence[str], at_once: int, tell: Callable[[str], None]) -> Score:
    """Plant all that have one of `only` in their name, `at_once` at a time, and tell of each as a line."""
    return _planted(lambda name: _is_one_of(only, name), at_once, tell)


def again(score: Score, only: Sequence[str], at_once: int, tell: Callable[[str], None]) -> Score:
    """Do as `run` with those that survived, and those that are new; give the score of all that were tried by now."""
    before = score.bugs | score.terms
    anew = _planted(lambda name: not before.get(name) and _is_one_of(only, name), at_once, tell)
    bugs = {mutant.name: score.bugs[mutant.name] for mutant in PLANTS if mutant.name in before} | anew.bugs
    lost = {mutant.name: score.terms[mutant.name] for mutant in _all_terms() if mutant.name in before} | anew.terms
    return msgspec.structs.replace(
        score,
        seconds=score.seconds + anew.seconds,
        bugs=bugs,
        terms=lost,
        again=anew.commit,
    )


def _planted(meant: Callable[[str], bool], at_once: int, tell: Callable[[str], None]) -> Score:
    began = time.monotonic()

    def caught(mutants: Iterable[Mutant]) -> dict[str, str]:
        def look(mutant: Mutant) -> tuple[str, str]:
            by = mutant.caught_by()
            tell(f"{'caught' if by else 'SURVIVED'}: {mutant.name}{f' ({by})' if by else ''}")
            return mutant.name, by

        with ThreadPoolExecutor(at_once) as pool:
            return dict(pool.map(look, [mutant for mutant in mutants if meant(mutant.name)]))

    bugs, lost = caught(PLANTS), {}
    for engine in terms.ENGINES:
        if any(meant(mutant.name) for mutant in terms.mutants(engine)):
            lost |= caught(terms.mutants(engine, engine.uses()))
    return Score(commit=commit(), seconds=time.monotonic() - began, bugs=bugs, terms=lost)


def _is_one_of(only: Sequence[str], name: str) -> bool:
    return any(text in name for text in only) or not only


def _all_terms() -> Iterator[Mutant]:
    return (mutant for engine in terms.ENGINES for mutant in terms.mutants(engine))


def repeat(words: list[str]) -> Verdict:
    """Plant one again, by its name. Raises ValueError for a name that there is not."""
    name = " ".join(words)
    found = [mutant for mutant in (*PLANTS, *_all_terms()) if mutant.name == name]
    if not found:
        raise ValueError(f"expected the name of a planted bug, as `python -m prove planted` prints it, got: {name!r}")
    began = time.monotonic()
    by = {name: found[0].caught_by()}
    is_bug = found[0] in PLANTS
    score = Score(
        commit=commit(), seconds=time.monotonic() - began, bugs=by if is_bug else {}, terms={} if is_bug else by
    )
    return verdict(score)


def verdict(score: Score) -> Verdict:
    """Say it as the harnesses do."""
    counts: dict[str, int] = {}
    for what, found in (("known mistakes", score.bugs), ("terms of the SQL dropped", score.terms)):
        counts |= {what: len(found), f"{what}: caught": sum(map(bool, found.values()))}
    failures = [f"survived: {name} (python -m prove repeat planted {name!r})" for name in score.survivors()]
    return Verdict(harness="planted", seed=0, seconds=score.seconds, counts=counts, failures=failures)
