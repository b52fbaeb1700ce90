"""How long OpenMP threads spin before they sleep while they wait for each other.

GNU's OpenMP, which the Linux builds of torch use, spins for so long by default that a training beside one other busy
process on the same cores slows down many times over: threads burn the time that the thread they wait for needs. A
bounded count costs next to nothing on a quiet machine. The library reads it when it is loaded, so it has to be set
before torch is imported; other OpenMP libraries ignore it.
"""

from collections.abc import Mapping, MutableMapping

COUNT = "GOMP_SPINCOUNT"
POLICY = "OMP_WAIT_POLICY"
DEFAULT = "1000"


def bound_spinning(environment: MutableMapping[str, str]) -> None:
    """Set the spin count where the user has set neither it nor a wait policy. Processes started later inherit it."""
    if COUNT not in environment and POLICY not in environment:
        environment[COUNT] = DEFAULT


def describe(environment: Mapping[str, str]) -> str:
    """One line for `focalkit doctor`."""
    chosen = [f"{name}={environment[name]}" for name in (POLICY, COUNT) if name in environment]
    if not chosen:
        return f"its own spin count; {COUNT}={DEFAULT} keeps torch fast beside other busy processes"
    ours = chosen == [f"{COUNT}={DEFAULT}"]
    return " ".join(chosen) + (", what focalkit's commands set where nothing is set" if ours else ", yours")
