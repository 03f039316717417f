"""What the programs that ask the kernel and its tools have in common."""

import sys

from .machine import IMAGES

# Rig, Tools and the rest of tests/images/imagelib.
sys.path.insert(0, IMAGES)
