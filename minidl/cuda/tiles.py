"""What tiles.cuh is compiled with: the sum of a product goes piece after piece through shared memory."""

from __future__ import annotations

STAGES = 3  # pieces of each factor that lie there: one is multiplied while the others are on their way
TENSOR = {"DEEP": 16, "STAGES": STAGES}  # terms of a piece: what tensor cores take at once
PLAIN = {"DEEP": 8, "STAGES": STAGES}
