"""The proof of the proof: each bug of plants.toml, and each term of the store's SQL taken away, must be noticed."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence, Set
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial

import msgspec

from prove import terms
from prove.mutant import Mutant
from prove.plants import PLANTS
from prove.postgres import PostgresServer
from prove.reliability import Score, commit
from prove.verdict import Verdict


def run(only: Sequence[str], at_once: int, tell: Callable[[str], None]) -> Iterator[Score]:
    """Plant all that have one of `only` in their name, `at_once` at a time; tell of each, and give the score so far."""
    score = Score(commit=commit(), seconds=0.0, bugs={}, terms={})
    return _planted(score, lambda name: _is_one_of(only, name), at_once, tell)


def again(score: Score, only: Sequence[str], at_once: int, tell: Callable[[str], None]) -> Iterator[Score]:
    """Do as `run` with those that survived, or are not in the score yet; those that are no more leave it."""
    before = score.bugs | score.terms
    score = msgspec.structs.replace(
        score,
        bugs={mutant.name: before[mutant.name] for mutant in PLANTS if mutant.name in before},
        terms={mutant.name: before[mutant.name] for mutant in _all_terms() if mutant.name in before},
        again=commit(),
    )
    return _planted(score, lambda name: not before.get(name) and _is_one_of(only, name), at_once, tell)


def _planted(score: Score, meant: Callable[[str], bool], at_once: int, tell: Callable[[str], None]) -> Generator[Score]:
    def look(servers: Mapping[str, str], mutant: Mutant) -> tuple[str, str]:
        by = mutant.caught_by(servers)
        tell(f"{'caught' if by else 'SURVIVED'}: {mutant.name}{f' ({by})' if by else ''}")
        return mutant.name, by

    yield score
    began = time.monotonic() - score.seconds
    names = {engine.title: {mutant.name for mutant in terms.mutants(engine)} for engine in terms.ENGINES}
    pool = ThreadPoolExecutor(at_once)
    started = ExitStack()
    try:
        for name, by in pool.map(partial(look, {}), [mutant for mutant in PLANTS if meant(mutant.name)]):
            score = msgspec.structs.replace(score, bugs=score.bugs | {name: by}, seconds=time.monotonic() - began)
            yield score
        for engine in terms.ENGINES:
            used = engine.uses() if any(meant(mutant.name) for mutant in terms.mutants(engine)) else {}
            versions = engine.versions() if used else ()  # else each mutant starts its own
            servers = {version: started.enter_context(PostgresServer(version)).dsn() for version in versions}
            dropped = [mutant for mutant in terms.mutants(engine, used) if meant(mutant.name)]
            for name, by in pool.map(partial(look, servers), dropped):
                score = msgspec.structs.replace(score, terms=score.terms | {name: by}, seconds=time.monotonic() - began)
                yield msgspec.structs.replace(score, untried=_untried(score, names))
    finally:
        pool.shutdown(cancel_futures=True)
        started.close()


def _untried(score: Score, names: Mapping[str, Set[str]]) -> dict[str, int]:
    return {title: len(left) for title, of_engine in names.items() if (left := of_engine - score.terms.keys())}


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
