"""Combinations of options: of each value one, or of each two values of different options one."""

import itertools
import random


def covering(options, strength, settle, seed=1):
    """Combinations (option to value) in which each allowed choice of `strength` values occurs.

    `settle` changes a combination that is not allowed into one that is; values that it never lets through
    are left out.
    """
    source = random.Random(seed)

    def groups_of(combination):
        return {group for group in itertools.combinations(sorted(combination.items()), strength)}

    def filled(group):
        """The values given, and for the other options those that cover most that is open."""
        chosen = dict(group)
        others = [option for option in options if option not in chosen]
        source.shuffle(others)
        for option in others:
            values = list(options[option])
            source.shuffle(values)
            chosen[option] = max(values, key=lambda value: sum(
                set(wanted) <= set(chosen.items()) | {(option, value)} for wanted in still_open))
        return settle({option: chosen[option] for option in options})

    still_open = {tuple(sorted(zip(names, values, strict=True)))
                  for names in itertools.combinations(options, strength)
                  for values in itertools.product(*(options[name] for name in names))}
    combinations = []
    while still_open:
        group = source.choice(sorted(still_open, key=repr))
        combination = filled(group)
        covered = groups_of(combination) & still_open
        still_open -= covered | {group}
        if covered:
            combinations.append(combination)
    return combinations
