"""The work that every tool is given: steps, sources and what each step does.

Blocks of ten: a root, a chain of three copies, a fan-out of five, a join. Ten lanes, each a chain
of blocks, so the fan-outs and joins are chained. Every step appends its name to the log whose
path is in KUN_BENCH_LOG, so executions are counted and not guessed. A root drops the lines that
begin with `#`, so a comment edit changes a source and not what is made from it.
"""

import dataclasses
import pathlib
import random

LANES = 10
# What a step does with its inputs; files stay near one kilobyte whatever is chained.
PROGRAMS = {"root": "grep -hv '^#'", "copy": "cat", "join": "head -q -c 200"}


@dataclasses.dataclass
class Step:
    """One step: it runs PROGRAMS[program] over `inputs` into `out/NAME`."""

    name: str
    program: str
    sources: list  # paths below the project
    steps: list  # names of steps

    def inputs(self):
        return self.sources + [f"out/{it}" for it in self.steps]

    def command(self, variable="$KUN_BENCH_LOG"):
        """A shell line that leaves the result at out/NAME."""
        inputs = " ".join(self.inputs())
        return f'echo {self.name} >> "{variable}"; {PROGRAMS[self.program]} {inputs} > out/{self.name}'


@dataclasses.dataclass
class Workload:
    """Steps in an order in which they can run, and the files to play with."""

    steps: list
    sources: list
    leaf: str  # a source that only the last step of lane 0 reads
    commented: str  # the source of the last block of lane 0
    middle: str  # the name of a step in the middle
    commented_block: int  # how many steps stand below `commented`

    def last(self):
        """Names of steps that no other step reads."""
        read = {it for step in self.steps for it in step.steps}
        return [it.name for it in self.steps if it.name not in read]


def blocks(n):
    """The chain and fan-out workload of `n` steps, a multiple of 100."""
    depth = max(1, n // (10 * LANES))
    steps, sources = [], []
    for lane in range(LANES):
        before = []
        for block in range(depth):
            at = f"l{lane}_b{block}"
            source = f"src/s{lane}_{block}.txt"
            sources.append(source)
            steps.append(Step(f"{at}_root", "root", [source], before))
            steps += chain(at)
            extra = ["src/leaf.txt"] if lane == 0 and block == depth - 1 else []
            steps.append(Step(f"{at}_join", "join", extra, [f"{at}_f{i}" for i in range(5)]))
            before = [f"{at}_join"]
    return Workload(steps, sources + ["src/leaf.txt"], "src/leaf.txt",
                    f"src/s0_{depth - 1}.txt", "l0_b0_c2", 10)


def chain(at):
    """Three copies in a row and five beside one another."""
    names = [f"{at}_root", f"{at}_c0", f"{at}_c1", f"{at}_c2"]
    copies = [Step(name, "copy", [], [before]) for before, name in zip(names, names[1:])]
    return copies + [Step(f"{at}_f{i}", "copy", [], [names[-1]]) for i in range(5)]


def joins(levels):
    """`levels` joins of two, each on top of the one before: a tree of 2^levels paths."""
    steps = [Step("j0", "root", ["src/s.txt"], [])]
    for level in range(1, levels + 1):
        below = f"j{level - 1}"
        steps.append(Step(f"a{level}", "copy", [], [below]))
        steps.append(Step(f"b{level}", "copy", [], [below]))
        extra = ["src/leaf.txt"] if level == levels else []
        steps.append(Step(f"j{level}", "join", extra, [f"a{level}", f"b{level}"]))
    return Workload(steps, ["src/s.txt", "src/leaf.txt"], "src/leaf.txt", "src/s.txt",
                    f"a{levels // 2}", len(steps))


def write_sources(folder: pathlib.Path, workload: Workload):
    """The sources, about a kilobyte each and the same on every machine."""
    draw = random.Random(1)
    (folder / "src").mkdir(parents=True)
    (folder / "out").mkdir(exist_ok=True)
    for path in workload.sources:
        size = 3 if path == workload.leaf else 20
        lines = [f"{path} {draw.getrandbits(128):032x}" for _ in range(size)]
        (folder / path).write_text("\n".join(lines) + "\n")
