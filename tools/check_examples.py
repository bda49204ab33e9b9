#!/usr/bin/env python3
"""Check the few-shot data sets under examples/ (standard library only).

For each set: the label file, the number of lines a split and class, the form of every line, exact and
near duplicates within and across splits (data.txt included), and the share of lines that contain their
own label's word. Prints a summary, then one line a problem. Exit status 1 when there is any problem.

    tools/check_examples.py [DIR ...]        default: every directory of examples/ with a label.txt
"""
import argparse
import itertools
import os
import sys
from collections import Counter
from pathlib import Path

LABELLED = ("train", "dev", "test")
SIMILAR = 0.5            # Jaccard similarity of character 3-grams from which two texts are near duplicates
COMMON_RUN_CJK = 10      # characters two texts may not share in a row: Chinese (about six words) ...
COMMON_RUN_LATIN = 30    # ... and languages written with blanks (about six words too)
WORD_SHARE = 0.05        # of the lines of a set that may contain their own label's word
LENGTHS_CJK = (8, 40)
LENGTHS_LATIN = (20, 160)


def is_cjk(text):
    return any("\u4e00" <= c <= "\u9fff" for c in text)


def read_lines(path, problems):
    """The lines of a file; complains about what a text editor would hide."""
    raw = path.read_bytes()
    if b"\r" in raw or raw.startswith(b"\xef\xbb\xbf"):
        problems.append(f"{path}: carriage return or byte order mark")
    if not raw.endswith(b"\n"):
        problems.append(f"{path}: the last line does not end")
    return raw.decode("utf-8").split("\n")[:-1]


def read_labels(path, problems):
    """{label: word} of a `label==word` file."""
    labels = {}
    for number, line in enumerate(read_lines(path, problems), 1):
        label, separator, word = line.partition("==")
        if not (label and separator and word) or label in labels:
            problems.append(f"{path}:{number}: not a new `label==word`: {line}")
        labels[label] = word
    return labels


def check_form(where, text, problems):
    low, high = LENGTHS_CJK if is_cjk(text) else LENGTHS_LATIN
    if not low <= len(text) <= high:
        problems.append(f"{where}: {len(text)} characters, not {low} to {high}: {text}")
    if text != text.strip() or "  " in text or not text.isprintable():
        problems.append(f"{where}: stray blank or control character: {text!r}")


def read_set(folder, labels, problems):
    """All lines of a set as (where, split, text, label); label is None in data.txt."""
    items = []
    for split in LABELLED + ("data",):
        path = folder / f"{split}.txt"
        for number, line in enumerate(read_lines(path, problems), 1):
            where = f"{path}:{number}"
            fields = line.split("\t")
            if len(fields) != (1 if split == "data" else 2):
                problems.append(f"{where}: {len(fields) - 1} tabs: {line}")
                continue
            label = None if split == "data" else fields[1]
            if label is not None and label not in labels:
                problems.append(f"{where}: unknown label {label}")
            check_form(where, fields[0], problems)
            items.append((where, split, fields[0], label))
    return items


def check_counts(folder, items, labels, problems):
    for split in LABELLED:
        counts = Counter(label for _, s, _, label in items if s == split)
        sizes = sorted({counts[label] for label in labels})
        print(f"  {split + '.txt':10} {sum(counts.values()):5} lines, {sizes} a class")
        if len(sizes) != 1 or sizes[0] == 0:
            problems.append(f"{folder}/{split}.txt: classes are not of equal size: {dict(counts)}")
    print(f"  {'data.txt':10} {sum(s == 'data' for _, s, _, _ in items):5} lines")


def grams(text, n):
    # Blanks and punctuation go first: a comma does not make two headlines different.
    bare = "".join(c for c in text.lower() if c.isalnum() or (c == " " and not is_cjk(text)))
    return {bare[i:i + n] for i in range(max(1, len(bare) - n + 1))}


def check_duplicates(items, problems):
    triples = [grams(text, 3) for _, _, text, _ in items]
    runs = [grams(t, COMMON_RUN_CJK if is_cjk(t) else COMMON_RUN_LATIN) for _, _, t, _ in items]
    highest = 0.0
    for a, b in itertools.combinations(range(len(items)), 2):
        shared = len(triples[a] & triples[b])
        if shared == 0:
            continue
        similarity = shared / (len(triples[a]) + len(triples[b]) - shared)
        highest = max(highest, similarity)
        if similarity >= SIMILAR or runs[a] & runs[b]:
            problems.append(f"{items[a][0]} and {items[b][0]}: near duplicates ({similarity:.2f}): "
                            f"{items[a][2]} | {items[b][2]}")
    print(f"  closest two lines: 3-gram Jaccard {highest:.2f} (limit {SIMILAR})")


def check_label_words(folder, items, labels, problems):
    labelled = [(text.lower(), label) for _, _, text, label in items if label in labels]
    hits = Counter(label for text, label in labelled if labels[label].lower() in text)
    share = sum(hits.values()) / max(1, len(labelled))
    print(f"  lines with their own label's word: {share:.1%} {dict(hits)}")
    if share > WORD_SHARE:
        problems.append(f"{folder}: {share:.1%} of the lines give their label's word away")


def check_set(folder):
    problems = []
    print(f"{folder}:")
    labels = read_labels(folder / "label.txt", problems)
    items = read_set(folder, labels, problems)
    check_counts(folder, items, labels, problems)
    lengths = sorted(len(text) for _, _, text, _ in items)
    print(f"  characters a line: {lengths[0]} to {lengths[-1]}, median {lengths[len(lengths) // 2]}")
    check_duplicates(items, problems)
    check_label_words(folder, items, labels, problems)
    return problems


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folders", nargs="*", type=Path, metavar="DIR")
    folders = parser.parse_args().folders
    if not folders:
        root = Path(__file__).resolve().parent.parent
        found = sorted(p.parent for p in (root / "examples").glob("*/label.txt"))
        folders = [Path(os.path.relpath(p)) for p in found]
    problems = [problem for folder in folders for problem in check_set(folder)]
    for problem in problems:
        print(f"problem: {problem}", file=sys.stderr)
    print(f"{len(problems)} problems in {len(folders)} sets")
    return 1 if problems or not folders else 0


if __name__ == "__main__":
    sys.exit(main())
