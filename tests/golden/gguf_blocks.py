"""Golden values of the GGUF number formats, from the reference package.

    pip install gguf==0.19.0
    python tests/golden/gguf_blocks.py     # prints the table of model/src/checkpoint/gguf_blocks.rs

For one block of each format: the sum of all weights, the sum of weight times place, and four single weights.
"""
import numpy as np
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType
from gguf.quants import dequantize

SCALES = {
    "Q4_0": [(0, 0x2A66)], "Q5_0": [(0, 0x2A66)], "Q8_0": [(0, 0x2A66)],
    "Q4_1": [(0, 0x2A66), (2, 0x2E00)], "Q4_K": [(0, 0x2A66), (2, 0x2E00)], "Q5_K": [(0, 0x2A66), (2, 0x2E00)],
    "Q6_K": [(208, 0x2A66)],
}

for name, scales in SCALES.items():
    kind = GGMLQuantizationType[name]
    size, num_bytes = GGML_QUANT_SIZES[kind]
    block = np.array([(i * i * 31 + i * 17 + 5) % 251 for i in range(num_bytes)], dtype=np.uint8)
    for at, bits in scales:
        block[at:at + 2] = np.frombuffer(np.uint16(bits).tobytes(), dtype=np.uint8)
    values = dequantize(block, kind).astype(np.float32)
    assert values.shape == (size,)
    wide = values.astype(np.float64)
    picks = [0, 1, size // 2 + 3, size - 1]
    total, moment = float(wide.sum()), float((wide * np.arange(size)).sum())
    print(f"            (BlockType::{name.replace('_K', 'K')}, {total!r}, {moment!r}, {[float(values[i]) for i in picks]}),")
