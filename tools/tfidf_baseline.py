#!/usr/bin/env python3
"""The bag-of-n-grams figure that a few-shot classifier has to beat: TF-IDF and logistic regression.

Fits on train.txt, chooses C on dev.txt (the smallest among equals), scores test.txt once, and writes
baseline.json beside the data. Characters 1 to 3 for Chinese, words 1 to 2 for languages with blanks.
Needs scikit-learn. The figures are stored, so that the demo can show them without Python.

    tools/tfidf_baseline.py DIR [DIR ...] [--features char|word]
"""
import argparse
import json
import sys
from pathlib import Path

import sklearn
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression

STRENGTHS = (0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 100, 300, 1000)
NGRAMS = {"char": (1, 3), "word": (1, 2)}
TOKEN = r"(?u)\b\w+\b"   # the library's own pattern drops one-letter words


def read_split(path):
    pairs = [line.split("\t") for line in path.read_text(encoding="utf-8").splitlines()]
    return [text for text, _ in pairs], [label for _, label in pairs]


def guess_features(texts):
    return "char" if any("\u4e00" <= c <= "\u9fff" for c in "".join(texts)) else "word"


def score_set(folder, features):
    splits = {name: read_split(folder / f"{name}.txt") for name in ("train", "dev", "test")}
    features = features or guess_features(splits["train"][0])
    vectorizer = TfidfVectorizer(analyzer=features, ngram_range=NGRAMS[features], sublinear_tf=True,
                                 token_pattern=TOKEN if features == "word" else None)
    vectorizer.fit(splits["train"][0])
    x = {name: vectorizer.transform(texts) for name, (texts, _) in splits.items()}   # (lines, n-grams)

    best = None
    for strength in STRENGTHS:
        model = LogisticRegression(C=strength, max_iter=5000).fit(x["train"], splits["train"][1])
        dev = model.score(x["dev"], splits["dev"][1])
        if best is None or dev > best[0]:
            best = (dev, strength, model)
    dev, strength, model = best
    return {
        "method": f"TF-IDF ({features} n-grams) + logistic regression",
        "test_accuracy": round(model.score(x["test"], splits["test"][1]), 4),
        "dev_accuracy": round(dev, 4),
        "settings": {"analyzer": features, "ngram_range": list(NGRAMS[features]),
                     "sublinear_tf": True, "C": strength, "C_tried": list(STRENGTHS),
                     "train_lines": len(splits["train"][0]), "features": x["train"].shape[1],
                     "scikit_learn": sklearn.__version__},
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folders", nargs="+", type=Path, metavar="DIR")
    parser.add_argument("--features", choices=sorted(NGRAMS))
    arguments = parser.parse_args()
    for folder in arguments.folders:
        result = score_set(folder, arguments.features)
        text = json.dumps(result, indent=2, ensure_ascii=False) + "\n"
        (folder / "baseline.json").write_text(text, encoding="utf-8")
        print(f"{folder}: test {result['test_accuracy']:.4f}, dev {result['dev_accuracy']:.4f}, "
              f"C {result['settings']['C']}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
