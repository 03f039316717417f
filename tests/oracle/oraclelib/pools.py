"""Descriptions of thin pools made at random, as the XML that thin_restore takes."""

import random


def runs_of(mappings):
    """Mappings {virtual block: (data block, time)} as runs (begin, data, length, time)."""
    runs = []
    for block in sorted(mappings):
        data, when = mappings[block]
        if runs:
            begin, first, length, time = runs[-1]
            if (begin + length, first + length, time) == (block, data, when):
                runs[-1] = (begin, first, length + 1, time)
                continue
        runs.append((block, data, 1, when))
    return runs


def element(run):
    begin, data, length, time = run
    if length == 1:
        return f'<single_mapping origin_block="{begin}" data_block="{data}" time="{time}"/>'
    return f'<range_mapping origin_begin="{begin}" data_begin="{data}" length="{length}" time="{time}"/>'


class Pool:
    """Devices, some of which are snapshots of others that were written since."""

    def __init__(self, seed, devices, nr_data_blocks, most):
        self.random = random.Random(seed)
        self.nr_data_blocks = nr_data_blocks
        self.time, self.free = 0, 0
        self.devices = {}
        ids = self.random.sample(range(1 << 24), devices)
        for number, name in enumerate(ids):
            if number and self.random.random() < 0.6:
                self.snapshot(name, self.random.choice(ids[:number]))
            else:
                self.devices[name] = {"mappings": {}, "creation": self.time, "snap": self.time}
            self.write(name, self.random.choice([0, 1, 80, most // 3, most]))

    def snapshot(self, name, origin):
        self.time += 1
        self.devices[origin]["snap"] = self.time
        self.devices[name] = {"mappings": dict(self.devices[origin]["mappings"]), "creation": self.time,
                              "snap": self.time}

    def write(self, name, count):
        mappings = self.devices[name]["mappings"]
        while count > 0 and self.free < self.nr_data_blocks:
            begin = self.random.randrange(1 << 20)
            length = min(count, self.random.choice([1, 1, 2, 3, 50, 400]), self.nr_data_blocks - self.free)
            for i in range(length):
                mappings[begin + i] = (self.free, self.time)
                self.free += 1
            self.free += self.random.choice([0, 0, 1, 30])
            count -= length

    def shared_xml(self):
        """Each device twice, the second time with some blocks more: what both have stands in a definition."""
        lines = [f'<superblock uuid="" time="{self.time}" transaction="7" flags="0" version="2" '
                 f'data_block_size="128" nr_data_blocks="{self.nr_data_blocks}">']
        for number, name in enumerate(sorted(self.devices)):
            mappings = self.devices[name]["mappings"]
            lines += [f'<def name="{name}">', *map(element, runs_of(mappings)), "</def>"]
            for copy in range(2):
                more = {(2 << 20) + 2 * i: (i, self.time) for i in range(copy * self.random.choice([0, 1, 83, 84, 300]))}
                lines += [f'<device dev_id="{2 * number + copy}" mapped_blocks="{len(mappings) + len(more)}" '
                          f'transaction="3" creation_time="0" snap_time="{self.time}"><ref name="{name}"/>',
                          *map(element, runs_of(more)), "</device>"]
        return "\n".join([*lines, "</superblock>"]) + "\n"

    def xml(self, flags=0):
        lines = [f'<superblock uuid="" time="{self.time}" transaction="7" flags="{flags}" version="2" '
                 f'data_block_size="128" nr_data_blocks="{self.nr_data_blocks}">']
        for name in sorted(self.devices):
            device = self.devices[name]
            lines.append(f'  <device dev_id="{name}" mapped_blocks="{len(device["mappings"])}" transaction="3" '
                         f'creation_time="{device["creation"]}" snap_time="{device["snap"]}">')
            lines += ["    " + element(run) for run in runs_of(device["mappings"])]
            lines.append("  </device>")
        lines.append("</superblock>")
        return "\n".join(lines) + "\n"
